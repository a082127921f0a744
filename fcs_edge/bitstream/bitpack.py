"""Tokens of 1..16 bits to bytes and back: most significant bit first, first token first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BITS = 16
"""Bits of the widest token."""

# Tokens that are expanded to bits at once: a multiple of 8, so that each piece ends on a byte.
_PIECE = 4096


def packed_size(count: int, bits: int) -> int:
    """Return how many bytes ``count`` tokens of ``bits`` bits take.

    Parameters
    ----------
    count : int
        Number of tokens, 0 or more.
    bits : int
        Bits per token, 1..16.

    Returns
    -------
    int
        Bytes; a partly used last byte counts as one.
    """
    return (count * bits + 7) // 8


def check_tokens(tokens: NDArray[np.integer[Any]], bits: int) -> NDArray[np.uint16]:
    """Check that tokens fit ``bits`` bits, and return them as uint16.

    Parameters
    ----------
    tokens : (n,) ndarray of an integer dtype
        Tokens; an empty array of any dtype is fine.
    bits : int
        Bits per token, 1..16.

    Returns
    -------
    (n,) ndarray of uint16
        The same tokens; uint16 input is not copied.

    Raises
    ------
    ValueError
        If ``bits`` is out of range. If ``tokens`` is not one-dimensional, not of an integer dtype,
        masked, or has a value outside 0..2**bits - 1.
    """
    _check_bits(bits)
    if np.ma.isMaskedArray(tokens):
        raise ValueError("tokens must not be a masked array: cut out what is masked")
    array = np.asarray(tokens)
    if array.ndim != 1:
        raise ValueError(f"tokens must be one-dimensional, not of shape {array.shape}")
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(f"tokens must be integers, not {array.dtype}")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < 1 << bits:
        bad = int(array.max()) if array.min() >= 0 else int(array.min())
        raise ValueError(f"token {bad} does not fit {bits} bits")
    return array.astype(np.uint16, copy=False)


def pack_tokens(tokens: NDArray[np.integer[Any]], bits: int) -> bytes:
    """Pack tokens into bytes, most significant bit first, first token first.

    Parameters
    ----------
    tokens : (n,) ndarray of an integer dtype
        Tokens, each in 0..2**bits - 1.
    bits : int
        Bits per token, 1..16.

    Returns
    -------
    bytes
        ``ceil(n * bits / 8)`` bytes; the unused low bits of the last one are zero.

    Raises
    ------
    ValueError
        As for `check_tokens`.
    """
    array = check_tokens(tokens, bits)
    pieces = (array[i : i + _PIECE] for i in range(0, array.size, _PIECE))
    return b"".join(np.packbits(token_bits(piece, bits)).tobytes() for piece in pieces)


def unpack_tokens(data: bytes, bits: int, count: int, *, skip_bits: int = 0) -> NDArray[np.uint16]:
    """Unpack tokens that `pack_tokens` packed.

    Parameters
    ----------
    data : bytes-like
        Packed tokens; bytes after the last token are ignored.
    bits : int
        Bits per token, 1..16.
    count : int
        Number of tokens to unpack.
    skip_bits : int, optional
        Bits in front of the first token.

    Returns
    -------
    (count,) ndarray of uint16
        The tokens.

    Raises
    ------
    ValueError
        If ``bits`` is out of range, ``count`` or ``skip_bits`` is negative, or ``data`` is too
        short.
    """
    _check_bits(bits)
    if count < 0 or skip_bits < 0:
        raise ValueError(f"count and skip_bits must not be negative, not {count} and {skip_bits}")
    array = np.frombuffer(data, np.uint8)
    if array.size * 8 < skip_bits + count * bits:
        raise ValueError(f"{array.size} bytes are too few for {count} tokens of {bits} bits")
    tokens = np.empty(count, np.uint16)
    for i in range(0, count, _PIECE):
        piece = tokens[i : i + _PIECE]
        first, start = divmod(skip_bits + i * bits, 8)
        size = start + piece.size * bits
        ones = np.unpackbits(array[first : first + (size + 7) // 8], count=size)[start:]
        wide = np.zeros((piece.size, MAX_BITS), np.uint8)
        wide[:, MAX_BITS - bits :] = ones.reshape(piece.size, bits)
        piece[:] = np.packbits(wide, axis=1).view(">u2")[:, 0]
    return tokens


def token_bits(tokens: NDArray[np.uint16], bits: int) -> NDArray[np.uint8]:
    """Return the bits of tokens one by one, in the order in which they are packed.

    Parameters
    ----------
    tokens : (n,) ndarray of uint16
        Tokens, each in 0..2**bits - 1; not checked. Memory grows by 16 bytes a token.
    bits : int
        Bits per token, 1..16.

    Returns
    -------
    (n * bits,) ndarray of uint8
        Zeros and ones.
    """
    octets = tokens.astype(">u2").view(np.uint8).reshape(-1, 2)
    wide = np.unpackbits(octets, axis=1)
    return np.ascontiguousarray(wide[:, MAX_BITS - bits :]).reshape(-1)


def _check_bits(bits: int) -> None:
    if not 1 <= bits <= MAX_BITS:
        raise ValueError(f"bits per token must be 1..{MAX_BITS}, not {bits}")
