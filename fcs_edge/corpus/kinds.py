"""Groups messages that differ in numbers and names only."""

from __future__ import annotations

import re

_CHANGING = re.compile(r"'[^']*'|\"[^\"]*\"|/\S+|\b0x[0-9a-f]+\b|\b[\d,.]*\d\b")
"""Names in quotes, paths and numbers."""
_LENGTH = 80


def kind_of(message: str) -> str:
    """Return what is the same in messages of one kind: the text without numbers and names."""
    first = message.splitlines()[0] if message else ""
    if first.startswith("cut:"):
        return "cut"
    return _CHANGING.sub("N", first)[:_LENGTH].strip()
