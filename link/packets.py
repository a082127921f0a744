"""Packets of tokens, version 2, open or sealed with a key; see docs/reference/link-protocol.md."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from fcs_edge.bitstream.bitpack import MAX_BITS, packed_size
from fcs_edge.errors import FcsError
from fcs_edge.link.payload import U16, CodedTokens, body_bytes, body_tokens
from fcs_edge.link.reasons import VERSION, PacketError
from fcs_edge.link.seal import (
    CHECK_BYTES,
    STREAM_BYTES,
    TAG_BYTES,
    DirectionKey,
    seal,
    unsealed,
)

if TYPE_CHECKING:
    from fcs_edge.codec import Codec
    from fcs_edge.entropy import TokenCoder

MARK = 0xF0
"""The first byte of a packet is this and the version."""
MAX_CHUNKS = 12
"""Chunks of the longest packet, and of the one before that it carries as well."""
MAX_SEQUENCES = 1 << 32
"""Chunks of the longest stream: ten years of 80 ms."""
MAX_STREAM = (1 << 80) - 1
MAX_PACKET = 1200
"""Bytes of the largest packet: it passes typical networks without fragmentation."""
MAX_PAUSE = 0xFFFF
"""The largest number of silent chunks that a packet counts; it stands for more, too."""
FINGERPRINT_BYTES = 8

SEALED = 0x80
"""Flag of the second byte: the payload is sealed."""
IDENTIFIED = 0x40
"""Flag: the model's fingerprint follows the header; in open packets only."""
CONTENT = 0x30
"""Bits of the content."""
RAW, CODED, SILENCE, REDUNDANT = range(4)
"""Contents: tokens as they are or coded, a pause, tokens with those of the packet before."""
_CONTENT_SHIFT = 4
_CHUNKS = 0x0F

_HEADER = struct.Struct(">BBI10s")
HEADER_BYTES = _HEADER.size
SEQUENCE_OFFSET, STREAM_OFFSET = 2, 6
"""Where the header's last two fields begin."""

Coders = Mapping[int, "TokenCoder"]
"""What decodes tokens, by the check of its prior; what is tried first is first."""
NO_CODERS: Coders = MappingProxyType({})


@dataclass(frozen=True)
class PacketFormat:
    """The facts about the model that both ends must share.

    Attributes
    ----------
    fingerprint : bytes
        8 bytes that identify the model of the tokens.
    bits : int
        Bits per token, 1..16. Each value of that many bits is a token of the model.
    chunk_tokens : int
        Tokens a chunk, 1..48.

    Raises
    ------
    ValueError
        A field is out of range.
    """

    fingerprint: bytes
    bits: int
    chunk_tokens: int

    def __post_init__(self) -> None:
        """Check the range of every field."""
        if len(self.fingerprint) != 8:
            raise ValueError(f"fingerprint must be 8 bytes, not {len(self.fingerprint)}")
        for name, limit in {"bits": MAX_BITS, "chunk_tokens": 48}.items():
            value = getattr(self, name)
            if not 1 <= value <= limit:
                raise ValueError(f"{name} must be 1..{limit}, not {value}")

    @classmethod
    def of(cls, codec: Codec) -> PacketFormat:
        """Return the format of a codec's packets."""
        return cls(codec.fingerprint, codec.bits_per_token, codec.chunk_tokens)

    def packet_size(
        self, chunks: int, *, sealed: bool, identified: bool = False, before: int | None = None
    ) -> int:
        """Return the size of a packet of tokens as they are, without UDP and IP headers, in bytes.

        Parameters
        ----------
        chunks : int
            Chunks of the packet.
        sealed, identified : bool
            Whether it is sealed, and whether it carries the fingerprint.
        before : int, optional
            Chunks of the packet before; None without redundancy.
        """
        count = (chunks + (before or 0)) * self.chunk_tokens
        head = HEADER_BYTES + (before is not None) + (FINGERPRINT_BYTES if identified else 0)
        return head + packed_size(count, self.bits) + (TAG_BYTES if sealed else 0)


