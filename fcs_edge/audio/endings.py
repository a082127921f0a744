"""Whether a file is there to its end, for formats whose end libsndfile does not check."""

from __future__ import annotations

import re
import struct
import zlib
from typing import Any

from fcs_edge.text import counted

_SEARCH_BYTES = 1 << 8


class OggPages:
    """Follows the pages of an Ogg stream, to know whether all of them, and its end, are there.

    References
    ----------
    RFC 3533, section 6: the page header.
    """

    def __init__(self) -> None:
        self._data = b""
        self._open: set[int] = set()
        self.n_links = 0
        self.n_damaged = 0
        """Pages that a decoder leaves out without a word: their check fails."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._data += data
        while len(self._data) >= 27:
            if self._data[:4] != b"OggS":
                start = self._data.find(b"OggS", 1)
                self._data = self._data[start if start > 0 else -3 :]
                if start < 0:
                    return
                continue
            n_segments = self._data[26]
            size = 27 + n_segments + sum(self._data[27 : 27 + n_segments])
            if len(self._data) < max(size, 27 + n_segments):
                return
            if not _is_intact(self._data[:size]):
                self.n_damaged += 1
                # Its size may be what is damaged: the next page is searched for.
                self._data = self._data[4:]
                continue
            self._page(self._data[5], struct.unpack_from("<I", self._data, 14)[0])
            self._data = self._data[size:]

    def _page(self, flags: int, serial: int) -> None:
        if flags & 2:
            self.n_links += not self._open
            self._open.add(serial)
        if flags & 4:
            self._open.discard(serial)

    @property
    def problem(self) -> str | None:
        """What is wrong with the stream's end; None where all pages are there and are read."""
        if self.n_links > 1:
            return f"holds {self.n_links} streams one after the other; only the first is read"
        if self._open or self._data[:4] == b"OggS":
            return "is cut: the mark of its end is missing"
        if self.n_damaged:
            return f"is damaged: {counted(self.n_damaged, 'page')} left out"
        return None


def _is_intact(page: bytes) -> bool:
    """Return whether the check of an Ogg page holds: CRC-32 of the bytes, high bits first."""
    unchecked = page[:22] + bytes(4) + page[26:]
    # zlib computes it low bits first, from and to complements.
    reverse = zlib.crc32(unchecked.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return reverse.to_bytes(4, "big").translate(_REVERSED) == page[22:26]


_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits in reverse."""


def mp3_states_its_length(data: Any) -> bool:
    """Return whether the first frame of an MP3 file holds the number of frames."""
    start = _after_tag(data)
    return any(name in data[start : start + _SEARCH_BYTES] for name in (b"Xing", b"Info"))


def mp3_ends_within_a_frame(data: Any) -> bool:
    """Return whether an MPEG audio file, any bytes-like object, is cut within its last frame."""
    at = _after_tag(data)
    while len(data) - at >= 4:
        header = data[at : at + 4]
        size = _mpeg_frame_bytes(header) if len(header) == 4 else None
        if size is None:
            return False
        at += size
    return at > len(data)


def mp3_holds_another_sound(data: Any) -> bool:
    """Return whether a second frame of an MPEG audio file holds a number of frames."""
    at = first = _after_tag(data)
    # To search all bytes is much faster than to follow the frames.
    if _occurrences(data, b"Xing\0\0\0", b"Info\0\0\0") < 2:
        return False
    while len(data) - at >= 4:
        header = data[at : at + 4]
        size = _mpeg_frame_bytes(header) if len(header) == 4 else None
        if size is None:
            tag = _tag_bytes(data, at)
            if not tag:
                return False
            at += tag
            continue
        if at > first and _COUNT.search(data[at : at + 48]):
            return True
        at += size
    return False


def flac_holds_another_sound(data: Any) -> bool:
    """Return whether the first block of a FLAC stream occurs twice."""
    return _occurrences(data, b"fLaC\0\0\0\x22") > 1


def _occurrences(data: Any, *names: bytes) -> int:
    """Return how often names occur, all of one length."""
    n, step = 0, 1 << 16
    for at in range(0, len(data), step):
        block = data[at : at + step + len(names[0]) - 1]
        n += sum(map(block.count, names))
    return n


def _after_tag(data: Any) -> int:
    """Return where the frames start: after an ID3 tag."""
    return _tag_bytes(data, 0) if data[:3] == b"ID3" else 0


def _tag_bytes(data: Any, at: int) -> int:
    """Return the bytes of the tag at a position: ID3 of version 1 or 2; 0 if there is none."""
    head: bytes = data[at : at + 10]
    if head[:3] == b"TAG":
        return 128
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    size = head[6:]
    return 10 + (size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3])


def _mpeg_frame_bytes(header: bytes) -> int | None:
    """Return the bytes of the frame of MPEG audio that starts with a header of four bytes.

    References
    ----------
    ISO/IEC 11172-3, section 2.4.2.3.
    """
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    index, rate = header[2] >> 4, header[2] >> 2 & 3
    if header[0] != 255 or header[1] < 0xE0 or version == 1 or layer == 4:
        return None
    if index in (0, 15) or rate == 3:
        return None
    table = _BITRATES[layer if version == 3 else 4 if layer == 1 else 5]
    bits, hertz = table[index] * 1000, (44100, 48000, 32000)[rate] >> (3 - version - (version == 0))
    padding = header[2] >> 1 & 1
    if layer == 1:
        return (12 * bits // hertz + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * bits // hertz + padding


def stated_frames(data: Any) -> int | None:
    """Return the samples that a NIST or AVR header states; None for any other file."""
    if data[:7] == b"NIST_1A":
        count = re.search(rb"^sample_count -i (\d+)", data[:1024], re.MULTILINE)
        return int(count[1]) if count else None
    if data[:4] == b"2BIT":
        return int.from_bytes(data[26:30], "big")
    return None


def ends_within_a_block(data: Any) -> bool:
    """Return whether a VOC or SVX file is cut within its last block; False for any other file."""
    if data[:19] == b"Creative Voice File":
        at = int.from_bytes(data[20:22], "little")
        while 0 < at < len(data) and any(data[at : at + 1]):
            at += 4 + int.from_bytes(data[at + 1 : at + 4], "little")
        return at > len(data)
    if data[:4] == b"FORM" and data[8:12] in (b"8SVX", b"16SV"):
        at = 12
        while at + 8 <= min(len(data), 8 + int.from_bytes(data[4:8], "big")):
            size = int.from_bytes(data[at + 4 : at + 8], "big")
            at += 8 + size
            if at > len(data):
                return True
            at += size % 2
    return False


_COUNT = re.compile(rb"(Xing|Info)\0\0\0[\0-\x0f]")

_BITRATES = {
    1: (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    4: (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    5: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Kilobits a second of MPEG 1, layers 1 to 3; of MPEG 2, layer 1, and layers 2 and 3."""
