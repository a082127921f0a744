"""Metadata records: free text by key, beside the tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fcs_edge.bitstream.records import MAX_BODY, METADATA_TAG, general_record
from fcs_edge.errors import shown

_KEY = re.compile("[a-z0-9_-]{1,32}")


def metadata_records(tags: Mapping[str, str]) -> bytes:
    """Return tags as metadata records, each of at most 4096 bytes of text.

    Raises
    ------
    ValueError
        A key has other characters than a-z, 0-9, - and _, or more than 32; or a value holds a zero
        byte, is not UTF-8, or is too long.
    """
    bodies: list[bytes] = []
    for key, value in tags.items():
        entry = entry_of(key, value)
        if bodies and len(bodies[-1]) + 1 + len(entry) <= MAX_BODY:
            bodies[-1] += b"\0" + entry
        else:
            bodies.append(entry)
    return b"".join(general_record(METADATA_TAG, body) for body in bodies)


def entry_of(key: str, value: str) -> bytes:
    """Return a tag as the bytes of its entry.

    Raises
    ------
    ValueError
        As for `metadata_records`.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(f"a key has 1 to 32 of a-z, 0-9, _ and -, not {shown(key, 60)!r}")
    if "\0" in value:
        raise ValueError(f"the value of {key} holds a zero byte")
    try:
        entry = f"{key}={value}".encode()
    except UnicodeEncodeError:
        raise ValueError(f"the value of {key} is not UTF-8") from None
    if len(entry) > MAX_BODY:
        raise ValueError(f"{key} takes {len(entry):,} bytes; at most {MAX_BODY:,} are allowed")
    return entry


def tags_in(body: bytes) -> dict[str, str]:
    """Return the tags of a metadata record; entries without a valid key are left out."""
    tags = {}
    for entry in body.split(b"\0"):
        key, separator, value = entry.decode("utf-8", "replace").partition("=")
        if separator and _KEY.fullmatch(key):
            tags[key] = value
    return tags
