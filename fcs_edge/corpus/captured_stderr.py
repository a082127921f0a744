"""What C libraries print while they decode a sound, as a short remark of its row."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fcs_edge.errors import shown

_PLACE = re.compile(r"^\[\S*?(libmpg123)/[^\]]*\]\s*(?:(?:error|warning):\s*)?", re.IGNORECASE)
"""The source file and line of a message of libmpg123."""
_PREFIX = re.compile(r"^(?:Note|Warning): ")
_MOST = 120


def printed_remark(lines: Sequence[str]) -> str | None:
    """Return a remark on lines that a decoder printed: the first one, and how many follow.

    `library.quiet_libraries` keeps them from descriptor 2, which belongs to the program.
    """
    texts = [text for line in lines if (text := _text(line))]
    if not texts:
        return None
    more = f" (and {len(texts) - 1} more)" if len(texts) > 1 else ""
    return f"the decoder prints: {shown(texts[0], _MOST)}{more}"


def _text(line: str) -> str:
    return _PREFIX.sub("", _PLACE.sub("", line)).strip().rstrip(".")
