"""Files that stand in for others: what a failed download leaves, recognised by its first bytes."""

from __future__ import annotations

HEAD_BYTES = 512
"""Number of first bytes that `stand_in` needs."""


_SOUND = (
    *(b"RIFF", b"RF64", b"riff", b"FORM", b".snd", b"caff", b"fLaC", b"OggS", b"ID3"),
    *(b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"),
)


def not_tokens(head: bytes) -> str | None:
    """Return what a file is in place of a bitstream, and what to do; None if unknown."""
    if head.startswith(_SOUND) or head[4:8] == b"ftyp":
        return "this is sound, not tokens; encode it first: fcs-edge encode IN OUT"
    if head.startswith(b"\x93NUMPY"):
        return "a NumPy array, not a bitstream; its name must end in .npy"
    if head.startswith(b"PK\x03\x04"):
        return "a ZIP archive, not a bitstream; the name of an .npz must end in .npz"
    return stand_in(head, "tokens")


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
