"""What a line of a manifest states of a sound."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PATH_KEYS = ("path", "audio_filepath", "file_name")
"""The columns that may name the file; the first that a line has counts."""

_OWN_KEYS = frozenset((*PATH_KEYS, "id", "offset", "duration"))


_MOST_SECONDS = 1e9


class Malformed(Exception):  # noqa: N818 - it does not leave the reading of manifests
    """A line is no statement of a sound; the text says why."""


@dataclass(frozen=True)
class Entry:
    """A sound of a manifest."""

    path: str
    """As the manifest has it."""
    id: str | None = None
    offset: float | None = None
    duration: float | None = None
    channel: int | None = None
    seconds: float | None = None
    """The whole sound's length, as the manifest states it."""
    error: str | None = None
    """Why the sound is not read, whatever the file holds."""
    columns: Mapping[str, str] = field(default_factory=dict)


def row_entry(row: Mapping[str, Any], *, keep_text: bool) -> Entry:
    """Return the sound of a row: of a table, or of a line of JSON as NeMo writes it.

    A duration without an offset states the length of the whole file, rounded: it cuts nothing.
    """
    path = next((row[key] for key in PATH_KEYS if row.get(key) not in (None, "")), None)
    if path is None:
        raise Malformed(f"has no {' or '.join(PATH_KEYS)}")
    offset, duration = seconds_of(row, "offset"), seconds_of(row, "duration")
    whole = offset is None
    return Entry(
        text_of(path, "path"),
        id_of(row),
        offset,
        None if whole else duration,
        seconds=duration if whole else None,
        columns=other_columns(row, _OWN_KEYS) if keep_text else {},
    )


def id_of(row: Mapping[str, Any]) -> str | None:
    """Return the id of a row; None where it has none."""
    value = row.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None if value in (None, "") else text_of(value, "id")


def text_of(value: Any, name: str) -> str:
    """Return a value that must be text."""
    if not isinstance(value, str):
        raise Malformed(f"its {name} is no text")
    return value


def seconds_of(row: Mapping[str, Any], name: str) -> float | None:
    """Return a number of seconds; None where the row has none."""
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        seconds = math.nan if isinstance(value, (bool, bytes)) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds <= _MOST_SECONDS:
        raise Malformed(f"its {name} is no number of seconds from 0")
    return seconds


def other_columns(row: Mapping[str, Any], own: frozenset[str]) -> dict[str, str]:
    """Return the columns of a row that scan does not use, as text; without those that are null."""
    others = {key: value for key, value in row.items() if key not in own and value is not None}
    return {_unicode(key): as_text(value) for key, value in others.items()}


def as_text(value: Any) -> str:
    """Return a value as text that any table holds; what is no text as JSON."""
    return _unicode(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _unicode(text: str) -> str:
    """Return text without halves of surrogate pairs, which UTF-8 does not have."""
    return text.encode("utf-8", "backslashreplace").decode()