@dataclass(frozen=True, eq=False)
class Packet:
    """Consecutive chunks of a stream.

    Attributes
    ----------
    stream : int
        Number of the stream, 0..2**80 - 1: its time and its random part.
    sequence : int
        Index of the packet's first chunk in the stream, 0..2**32 - 1.
    tokens : ((before + chunks) * chunk_tokens,) ndarray of uint16, or CodedTokens
        Tokens of 1..12 chunks, behind those of the packet before.
    identified : bool
        Whether the packet carries the model's fingerprint, and the prior's check where it is
        coded; open packets only. A receiver plays a stream from its first such packet on.
    before : int, optional
        Chunks ahead of ``sequence`` that the packet carries as well, 0..12; None in a stream
        without redundancy.
    """

    stream: int
    sequence: int
    tokens: U16 | CodedTokens
    identified: bool = False
    before: int | None = None

    def decoded(self) -> U16:
        """Return the tokens, those of the packet before first."""
        return self.tokens.decoded() if isinstance(self.tokens, CodedTokens) else self.tokens


@dataclass(frozen=True)
class Silence:
    """A pause: the chunks from ``sequence - before`` on, until a packet of tokens comes.

    Attributes
    ----------
    stream, sequence : int
        As of `Packet`; the sequence is that of a chunk of the pause.
    token : int
        The token that all of the pause consists of.
    before : int
        Chunks of the pause ahead of this one, 0..65535; the greatest stands for more, too.
    identified : bool
        As of `Packet`.
    """

    stream: int
    sequence: int
    token: int
    before: int = 0
    identified: bool = False


def stream_bytes(stream: int) -> bytes:
    """Return the number of a stream as it stands in the header, 10 bytes."""
    return stream.to_bytes(STREAM_BYTES, "big")


def write_packet(
    form: PacketFormat, packet: Packet | Silence, key: DirectionKey | None = None
) -> bytes:
    """Return a packet as the bytes to send.

    Never seal two different packets of one stream and sequence with one key. Their nonce would
    be the same, which reveals both and lets others forge packets.

    Parameters
    ----------
    form : PacketFormat
        The format.
    packet : Packet or Silence
        The packet.
    key : DirectionKey, optional
        What seals the packet; without a key it is open.

    Returns
    -------
    bytes
        Header, payload and, if sealed, tag.

    Raises
    ------
    ValueError
        The tokens are not 1..12 chunks, a token does not fit, a number is out of range, the
        packet is too long, or a sealed packet is to carry the fingerprint.
    FcsError
        The stream is at its end, after 2**32 chunks.
    """
    if not 0 <= packet.stream <= MAX_STREAM or packet.sequence < (packet.before or 0):
        raise ValueError(f"stream {packet.stream}, sequence {packet.sequence} is out of range")
    if key is not None and packet.identified:
        raise ValueError("a sealed packet carries no fingerprint")
    chunks, content, payload, check = _written(form, packet)
    if packet.sequence + chunks > MAX_SEQUENCES:
        raise FcsError(f"the stream has {MAX_SEQUENCES} chunks and ends here: start a new one")
    flags = chunks | content << _CONTENT_SHIFT
    flags |= (IDENTIFIED if packet.identified else 0) | (SEALED if key else 0)
    stream = stream_bytes(packet.stream)
    header = _HEADER.pack(MARK | VERSION, flags, packet.sequence, stream)
    if content == REDUNDANT:
        kind = RAW if check is None else CODED
        header += bytes([kind << _CONTENT_SHIFT | (packet.before or 0)])
    if key is None:
        name = form.fingerprint + _check_bytes(check) if packet.identified else b""
        data = header + name + payload
    else:
        stream_key = key.of_stream(stream, form.fingerprint, check)
        data = header + seal(payload, header, packet.sequence, stream_key)
    if len(data) > MAX_PACKET:
        raise ValueError(f"a packet of {len(data)} bytes is too long: {MAX_PACKET} at most")
    return data


