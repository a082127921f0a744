"""Headers of uncompressed sound: WAV, RF64, W64, AIFF, AU and CAF.

The header is not believed over the bytes: a recorder that crashes leaves a size of 0, a tool that
writes into a pipe a size of -1, a broken copy a size beyond its end.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fcs_edge.audio.byte_source import ByteSource
from fcs_edge.audio.chunk_list import CAF, RIFF, RIFX, W64, ChunkForm
from fcs_edge.audio.stored_samples import WIDTHS

HEAD_BYTES = 12
"""Number of first bytes that name the container."""

_MAX_FORMAT_BYTES = 1 << 16
_MAX_CHANNELS = 1024
_RIFF_KINDS = {1: "i", 3: "f", 6: "alaw", 7: "ulaw"}
_AU_KINDS = {1: "ulaw", 2: "i1", 3: "i2", 4: "i3", 5: "i4", 6: "f4", 7: "f8", 27: "alaw"}
_AIFC_KINDS = {
    **{b"raw ": "u1", b"in24": "i3", b"in32": "i4", b"fl32": "f4", b"FL32": "f4", b"fl64": "f8"},
    **{b"FL64": "f8", b"alaw": "alaw", b"ALAW": "alaw", b"ulaw": "ulaw", b"ULAW": "ulaw"},
}


class DamagedHeader(Exception):  # noqa: N818 - it does not leave this package
    """A header is cut, or states nonsense; the text says which."""


@dataclass(frozen=True)
class SoundHeader:
    """Where a file's sound is, and what it is."""

    container: str
    rate: int
    channels: int
    kind: str | None
    """A kind of `stored_samples.WIDTHS`; None for a codec, as in ADPCM."""
    order: str
    """``<`` or ``>``: the order of a sample's bytes."""
    start: int
    """Position of the first byte of sound."""
    stated: int
    """Bytes of sound that the header states."""
    is_open: bool
    """Whether the stated number means that the writer did not know it."""
    form: ChunkForm | None = None
    """The chunks that may follow the sound."""
    size_field: tuple[int, str] | None = None
    """Position and format of the stated number, where another one can take its place."""
    may_be_open: bool = False
    """Whether the format itself allows an open size."""
    codec_rate: int = 0
    """Bytes of a codec for a second of sound; 0 if unknown."""

    def __post_init__(self) -> None:
        """Refuse a header without a rate or channels."""
        if self.rate <= 0 or not 0 < self.channels <= _MAX_CHANNELS:
            raise DamagedHeader(f"its header states {self.channels} channels at {self.rate} Hz")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of each channel; 1 for a codec."""
        return WIDTHS[self.kind] * self.channels if self.kind else 1

    def beyond(self, n_bytes: int, first: bytes) -> str | None:
        """Return a remark on bytes after the stated sound that may be sound; None for others.

        Chunks, zeros and less than a second of anything are not worth a remark.

        Parameters
        ----------
        n_bytes : int
            The bytes after the sound and its padding.
        first : bytes
            The first of them, at least four.
        """
        first = first[:4]
        is_chunk = self.form is not None and first.isascii() and first.decode().isprintable()
        if is_chunk or not any(first) or self.seconds(n_bytes) < 1:
            return None
        return f"{n_bytes} bytes follow the sound that its header states; they are not read"

    def seconds(self, n_bytes: int) -> float:
        """Return the sound in so many bytes; of a codec, about."""
        if self.kind is None:
            return n_bytes / self.codec_rate if self.codec_rate else 0.0
        return n_bytes // self.frame_bytes / self.rate


def read_header(source: ByteSource) -> SoundHeader | None:
    """Read a header, up to the first byte of sound.

    Returns
    -------
    SoundHeader or None
        None for any other container; then the source has not moved.

    Raises
    ------
    DamagedHeader
        The header is cut or states nonsense.
    """
    head = source.peek(HEAD_BYTES)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return _riff(source, head[:4].decode())
    if head[:4] == b"riff" and head[4:12] == bytes.fromhex("2e91cf11a5d628db"):
        return _w64(source)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _aiff(source)
    if head[:4] in (b".snd", b"dns."):
        return _au(source, ">" if head[:4] == b".snd" else "<")
    if head[:4] == b"caff":
        return _caf(source)
    return None


def is_placeholder(size: int, bits: int) -> bool:
    """Return whether a stated size means that the writer did not know it.

    Writers into pipes state 0, -1, the largest number that a field holds, or slightly less.
    """
    if size <= 0:
        return True
    limits = (1 << bits, 1 << (bits - 1)) if bits == 32 else (1 << 63, 1 << 32)
    return any(limit - 0x10000 <= size <= limit for limit in limits)


def _riff(source: ByteSource, name: str) -> SoundHeader:
    form = RIFX if name == "RIFX" else RIFF
    container = "RF64" if name in ("RF64", "BW64") else "WAV"
    source.read(12)
    names = (b"fmt ", b"ds64") if container == "RF64" else (b"fmt ",)
    contents, size = _contents(source, form, names)
    content = contents.get(b"fmt ", b"")
    if size == 0xFFFFFFFF and b"ds64" in contents:
        (size,) = struct.unpack_from("<q", contents[b"ds64"].ljust(16), 8)
        return _described(source, content, form, container, size, None)
    field = source.position - 4, form.size
    return _described(source, content, form, container, size, field)


def _w64(source: ByteSource) -> SoundHeader:
    source.read(40)
    contents, size = _contents(source, W64, (b"fmt ",))
    return _described(source, contents.get(b"fmt ", b""), W64, "W64", size, None)


def _described(
    source: ByteSource,
    content: bytes,
    form: ChunkForm,
    container: str,
    size: int,
    field: tuple[int, str] | None,
) -> SoundHeader:
    """Return the header that the content of a ``fmt`` chunk describes."""
    order = form.size[0]
    if len(content) < 16:
        raise DamagedHeader("its header does not say how the samples are stored")
    tag, channels, rate, per_second, block, bits = struct.unpack_from(order + "HHIIHH", content)
    if tag == 0xFFFE and len(content) >= 26:
        (tag,) = struct.unpack_from(order + "H", content, 24)
    width = -(-bits // 8)
    # 20 or 24 bits may lie in the upper part of 4 bytes.
    if channels and block % channels == 0 and width < block // channels <= 4:
        width = block // channels
    kind = _RIFF_KINDS.get(tag)
    if kind == "i":
        kind = "u1" if width == 1 else f"i{width}"
    elif kind == "f":
        kind = f"f{width}"
    if kind not in WIDTHS:
        kind = None
    return SoundHeader(
        *(container, rate, channels, kind, order, source.position, size),
        is_open=is_placeholder(size, 32 if field else 64),
        form=form,
        size_field=field,
        codec_rate=per_second,
    )


def _aiff(source: ByteSource) -> SoundHeader:
    source.read(12)
    common, found = b"", None
    while not common or found is None:
        name, size = _next_chunk(source, RIFX)
        if name == b"COMM":
            common = _content(source, size, RIFX)
            continue
        if name == b"SSND":
            found = source.position, size
            if common:
                break
            if source.size is None:
                raise DamagedHeader("its samples stand before their description")
        _pass(source, size + RIFX.padding(size))
    start, size = found
    if source.position != start:
        source.seek(start)
    head = source.read(8)
    if len(common) < 18 or len(head) < 8:
        raise DamagedHeader("it ends within its header")
    offset = struct.unpack(">I", head[:4])[0]
    _pass(source, offset)
    return _aiff_format(source, common, size, size - 8 - offset)


def _aiff_format(source: ByteSource, common: bytes, size: int, stated: int) -> SoundHeader:
    """Return the header that the content of a ``COMM`` chunk describes."""
    channels, n_frames, bits, exponent, mantissa = struct.unpack_from(">HIHHQ", common)
    # An 80-bit number of IEEE 754; no rate needs an exponent beyond 32 bits.
    rate = round(mantissa * 2.0 ** (exponent - 16446)) if 16383 <= exponent < 16415 else 0
    codec = common[18:22] if len(common) >= 22 else b"NONE"
    kind = f"i{-(-bits // 8)}" if codec in (b"NONE", b"twos", b"sowt") else _AIFC_KINDS.get(codec)
    kind = kind if kind in WIDTHS else None
    described = n_frames * channels * (WIDTHS[kind] if kind else 0)
    if is_placeholder(size, 32) or stated <= 0:
        stated = 0 if is_placeholder(n_frames, 32) else described
    elif 0 < described < stated:
        stated = described
    return SoundHeader(
        *("AIFF", rate, channels, kind, "<" if codec == b"sowt" else ">", source.position, stated),
        is_open=stated <= 0,
        form=RIFX,
    )


def _au(source: ByteSource, order: str) -> SoundHeader:
    if len(head := source.read(24)) < 24:
        raise DamagedHeader("it ends within its header")
    offset, size, encoding, rate, channels = struct.unpack(f"{order}5I", head[4:])
    _pass(source, offset - 24)
    return SoundHeader(
        *("AU", rate, channels, _AU_KINDS.get(encoding), order, source.position, size),
        is_open=is_placeholder(size, 32),
        may_be_open=size == 0xFFFFFFFF,
    )


def _caf(source: ByteSource) -> SoundHeader:
    source.read(8)
    contents, size = _contents(source, CAF, (b"desc",))
    content = contents.get(b"desc", b"")
    # A count of edits stands before the samples.
    _pass(source, 4)
    if len(content) < 32:
        raise DamagedHeader("its header does not say how the samples are stored")
    rate, codec, flags, packet, _, channels, bits = struct.unpack_from(">d4sIIIII", content)
    width = packet // channels if channels else 0
    kind = {b"lpcm": f"f{width}" if flags & 1 else f"i{width}"}.get(codec)
    kind = codec.decode() if codec in (b"ulaw", b"alaw") else kind
    if kind not in WIDTHS or bits > 8 * WIDTHS[kind]:
        kind = None
    return SoundHeader(
        *("CAF", round(rate) if 0 < rate < 1 << 32 else 0, channels, kind),
        *("<" if flags & 2 else ">", source.position, size - 4),
        is_open=is_placeholder(size, 64),
        form=CAF,
        may_be_open=size == -1,
    )


def _contents(
    source: ByteSource, form: ChunkForm, names: tuple[bytes, ...]
) -> tuple[dict[bytes, bytes], int]:
    """Read the chunks before the samples; return the contents of some, and the samples' size."""
    contents: dict[bytes, bytes] = {}
    while True:
        name, size = _next_chunk(source, form)
        if name == b"data":
            return contents, size
        if name in names:
            contents[name] = _content(source, size, form)
        else:
            _pass(source, size + form.padding(size))


def _next_chunk(source: ByteSource, form: ChunkForm) -> tuple[bytes, int]:
    header = source.read(form.header_bytes)
    if len(header) < form.header_bytes:
        raise DamagedHeader("it ends within its header")
    return form.parse(header)


def _content(source: ByteSource, size: int, form: ChunkForm) -> bytes:
    if not 0 <= size <= _MAX_FORMAT_BYTES:
        raise DamagedHeader("its header is damaged")
    content = source.read(size)
    _pass(source, form.padding(size))
    return content


def _pass(source: ByteSource, n: int) -> None:
    if n < 0:
        raise DamagedHeader("its header is damaged")
    if not source.skip(n):
        raise DamagedHeader("it ends within its header")
