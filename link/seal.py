"""Seals of packets: a key for each direction and stream; see docs/reference/link-protocol.md."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Literal

KEY_BYTES = 32
TAG_BYTES = 16
STREAM_BYTES = 10
CHECK_BYTES = 4
"""Of the check of a prior."""

_PERSON = b"fcs-edge-link-v2"
_NONCE_BYTES = 12

Side = Literal["a", "b"]
_Cipher = Callable[[bytes, bytes, bytes, bytes], bytes]


@dataclass(frozen=True)
class DirectionKey:
    """What seals the packets from one side to the other.

    Attributes
    ----------
    secret : bytes
        The 32 bytes that both sides share.
    direction : int
        0 for packets from side a to side b, 1 for those from b to a.
    """

    secret: bytes = field(repr=False)
    direction: int

    @property
    def reverse(self) -> DirectionKey:
        """The key of the other direction."""
        return DirectionKey(self.secret, 1 - self.direction)

    def of_stream(self, stream: bytes, fingerprint: bytes, check: int | None = None) -> bytes:
        """Return the 32-byte key of a stream (keyed BLAKE2b, RFC 7693).

        Parameters
        ----------
        stream : bytes
            The stream as in the header, 10 bytes.
        fingerprint : bytes
            The model's fingerprint, 8 bytes.
        check : int, optional
            The check of the prior, for coded packets; other packets have none.
        """
        name = fingerprint + (b"" if check is None else check.to_bytes(CHECK_BYTES, "big"))
        return _stream_key(self.secret, bytes([self.direction]) + stream + name)


@lru_cache(maxsize=16)
def _stream_key(secret: bytes, message: bytes) -> bytes:
    digest = hashlib.blake2b(message, digest_size=KEY_BYTES, key=secret, person=_PERSON)
    return digest.digest()


@dataclass(frozen=True)
class LinkKey:
    """One half of a key: the secret that both halves share, and the side of this end.

    Attributes
    ----------
    secret : bytes
        32 bytes.
    side : str
        ``a`` or ``b``; the other end has the other one.
    """

    secret: bytes = field(repr=False)
    side: Side

    @property
    def outgoing(self) -> DirectionKey:
        """The key of the packets that this end sends."""
        return DirectionKey(self.secret, 0 if self.side == "a" else 1)

    @property
    def incoming(self) -> DirectionKey:
        """The key of the packets that this end receives."""
        return self.outgoing.reverse


def seal(payload: bytes, header: bytes, sequence: int, key: bytes) -> bytes:
    """Return a payload sealed with a stream's key (ChaCha20-Poly1305, RFC 8439), tag included.

    Never seal two different payloads with one key and sequence.

    Parameters
    ----------
    payload : bytes
        What is encrypted.
    header : bytes
        What is authenticated and not encrypted.
    sequence : int
        The nonce: 12 bytes, big-endian.
    key : bytes
        The stream's key.
    """
    encrypt, _, _ = _sodium()
    return encrypt(payload, header, sequence.to_bytes(_NONCE_BYTES, "big"), key)


def unsealed(sealed: bytes, header: bytes, sequence: int, key: bytes) -> bytes | None:
    """Return the payload of `seal`, or None where the tag does not hold."""
    _, decrypt, failure = _sodium()
    try:
        return decrypt(sealed, header, sequence.to_bytes(_NONCE_BYTES, "big"), key)
    except failure:
        return None


@cache
def _sodium() -> tuple[_Cipher, _Cipher, type[Exception]]:
    """Return what encrypts and decrypts, and the error of a wrong tag; an open link needs none."""
    from nacl.bindings import crypto_aead_chacha20poly1305_ietf_decrypt as decrypt
    from nacl.bindings import crypto_aead_chacha20poly1305_ietf_encrypt as encrypt
    from nacl.exceptions import CryptoError

    return encrypt, decrypt, CryptoError