def _written(form: PacketFormat, packet: Packet | Silence) -> tuple[int, int, bytes, int | None]:
    """Return a packet's chunks, content, payload and the check of its prior, None if not coded."""
    if isinstance(packet, Silence):
        if not (0 <= packet.token < 1 << form.bits and 0 <= packet.before <= MAX_PAUSE):
            raise ValueError(f"token {packet.token}, before {packet.before} is out of range")
        token = packet.token.to_bytes(_token_bytes(form), "big")
        return 1, SILENCE, token + packet.before.to_bytes(2, "big"), None
    chunks, rest = divmod(packet.tokens.size, form.chunk_tokens)
    chunks -= packet.before or 0
    if rest or not 1 <= chunks <= MAX_CHUNKS or not 0 <= (packet.before or 0) <= MAX_CHUNKS:
        raise ValueError(
            f"a packet takes 1..{MAX_CHUNKS} chunks of {form.chunk_tokens} tokens, "
            f"not {packet.tokens.size} tokens"
        )
    coder = packet.tokens.coder if isinstance(packet.tokens, CodedTokens) else None
    content = RAW if coder is None else CODED
    content = content if packet.before is None else REDUNDANT
    check = None if coder is None else coder.check
    return chunks, content, body_bytes(packet.tokens, form.bits), check


def read_packet(
    form: PacketFormat,
    data: bytes,
    key: DirectionKey | None = None,
    coders: Coders = NO_CODERS,
    check: int | None = None,
) -> Packet | Silence:
    """Return the packet in a received datagram.

    With a key, only size, version, content and the flag of sealed packets are read before the
    tag is verified. Each later reason then comes from the sender, not from a stranger.

    Parameters
    ----------
    form : PacketFormat
        The format.
    data : bytes
        One datagram; receive up to ``MAX_PACKET + 1`` bytes, to detect one that is too long.
    key : DirectionKey, optional
        The key of the packets that this end receives. With a key, open packets are rejected;
        without one, sealed packets.
    coders : mapping of int to TokenCoder, optional
        What decodes coded packets, by the check of its prior.
    check : int, optional
        The check of the stream's prior, where an earlier packet told it. Without it each of
        ``coders`` is tried on a sealed packet; an open one must name it.

    Returns
    -------
    Packet or Silence
        The packet.

    Raises
    ------
    PacketError
        The packet must be discarded; ``reason`` says why.
    """
    if not HEADER_BYTES < len(data) <= MAX_PACKET:
        raise PacketError("size")
    if data[0] != MARK | VERSION:
        raise PacketError("version" if data[0] & MARK == MARK else "format")
    if bool(data[1] & SEALED) != (key is not None):
        raise PacketError("sealed" if key is None else "open")
    head = _Head.of(data)
    if key is not None:
        payload, check = _opened(form, data, head, key, coders if check is None else [check])
    if head.kind > CODED and head.content != SILENCE:
        raise PacketError("content")
    if key is None:
        payload, check = _named(form, data, head, coders, check)
    if head.content == SILENCE:
        return _silence(form, payload, head)
    return _packet(form, payload, head, coders, check)


