"""Packets of tokens, version 2, open or sealed with a key; see docs/reference/link-protocol.md."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fcs_edge.bitstream.bitpack import MAX_BITS, pack_tokens, packed_size, unpack_tokens
from fcs_edge.errors import FcsError
from fcs_edge.link.seal import STREAM_BYTES, TAG_BYTES, DirectionKey, seal, unsealed

if TYPE_CHECKING:
    from fcs_edge.codec import Codec

VERSION = 2
MARK = 0xF0
"""The first byte of a packet is this and the version."""
MAX_CHUNKS = 12
"""Chunks of the longest packet."""
MAX_SEQUENCES = 1 << 32
"""Chunks of the longest stream: ten years of 80 ms."""
MAX_STREAM = (1 << 80) - 1
MAX_PACKET = 1200
"""Bytes of the largest packet: it passes typical networks without fragmentation."""
FINGERPRINT_BYTES = 8

SEALED = 0x80
"""Flag of the second byte: the payload is sealed."""
IDENTIFIED = 0x40
"""Flag: the model's fingerprint follows the header; in open packets only."""
CONTENT = 0x30
"""Bits of the content: 0 for tokens as they are; other values are reserved."""
_CHUNKS = 0x0F

_HEADER = struct.Struct(">BBI10s")
HEADER_BYTES = _HEADER.size
SEQUENCE_OFFSET, STREAM_OFFSET = 2, 6
"""Where the header's last two fields begin."""

Reason = Literal[
    "size",
    "format",
    "version",
    "open",
    "sealed",
    "direction",
    "authentication",
    "content",
    "fingerprint",
    "range",
    "unidentified",
    "age",
    "replay",
]
REASONS: tuple[Reason, ...] = get_args(Reason)
"""Why a receiver rejects a packet, in the order of the checks."""
STRANGE: tuple[Reason, ...] = ("size", "format", "range", "unidentified")
"""Reasons that accidents and strangers cause, so that nobody needs to act."""

TEXTS: dict[Reason, str] = {
    "size": "a packet has the wrong size: another program may send to this port",
    "format": "a packet is not from fcs-edge: another program may send to this port",
    "version": f"a packet is not of version {VERSION}: use the same fcs-edge at both ends",
    "open": "a packet is not sealed: start the sender with the key, or this end without one",
    "sealed": "a packet is sealed: start this end with --key and its half of the sender's key",
    "direction": "a packet comes from this end's half of the key: give the other end the other "
    "half, or someone returns this end's own packets",
    "authentication": "a packet has another key or another model, or was modified in transit",
    "content": "a packet holds what this version cannot read: install a newer fcs-edge here",
    "fingerprint": "a packet belongs to another model: start both ends with the same model",
    "range": "a packet is damaged: a field is out of range",
    "unidentified": "a packet belongs to a stream whose model is not known yet",
    "age": "a packet's time is further from this machine's clock than --max-age: it is old, or "
    "the clock of one end is wrong",
    "replay": "a packet was received before, or is of an earlier stream: somebody repeats it, or "
    "the sender's clock is behind",
}


