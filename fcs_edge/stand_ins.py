"""Files that stand in for others: what a failed download leaves, recognised by its first bytes."""

from __future__ import annotations

HEAD_BYTES = 512
"""Number of first bytes that `stand_in` needs."""


def stand_in(head: bytes, expected: str) -> str | None:
    """Return what a file is in place of what was expected, and what to do; None if unknown.

    Parameters
    ----------
    head : bytes
        The file's first bytes, up to `HEAD_BYTES`.
    expected : str
        What the file is expected to hold: "weights", "sound".
    """
    if head.startswith(b"version https://git-lfs"):
        return f"a Git LFS pointer, not {expected}; run git lfs pull in its folder"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")):
        return f"a web page, not {expected}; download the file itself"
    return None
