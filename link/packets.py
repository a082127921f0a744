"""Packets of tokens, open or sealed with a key; see docs/reference/link-protocol.md."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fcs_edge.bitstream.bitpack import MAX_BITS, pack_tokens, packed_size, unpack_tokens
from fcs_edge.errors import FcsError

if TYPE_CHECKING:
    from fcs_edge.codec import Codec

MAGIC = 0xFC
VERSION = 1
SEALED = 0x80
"""Bit of the version byte that marks a sealed packet."""
MAX_CHUNKS = 12
"""Chunks of the longest packet."""
MAX_SEQUENCES = 1 << 32
"""Chunks of the longest stream: ten years of 80 ms."""
MAX_STREAM = (1 << 64) - 1
MAX_PACKET = 1200
"""Bytes of the largest packet: it passes typical networks without fragmentation."""
FINGERPRINT_BYTES = 4
"""Bytes of the model's fingerprint in a packet."""
KEY_BYTES = 32
TAG_BYTES = 16

_HEADER = struct.Struct("<BBB4sQI")
HEADER_BYTES = _HEADER.size

# XChaCha20 takes 24 bytes; those after stream and sequence are zero.
_NONCE = struct.Struct("<QI12x")

Reason = Literal["size", "version", "open", "sealed", "authentication", "fingerprint", "range"]
REASONS: tuple[Reason, ...] = get_args(Reason)
"""Why a packet may be rejected, in the order of the checks."""

_TEXTS: dict[Reason, str] = {
    "size": "the packet has the wrong size: another program may send to this port",
    "version": "the packet has another version: the sender is another program or a newer fcs-edge",
    "open": "the packet is not sealed: start the sender with the key, or this end without one",
    "sealed": "the packet is sealed: start this end with the sender's key",
    "authentication": "the packet has another key, or was modified in transit",
    "fingerprint": "the packet belongs to another model: start both ends with the same model",
    "range": "the packet is damaged: a field is out of range",
}


class PacketError(FcsError):
    """A rejected packet.

    Attributes
    ----------
    reason : str
        One of `REASONS`.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(_TEXTS[reason])
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

    def packet_size(self, chunks: int, *, sealed: bool) -> int:
        """Return the size of a packet of ``chunks`` chunks in bytes, without UDP and IP headers."""
        payload = packed_size(chunks * self.chunk_tokens, self.bits)
        return HEADER_BYTES + payload + (TAG_BYTES if sealed else 0)


@dataclass(frozen=True, eq=False)
class Packet:
    """Consecutive chunks of a stream.

    Attributes
    ----------
    stream : int
        Number of the stream, 0..2**64 - 1.
    sequence : int
        Index of the packet's first chunk in the stream, 0..2**32 - 1.
    tokens : (chunks * chunk_tokens,) ndarray of uint16
        Tokens of 1..12 chunks.
    """

    stream: int
    sequence: int
    tokens: NDArray[np.uint16]


def write_packet(form: PacketFormat, packet: Packet, key: bytes | None = None) -> bytes:
    """Return a packet as the bytes to send.

    Never seal two different packets of one stream and sequence with one key. Their nonce would
    be the same, which reveals both and lets others forge packets.

    Parameters
    ----------
    form : PacketFormat
        The format.
    packet : Packet
        The packet.
    key : bytes, optional
        32 bytes to seal it with (XChaCha20-Poly1305, draft-irtf-cfrg-xchacha-03); without a key
        the packet is open.

    Returns
    -------
    bytes
        Header, payload and, if sealed, tag.

    Raises
    ------
    ValueError
        The tokens are not 1..12 chunks, a token does not fit, or a number is out of range.
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
    payload = pack_tokens(packet.tokens, form.bits)
    header = _HEADER.pack(
        MAGIC,
        VERSION if key is None else VERSION | SEALED,
        chunks,
        form.fingerprint[:FINGERPRINT_BYTES],
        packet.stream,
        packet.sequence,
    )
    if key is None:
        return header + payload
    from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as encrypt

    return header + encrypt(payload, header, _NONCE.pack(packet.stream, packet.sequence), key)


def read_packet(form: PacketFormat, data: bytes, key: bytes | None = None) -> Packet:
    """Return the packet in a received datagram.

    With a key, only size, magic and version are read before the tag is verified. Each later
    reason then comes from the sender, not from a stranger.

    Parameters
    ----------
    form : PacketFormat
        The format.
    data : bytes
        One datagram; receive up to ``MAX_PACKET + 1`` bytes, to detect one that is too long.
    key : bytes, optional
        The sender's key of 32 bytes. With a key, open packets are rejected; without one, sealed
        packets.

    Returns
    -------
    Packet
        The packet.

    Raises
    ------
    PacketError
        The packet must be discarded; ``reason`` says why.
    """
    tag = 0 if key is None else TAG_BYTES
    if not HEADER_BYTES < len(data) <= MAX_PACKET:
        raise PacketError("size")
    magic, version, chunks, model, stream, sequence = _HEADER.unpack_from(data)
    if magic != MAGIC or version & ~SEALED != VERSION:
        raise PacketError("version")
    if bool(version & SEALED) != (key is not None):
        raise PacketError("sealed" if key is None else "open")
    if len(data) <= HEADER_BYTES + tag:
        raise PacketError("size")
    payload = data[HEADER_BYTES:]
    if key is not None:
        payload = _unsealed(payload, data[:HEADER_BYTES], _NONCE.pack(stream, sequence), key)
    if model != form.fingerprint[:FINGERPRINT_BYTES]:
        raise PacketError("fingerprint")
    if not 1 <= chunks <= MAX_CHUNKS or sequence + chunks > MAX_SEQUENCES:
        raise PacketError("range")
    if len(data) != form.packet_size(chunks, sealed=key is not None):
        raise PacketError("size")
    count = chunks * form.chunk_tokens
    if payload[-1] & ((1 << (-count * form.bits % 8)) - 1):
        raise PacketError("range")
    return Packet(stream, sequence, unpack_tokens(payload, form.bits, count))


def _unsealed(payload: bytes, header: bytes, nonce: bytes, key: bytes) -> bytes:
    from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as decrypt
    from nacl.exceptions import CryptoError

    try:
        return decrypt(payload, header, nonce, key)
    except CryptoError as error:
        raise PacketError("authentication") from error