class PacketError(FcsError):
    """A rejected packet.

    Attributes
    ----------
    reason : str
        One of `REASONS`.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(TEXTS[reason])
        self.reason: Reason = reason


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

    def packet_size(self, chunks: int, *, sealed: bool, identified: bool = False) -> int:
        """Return the size of a packet of ``chunks`` chunks in bytes, without UDP and IP headers."""
        payload = packed_size(chunks * self.chunk_tokens, self.bits)
        fingerprint = FINGERPRINT_BYTES if identified else 0
        return HEADER_BYTES + fingerprint + payload + (TAG_BYTES if sealed else 0)


@dataclass(frozen=True, eq=False)
class Packet:
    """Consecutive chunks of a stream.

    Attributes
    ----------
    stream : int
        Number of the stream, 0..2**80 - 1: its time and its random part.
    sequence : int
        Index of the packet's first chunk in the stream, 0..2**32 - 1.
    tokens : (chunks * chunk_tokens,) ndarray of uint16
        Tokens of 1..12 chunks.
    identified : bool
        Whether the packet carries the model's fingerprint; open packets only. A receiver plays
        a stream from its first such packet on.
    """

    stream: int
    sequence: int
    tokens: NDArray[np.uint16]
    identified: bool = False


def stream_bytes(stream: int) -> bytes:
    """Return the number of a stream as it stands in the header, 10 bytes."""
    return stream.to_bytes(STREAM_BYTES, "big")


def write_packet(form: PacketFormat, packet: Packet, key: DirectionKey | None = None) -> bytes:
    """Return a packet as the bytes to send.

    Never seal two different packets of one stream and sequence with one key. Their nonce would
    be the same, which reveals both and lets others forge packets.

    Parameters
    ----------
    form : PacketFormat
        The format.
    packet : Packet
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
        The tokens are not 1..12 chunks, a token does not fit, a number is out of range, or a
        sealed packet is to carry the fingerprint.
    FcsError
        The stream is at its end, after 2**32 chunks.
    """
    chunks, rest = divmod(len(packet.tokens), form.chunk_tokens)
    if rest or not 1 <= chunks <= MAX_CHUNKS:
        raise ValueError(
            f"a packet takes 1..{MAX_CHUNKS} chunks of {form.chunk_tokens} tokens, "
            f"not {len(packet.tokens)} tokens"
        )
    if not 0 <= packet.stream <= MAX_STREAM or packet.sequence < 0:
        raise ValueError(f"stream {packet.stream}, sequence {packet.sequence} is out of range")
    if packet.sequence + chunks > MAX_SEQUENCES:
        raise FcsError(f"the stream has {MAX_SEQUENCES} chunks and ends here: start a new one")
    if key is not None and packet.identified:
        raise ValueError("a sealed packet carries no fingerprint")
    payload = pack_tokens(packet.tokens, form.bits)
    flags = chunks | (IDENTIFIED if packet.identified else 0) | (SEALED if key else 0)
    stream = stream_bytes(packet.stream)
    header = _HEADER.pack(MARK | VERSION, flags, packet.sequence, stream)
    if key is None:
        return header + (form.fingerprint if packet.identified else b"") + payload
    stream_key = key.of_stream(stream, form.fingerprint)
    return header + seal(payload, header, packet.sequence, stream_key)


def read_packet(form: PacketFormat, data: bytes, key: DirectionKey | None = None) -> Packet:
    """Return the packet in a received datagram.

    With a key, only size, version and the flag of sealed packets are read before the tag is
    verified. Each later reason then comes from the sender, not from a stranger.

    Parameters
    ----------
    form : PacketFormat
        The format.
    data : bytes
        One datagram; receive up to ``MAX_PACKET + 1`` bytes, to detect one that is too long.
    key : DirectionKey, optional
        The key of the packets that this end receives. With a key, open packets are rejected;
        without one, sealed packets.

    Returns
    -------
    Packet
        The packet.

    Raises
    ------
    PacketError
        The packet must be discarded; ``reason`` says why.
    """
    if not HEADER_BYTES < len(data) <= MAX_PACKET:
        raise PacketError("size")
    first, flags, sequence, stream = _HEADER.unpack_from(data)
    if first != MARK | VERSION:
        raise PacketError("version" if first & MARK == MARK else "format")
    if bool(flags & SEALED) != (key is not None):
        raise PacketError("sealed" if key is None else "open")
    payload = data[HEADER_BYTES:]
    if key is not None:
        payload = _opened(form, data, sequence, stream, key)
    if flags & CONTENT:
        raise PacketError("content")
    if key is None and flags & IDENTIFIED:
        if payload[:FINGERPRINT_BYTES] != form.fingerprint:
            raise PacketError("fingerprint")
        payload = payload[FINGERPRINT_BYTES:]
    return _packet(form, payload, flags, sequence, stream)


def _opened(
    form: PacketFormat, data: bytes, sequence: int, stream: bytes, key: DirectionKey
) -> bytes:
    """Return the payload of a sealed packet."""
    if len(data) <= HEADER_BYTES + TAG_BYTES:
        raise PacketError("size")
    stream_key = key.of_stream(stream, form.fingerprint)
    payload = unsealed(data[HEADER_BYTES:], data[:HEADER_BYTES], sequence, stream_key)
    if payload is None:
        raise PacketError("authentication")
    return payload


def _packet(form: PacketFormat, payload: bytes, flags: int, sequence: int, stream: bytes) -> Packet:
    """Check the fields against each other and unpack the tokens."""
    chunks, identified = flags & _CHUNKS, bool(flags & IDENTIFIED)
    if not 1 <= chunks <= MAX_CHUNKS or sequence + chunks > MAX_SEQUENCES:
        raise PacketError("range")
    if flags & SEALED and identified:
        raise PacketError("range")
    count = chunks * form.chunk_tokens
    if len(payload) != packed_size(count, form.bits):
        raise PacketError("size")
    if payload[-1] & ((1 << (-count * form.bits % 8)) - 1):
        raise PacketError("range")
    tokens = unpack_tokens(payload, form.bits, count)
    return Packet(int.from_bytes(stream, "big"), sequence, tokens, identified)
