"""Errors, grouped by what they say: messages of one kind differ in numbers and names only."""

from __future__ import annotations

import re
from typing import NamedTuple

_MOST_KINDS = 1000
"""Kinds that have a group of their own; further ones are one group."""
_OTHERS = "of other kinds"
_CHANGING = re.compile(r"'[^']*'|\"[^\"]*\"|/\S+|\b0x[0-9a-f]+\b|\b[\d,.]*\d\b")
"""Names in quotes, paths and numbers."""
_LENGTH = 120


def kind_of(message: str) -> str:
    """Return what is the same in messages of one kind: the text without numbers and names."""
    first = message.splitlines()[0] if message else ""
    if first.startswith("cut:"):
        return "cut"
    return _CHANGING.sub("N", first)[:_LENGTH].strip()


class ErrorGroup(NamedTuple):
    """Errors that differ in numbers and names only."""

    message: str
    """That of the first one."""
    files: int
    """How many there are."""
    example: str
    """The id of the first one."""


class ErrorGroups:
    """Counts errors by kind, in constant memory."""

    def __init__(self) -> None:
        self._groups: dict[str, ErrorGroup] = {}

    def add(self, item_id: str, message: str) -> None:
        """Count an error of an item."""
        kind = kind_of(message)
        if kind not in self._groups and len(self._groups) >= _MOST_KINDS:
            kind = message = _OTHERS
        first = self._groups.get(kind, ErrorGroup(message, 0, item_id))
        self._groups[kind] = first._replace(files=first.files + 1)

    def groups(self) -> tuple[ErrorGroup, ...]:
        """Return the groups, the largest first."""
        return tuple(sorted(self._groups.values(), key=lambda group: -group.files))
