"""The errors of a run, grouped by what they say: a million are a few lines."""

from __future__ import annotations

from typing import NamedTuple

from fcs_edge.corpus.kinds import kind_of

_MOST_KINDS = 1000
"""Kinds that are told from one another; further ones are one group."""
_OTHERS = "of other kinds"


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
