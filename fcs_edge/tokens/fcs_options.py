"""How a bitstream is written: blocks, coding, metadata."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from fcs_edge.bitstream.metadata import entry_of
from fcs_edge.bitstream.records import MAX_BODY

BLOCK_SECONDS = 2.0
"""Sound in a block of a file: what one damaged bit costs, at an overhead of less than 5 %."""

MOST_BLOCK_SECONDS = 4.0
"""Sound in the longest block that a command writes."""

MAX_TAG_BYTES = MAX_BODY
"""Bytes of all metadata that a caller adds: one record holds it."""

_OWN = ("model", "part", "window", "overlap", "resampler", "encoder")
"""Keys of facts that a program writes by itself."""


class FcsOptions(NamedTuple):
    """How a bitstream is written; the defaults are those of ``fcs-edge encode``."""

    block_seconds: float = BLOCK_SECONDS
    raw: bool = False
    """Whether tokens are stored as they are, without the entropy coder."""
    eager: bool = False
    """Whether each chunk goes out as soon as it exists. Its tokens are then raw."""
    tags: Mapping[str, str] | None = None
    """Metadata by key."""
    dtx: bool = False
    """Whether the header says that comfort tokens replace pauses."""
    packet_bytes: int | None = None
    """Bytes of a radio's packet. Each block fits one; of a protected file each cell does."""
    protection: float | None = None
    """Bytes of parity for each byte, where the bitstream is protected."""


def check_tags(tags: Mapping[str, str]) -> None:
    """Check metadata that a caller adds to a bitstream.

    Parameters
    ----------
    tags : mapping of str to str
        Values by key. The value of ``time`` is a date, or date and time, of ISO 8601.

    Raises
    ------
    ValueError
        A key is not valid or not the caller's to set, a value is not valid text, ``time`` is not a
        time, or all of it is too long.
    """
    size = 0
    for key, value in tags.items():
        if key in _OWN:
            raise ValueError(f"the key {key} is for facts of the encoding; choose another")
        if key == "time":
            _check_time(value)
        size += len(entry_of(key, value)) + 1
    if size > MAX_TAG_BYTES:
        raise ValueError(f"metadata takes {size:,} bytes; at most {MAX_TAG_BYTES:,} are allowed")


def _check_time(value: str) -> None:
    # Python 3.10 does not read the Z.
    text = value[:-1] + "+00:00" if value.endswith("Z") else value
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"time is {value!r}, not a time of ISO 8601 such as 2026-07-01T12:00:00Z"
        ) from None
