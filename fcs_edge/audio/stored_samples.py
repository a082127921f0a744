"""Samples as files store them, to float32."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from fcs_edge.model.layers import F32

WIDTHS = {"u1": 1, "i1": 1, "i2": 2, "i3": 3, "i4": 4, "f4": 4, "f8": 8, "ulaw": 1, "alaw": 1}
"""Bytes of a sample of each kind: unsigned, signed, floating point, G.711."""


def frames(data: Iterable[bytes], kind: str, order: str, channels: int) -> Iterator[F32]:
    """Yield the whole frames in pieces of bytes; a frame that is cut at the end is omitted.

    Parameters
    ----------
    data : iterable of bytes
        Pieces of any length.
    kind : str
        One of `WIDTHS`.
    order : str
        ``<`` or ``>``: the order of a sample's bytes.
    channels : int
        Interleaved channels.

    Yields
    ------
    numpy.ndarray
        (n, channels) float32. Integers are scaled to [-1, 1).
    """
    width = WIDTHS[kind] * channels
    rest = b""
    for piece in data:
        joined = rest + piece if rest else piece
        n = len(joined) // width
        rest = joined[n * width :]
        if n:
            yield samples(joined[: n * width], kind, order).reshape(n, channels)


def samples(data: bytes, kind: str, order: str) -> F32:
    """Return stored samples as (n,) float32."""
    if kind in ("ulaw", "alaw"):
        decoded: F32 = _g711(kind)[np.frombuffer(data, np.uint8)]
        return decoded
    if kind == "i3":
        integers = np.zeros((len(data) // 3, 4), np.uint8)
        # The low byte of four is 0: the scale is that of 32 bits.
        columns = slice(1, 4) if order == "<" else slice(0, 3)
        integers[:, columns] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return samples(integers.tobytes(), "i4", order)
    values = np.frombuffer(data, np.dtype(order + kind))
    with np.errstate(over="ignore", invalid="ignore"):
        converted: F32 = values.astype(np.float32)
    if kind == "u1":
        converted -= np.float32(128)
        converted /= np.float32(128)
    if kind.startswith("i"):
        converted /= np.float32(2 ** (8 * WIDTHS[kind] - 1))
    return converted


@cache
def _g711(kind: str) -> F32:
    """Return the sample of each byte of ITU-T G.711, (256,) float32."""
    byte = np.arange(256) ^ (0xFF if kind == "ulaw" else 0x55)
    exponent, mantissa = (byte >> 4) & 7, byte & 15
    magnitude: NDArray[np.int64]
    if kind == "ulaw":
        magnitude = ((2 * mantissa + 33) << (exponent + 2)) - 132
    else:
        linear = 2 * mantissa + 1
        magnitude = np.where(exponent == 0, linear, (linear + 32) << np.maximum(exponent - 1, 0))
        magnitude = magnitude << 3
    sign = np.where(byte & 0x80, -1, 1) if kind == "ulaw" else np.where(byte & 0x80, 1, -1)
    return (sign * magnitude / 32768).astype(np.float32)
