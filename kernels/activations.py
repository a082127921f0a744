"""Rows of activations as 12-bit integers, what integer weights are multiplied with.

Callers pass slices: an index from 0 on cannot be negative, and its loop runs in vector lanes.
"""

import numpy as np

from fcs_edge.kernels._jit import inline
from fcs_edge.kernels._types import F32, Scalar

LIMIT = 2039
"""Largest activation as an integer: 12 bits, and ``16 h + l`` with h and l of 8 bits and 4."""

_LIMIT = np.float32(LIMIT)
_LEAST = np.float32(1e-30)
"""A row no larger than this counts as zeros: its scale's inverse must be finite."""


@inline
def largest(bits: Scalar) -> Scalar:
    """``max |x|`` of float32 numbers given as their int32 bits: rising bits are rising numbers."""
    top = np.int32(0)
    for k in range(bits.size):
        top = max(top, bits[k] & np.int32(0x7FFFFFFF))
    return np.int32(top).view(np.float32)


@inline
def inverse_scale(top: Scalar) -> Scalar:
    """``LIMIT / top``, 0 where top is next to nothing."""
    return _LIMIT / top if top > _LEAST else np.float32(0)


@inline
def scale(top: Scalar) -> Scalar:
    """``top / LIMIT``."""
    return top / _LIMIT


@inline
def quantize(x: F32, inverse: Scalar, q: Scalar) -> None:
    """``q[k] = round(x[k] * inverse)``, as int16."""
    for k in range(x.size):
        q[k] = np.int16(np.rint(x[k] * inverse))


@inline
def quantize_split(x: F32, inverse: Scalar, q: Scalar) -> None:
    """Write the same as h and l, ``16 h + l``, -8 <= l < 8, int8: four h, four l, and so on."""
    for k in range(x.size):
        value = np.int32(np.rint(x[k] * inverse))
        high = (value + np.int32(8)) >> np.int32(4)
        to = (k >> 2) * 8 + (k & 3)
        q[to] = np.int8(high)
        q[to + 4] = np.int8(value - (high << np.int32(4)))
