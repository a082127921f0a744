"""Sources of rows: whether they are as they were when they were encoded."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from typing import Any

_ESCAPED = re.compile(r"\\x([0-9a-f]{2})|\\u([0-9a-f]{4})")


def source_path(text: str) -> str:
    """Return the path that a row states.

    Bytes that are not UTF-8, and what could act on a terminal, stand there as escapes.
    """
    if "\\" in text and not os.path.lexists(text):
        for unescape in (_byte, _character):
            raw = _ESCAPED.sub(unescape, text)
            with suppress(ValueError):  # an escape of NUL
                if os.path.lexists(raw):
                    return raw
    return text


def _character(escape: re.Match[str]) -> str:
    return chr(int(escape[1] or escape[2], 16))


def _byte(escape: re.Match[str]) -> str:
    return os.fsdecode(bytes([int(escape[1], 16)])) if escape[1] else _character(escape)


class SourceRules:
    """Compares size and time of sources with those that rows state.

    Attributes
    ----------
    n : int
        Rows whose source was looked at.
    """

    def __init__(self) -> None:
        self.n = 0
        self._last: tuple[str, os.stat_result | str] = ("", "")

    def problem(self, row: dict[str, Any]) -> str | None:
        """Return what differs, in one line; None if nothing does.

        Parameters
        ----------
        row : dict
            path, member, size and mtime_ns of a row.
        """
        self.n += 1
        found = self._status(row["path"])
        if isinstance(found, str):
            return f"its source {row['path']}: {found}"
        if not stat.S_ISREG(found.st_mode):
            return f"its source {row['path']} is no file"
        if row["member"] is None and found.st_size != row["size"]:
            return f"its source {row['path']} has {found.st_size:,} bytes, and had {row['size']:,}"
        if found.st_mtime_ns != row["mtime_ns"]:
            return f"its source {row['path']} was modified since"
        return None

    def _status(self, text: str) -> os.stat_result | str:
        # Rows of one archive or long recording follow each other.
        if self._last[0] != text or not text:
            try:
                self._last = text, os.stat(source_path(text))
            except (OSError, ValueError) as error:
                self._last = text, getattr(error, "strerror", None) or "no such file"
        return self._last[1]
