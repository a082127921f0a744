"""Files that are not read as sound, recognised by their first bytes, and what helps."""

from __future__ import annotations

import shlex

from fcs_edge.stand_ins import HEAD_BYTES as STAND_IN_BYTES
from fcs_edge.stand_ins import stand_in

HEAD_BYTES = STAND_IN_BYTES
"""Number of first bytes that `recognise` needs."""

NAME_BYTES = 19
"""Number of first bytes that `unstreamed` needs."""

STREAMING = "WAV, AU, AIFF, W64, RF64, Ogg and Opus"
"""The formats that are read from a pipe."""

RAW_ADVICE = "fcs-edge encode reads bare samples with --raw and --rate"
"""What to do where a file is no sound of a known format."""

_CONVERTIBLE = (
    (4, b"ftyp", "an MP4 file (M4A, AAC)"),
    (0, b"\x1aE\xdf\xa3", "a WebM or Matroska file"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file (WMA)"),
    (0, b"#!AMR", "an AMR file"),
    (0, b"\xff\xf1", "an AAC file"),
    (0, b"\xff\xf9", "an AAC file"),
    (0, b"wvpk", "a WavPack file"),
    (0, b"MAC ", "a Monkey's Audio file"),
    (0, b"MPCK", "a Musepack file"),
    (0, b"TTA1", "a True Audio file"),
    (0, b"DSD ", "a DSD file"),
    (0, b"FLV\x01", "a Flash video"),
    (8, b"AVI ", "an AVI video"),
    (0, b"\x00\x00\x01\xba", "an MPEG video"),
    (0, b"G@\x11\x10\x00", "an MPEG transport stream"),
)
_OTHERS = (
    (0, b"FCS\x1a", "a bitstream of tokens", "decode it with fcs-edge decode"),
    (0, b"\x93NUMPY", "a NumPy array", "give a sound file, or bare samples with --raw"),
    (0, b"PK\x03\x04", "a ZIP archive", "unpack it and give the sound file in it"),
    (0, b"\x1f\x8b", "a file that gzip compressed", "unpack it with gunzip"),
    (0, b"\xfd7zXZ\x00", "a file that xz compressed", "unpack it with unxz"),
    (0, b"(\xb5/\xfd", "a file that zstd compressed", "unpack it with unzstd"),
    (0, b"BZh", "a file that bzip2 compressed", "unpack it with bunzip2"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it and give the sound file in it"),
    (0, b"Rar!", "a RAR archive", "unpack it and give the sound file in it"),
    (0, b"MThd", "a MIDI file", "it holds notes and no sound"),
    (0, b"%PDF", "a PDF document", "give a sound file"),
    (0, b"\x89PNG", "a PNG picture", "give a sound file"),
    (0, b"\xff\xd8\xff", "a JPEG picture", "give a sound file"),
    (0, b"\x7fELF", "a program", "give a sound file"),
)
_UNSTREAMED = (
    (b"fLaC", "FLAC"),
    (b"caff", "CAF"),
    (b"ID3", "MP3"),
    (b"Creative Voice File", "VOC"),
)


def recognise(head: bytes, path: str | None) -> str | None:
    """Return what a file is, and the command that helps; None if it is unknown.

    Parameters
    ----------
    head : bytes
        The file's first bytes, up to `HEAD_BYTES`.
    path : str or None
        The file; None for a pipe.
    """
    if text := stand_in(head, "sound"):
        return f"this is {text}"
    for at, magic, name in _CONVERTIBLE:
        if head[at:].startswith(magic):
            return f"this is {name}, which is not read; {_conversion(path, at == 4)}"
    for at, magic, name, advice in _OTHERS:
        if head[at:].startswith(magic):
            return f"this is {name}; {advice}"
    if head[:1] in (b"{", b"[") and _is_text(head):
        return "this is JSON, not sound; give a sound file"
    if len(head) >= 16 and _is_text(head):
        return "this is text, not sound; give a sound file"
    return None


def unstreamed(head: bytes) -> str | None:
    """Return what to do where a pipe holds sound that is read from files only; None if unknown."""
    name = next((name for magic, name in _UNSTREAMED if head.startswith(magic)), None)
    if name is None and len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 in (0xE2, 0xE4, 0xE6):
        name = "MP3"
    if name is None:
        return None
    return cannot_stream(name)


def cannot_stream(name: str) -> str:
    """Return that a format is not read from a pipe, which ones are, and what to do."""
    # FFmpeg does not read CAF from a pipe either.
    advice = (
        "write it to a file first, then: fcs-edge encode FILE OUT"
        if name in ("CAF", "VOC")
        else "convert it on the way: ffmpeg -i - -f wav - | fcs-edge encode - OUT"
    )
    return f"{name} is not read from a pipe; {STREAMING} are; {advice}"


def _conversion(path: str | None, needs_file: bool) -> str:
    if path is not None:
        return f"convert it: ffmpeg -i {shlex.quote(path)} x.wav"
    if needs_file:
        return "write it to a file first, then: ffmpeg -i FILE x.wav"
    return "convert it on the way: ffmpeg -i - -f wav - | fcs-edge encode - OUT"


def _is_text(head: bytes) -> bool:
    """Return whether bytes are text; the last character may be cut."""
    text = head.decode("utf-8", "ignore")
    return len(text.encode()) > len(head) - 4 and all(
        c.isprintable() or c in "\t\r\n" for c in text
    )
