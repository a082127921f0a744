"""Metadata records: free text by key, beside the tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fcs_edge.bitstream.records import MAX_BODY, METADATA_TAG, general_record
from fcs_edge.errors import shown

KEY = re.compile("[a-z0-9_-]{1,32}")
"""A key of metadata."""


def metadata_records(tags: Mapping[str, str]) -> bytes:
    """Return tags as metadata records, each of at most 4096 bytes of text.

    Raises
    ------
    ValueError
        A key has other characters than a-z, 0-9, - and _, or more than 32; or a value holds NUL, is
        not text, or is too long.
    """
    bodies: list[bytes] = []
    for key, value in tags.items():
        entry = _entry(key, value)
        if bodies and len(bodies[-1]) + 1 + len(entry) <= MAX_BODY:
            bodies[-1] += b"\0" + entry
        else:
            bodies.append(entry)
    return b"".join(general_record(METADATA_TAG, body) for body in bodies)


def _entry(key: str, value: str) -> bytes:
    if not KEY.fullmatch(key):
        raise ValueError(f"a tag's key has 1 to 32 of a-z, 0-9, - and _, not {shown(key, 60)}")
    if "\0" in value:
        raise ValueError(f"the value of {key} holds a NUL")
    try:
        entry = f"{key}={value}".encode()
    except UnicodeEncodeError:
        raise ValueError(f"the value of {key} is not valid text") from None
    if len(entry) > MAX_BODY:
        raise ValueError(f"the value of {key} is too long: {MAX_BODY} bytes are the most")
    return entry


def tags_in(body: bytes) -> dict[str, str]:
    """Return the tags of a metadata record; entries without a valid key are left out."""
    tags = {}
    for entry in body.split(b"\0"):
        key, separator, value = entry.decode("utf-8", "replace").partition("=")
        if separator and KEY.fullmatch(key):
            tags[key] = value
    return tags
