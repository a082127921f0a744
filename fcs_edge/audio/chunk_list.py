"""Chunks of RIFF, AIFF, CAF and W64 files, and lists of them that follow the sound."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

PIPE_LIST_BYTES = 1 << 16
"""Longest list of chunks that is recognised at the end of a pipe: so much sound may wait."""

_NAMES = (
    *("LIST", "list", "id3 ", "ID3 ", "bext", "iXML", "aXML", "axml", "XMP ", "_PMX", "JUNK"),
    *("junk", "PAD ", "pad ", "FLLR", "fllr", "free", "fact", "cue ", "smpl", "inst", "PEAK"),
    *("afsp", "cart", "chna", "umid", "acid", "strc", "DISP", "plst", "labl", "note", "ltxt"),
    *("SyLp", "Cr8r", "levl", "MD5 ", "regn", "minf", "elm1", "ovwf", "dbmd", "ubxt", "SNDM"),
    *("NAME", "AUTH", "(c) ", "ANNO", "MARK", "INST", "AESD", "APPL", "MIDI", "COMT", "SAXL"),
)
"""First chunks of a list; the chunks after it may have any printable name."""

_FIRST = re.compile(b"|".join(re.escape(name.encode()) for name in _NAMES))
_PRINTABLE = re.compile(rb"[ -~]{4}")
_ANOTHER = re.compile(
    rb"R(IFF|IFX|F64)....WAVE|BW64....WAVE|riff\x2e\x91\xcf\x11|FORM....AIF[FC]|caff\0\x01\0\0"
    rb"|\.snd\0\0|fLaC\0\0\0\x22|OggS\0\x02|data|SSND",
    re.DOTALL,
)
"""How a sound begins."""


@dataclass(frozen=True)
class ChunkForm:
    """How a family of files writes its chunks: a name, a size, the content."""

    name_bytes: int
    size: str
    """Format of the size, as `struct` has it."""
    whole: bool
    """Whether the size counts name and size too."""
    align: int
    """Each chunk starts at a multiple of this."""

    @property
    def header_bytes(self) -> int:
        """Bytes of name and size."""
        return self.name_bytes + struct.calcsize(self.size)

    def parse(self, header: bytes) -> tuple[bytes, int]:
        """Return a chunk's name, its first four bytes, and the bytes of its content."""
        (size,) = struct.unpack(self.size, header[self.name_bytes : self.header_bytes])
        return header[:4], size - self.header_bytes if self.whole else size

    def padding(self, size: int) -> int:
        """Return the bytes between content of this size and the next chunk."""
        return -size % self.align


RIFF = ChunkForm(4, "<I", False, 2)
RIFX = ChunkForm(4, ">I", False, 2)
W64 = ChunkForm(16, "<q", True, 8)
CAF = ChunkForm(4, ">q", False, 1)


def list_start(data: bytes, form: ChunkForm) -> int:
    """Return where a list of chunks starts that ends with the data; its length if there is none.

    Sound has no end of its own where its size is unknown. A known name, and sizes that lead exactly
    to the end, tell chunks from samples.
    """
    for match in _FIRST.finditer(data):
        if _follow(data, match.start(), form) in (len(data), len(data) + 1):
            return match.start()
    return len(data)


def _follow(data: bytes, start: int, form: ChunkForm) -> int | None:
    """Return where the chunks from `start` end, at the data's end or after it; None if nowhere."""
    at = start
    while len(data) - at >= form.header_bytes:
        name, size = form.parse(data[at : at + form.header_bytes])
        if size < 0 or not _PRINTABLE.fullmatch(name):
            return None
        at += form.header_bytes + size + form.padding(size)
    if at < len(data) and not any(data[at:]):
        return len(data)
    return at


def holds_another_sound(data: bytes, form: ChunkForm | None) -> bool:
    """Return whether another sound starts in the bytes after one, at first or after chunks.

    It is a whole file, as ``cat a.wav b.wav`` leaves it, or a second chunk of samples.
    """
    at = 0
    while not _ANOTHER.match(data, at):
        header = data[at : at + form.header_bytes] if form else b""
        if form is None or len(header) < form.header_bytes or not _PRINTABLE.match(header):
            return False
        _, size = form.parse(header)
        if size < 0:
            return False
        at += form.header_bytes + size + form.padding(size)
    return True


class TailFilter:
    """Withholds chunks at the end of a pipe's sound, whose size is unknown.

    What may be a list of chunks waits until it is one or is not, at most `PIPE_LIST_BYTES`.
    """

    def __init__(self, form: ChunkForm) -> None:
        self._form = form
        self._data = b""
        self._passed = 0

    def feed(self, data: bytes) -> bytes:
        """Take bytes; return those that are sound."""
        self._data += data
        for match in _FIRST.finditer(self._data):
            if self._is_even(match.start()) and self._may_be_list(match.start()):
                return self._pass(match.start())
        # A name may be cut by the end of what has arrived.
        for start in range(max(len(self._data) - 3, 0), len(self._data)):
            if self._is_even(start) and self._data[start:] in _STARTS:
                return self._pass(start)
        return self._pass(len(self._data))

    def end(self) -> bytes:
        """Return the sound that waited."""
        return self._data[: list_start(self._data, self._form)]

    def rest(self) -> bytes:
        """Return all that waited, where the sound's size shows that it is sound."""
        return self._data

    def _is_even(self, start: int) -> bool:
        # Chunks start at even bytes; no more sound waits than that demands.
        return (self._passed + start) % 2 == 0

    def _may_be_list(self, start: int) -> bool:
        end = _follow(self._data, start, self._form)
        return end is not None and max(end, len(self._data)) - start <= PIPE_LIST_BYTES

    def _pass(self, n: int) -> bytes:
        data, self._data = self._data[:n], self._data[n:]
        self._passed += n
        return data


_STARTS = {name.encode()[:n] for name in _NAMES for n in (1, 2, 3)}