@dataclass(frozen=True)
class _Head:
    """What stands ahead of the payload.

    Attributes
    ----------
    flags, sequence, stream
        As in the header.
    content, kind : int
        The content; how the tokens are stored, `RAW` or `CODED`.
    before : int or None
        As of `Packet`.
    size : int
        Bytes of the header.
    """

    flags: int
    sequence: int
    stream: bytes
    content: int
    kind: int
    before: int | None
    size: int

    @classmethod
    def of(cls, data: bytes) -> _Head:
        """Read the first bytes of a packet, 17 or more."""
        _, flags, sequence, stream = _HEADER.unpack_from(data)
        content = (flags & CONTENT) >> _CONTENT_SHIFT
        if content != REDUNDANT:
            return cls(flags, sequence, stream, content, content, None, HEADER_BYTES)
        byte = data[HEADER_BYTES]
        kind, before = byte >> _CONTENT_SHIFT, byte & _CHUNKS
        return cls(flags, sequence, stream, content, kind, before, HEADER_BYTES + 1)

    @property
    def number(self) -> int:
        """Number of the stream."""
        return int.from_bytes(self.stream, "big")

    @property
    def identified(self) -> bool:
        """Whether the fingerprint follows."""
        return bool(self.flags & IDENTIFIED)

    def check_range(self, n_before: int) -> int:
        """Return the number of chunks; refuse one out of range, with chunks ahead of them."""
        chunks = self.flags & _CHUNKS
        if not 1 <= chunks <= MAX_CHUNKS or self.sequence + chunks > MAX_SEQUENCES:
            raise PacketError("range")
        if n_before > self.sequence or (self.flags & SEALED and self.identified):
            raise PacketError("range")
        return chunks


def _opened(
    form: PacketFormat, data: bytes, head: _Head, key: DirectionKey, checks: Iterable[int]
) -> tuple[bytes, int | None]:
    """Return the payload of a sealed packet, and the check of the prior that coded it."""
    if len(data) <= head.size + TAG_BYTES:
        raise PacketError("size")
    sealed, header = data[head.size :], data[: head.size]
    for check in checks if head.kind == CODED else [None]:
        stream_key = key.of_stream(head.stream, form.fingerprint, check)
        payload = unsealed(sealed, header, head.sequence, stream_key)
        if payload is not None:
            return payload, check
    raise PacketError("authentication")


def _named(
    form: PacketFormat, data: bytes, head: _Head, coders: Coders, check: int | None
) -> tuple[bytes, int | None]:
    """Return the payload of an open packet, and the check of its stream's prior."""
    payload = data[head.size :]
    if not head.identified:
        return payload, check
    if payload[:FINGERPRINT_BYTES] != form.fingerprint:
        raise PacketError("fingerprint")
    payload = payload[FINGERPRINT_BYTES:]
    if head.kind != CODED:
        return payload, check
    named, payload = payload[:CHECK_BYTES], payload[CHECK_BYTES:]
    if (check := int.from_bytes(named, "big")) not in coders or len(named) < CHECK_BYTES:
        raise PacketError("prior")
    return payload, check


def _packet(
    form: PacketFormat, payload: bytes, head: _Head, coders: Coders, check: int | None
) -> Packet:
    """Check the fields against each other and unpack the tokens."""
    before = head.before or 0
    chunks = head.check_range(before)
    if before > MAX_CHUNKS:
        raise PacketError("range")
    count = (before + chunks) * form.chunk_tokens
    coder = None
    if head.kind == CODED:
        if check is None:
            raise PacketError("unidentified")
        coder = coders[check]
    tokens = body_tokens(payload, count, form.bits, coder)
    return Packet(head.number, head.sequence, tokens, head.identified, head.before)


def _silence(form: PacketFormat, payload: bytes, head: _Head) -> Silence:
    """Check and unpack a pause."""
    n = _token_bytes(form)
    if len(payload) != n + 2:
        raise PacketError("size")
    token, before = int.from_bytes(payload[:n], "big"), int.from_bytes(payload[n:], "big")
    if head.check_range(before) != 1 or token >> form.bits:
        raise PacketError("range")
    return Silence(head.number, head.sequence, token, before, head.identified)


def _token_bytes(form: PacketFormat) -> int:
    """Return the bytes of a pause's token."""
    return packed_size(1, form.bits)


def _check_bytes(check: int | None) -> bytes:
    """Return a prior's check as it stands in a packet; nothing where the packet is not coded."""
    return b"" if check is None else check.to_bytes(CHECK_BYTES, "big")
