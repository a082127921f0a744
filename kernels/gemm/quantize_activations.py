"""Activations as integers of 12 bits or 8: the factors of integer weights.

Callers pass slices: an index from 0 on cannot be negative, and its loop runs in vector lanes.
"""

import numpy as np

from fcs_edge.kernels._types import F32, Scalar
from fcs_edge.kernels.gemm.packing import BLOCK, GROUP
from fcs_edge.kernels.runtime._jit import inline, kernel

LIMIT = 2039
"""Largest activation as an integer: 12 bits, and ``16 h + l`` with h and l of 8 bits and 4."""

SPAN = 253
"""Steps from the least to the largest activation of such a group; rounded, up to 254 of them."""

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
    """``LIMIT / top``, 0 where top is not above `_LEAST`."""
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
def quantize_split(x: F32, inverse: Scalar, high: Scalar, low: Scalar) -> Scalar:
    """Write the same as ``16 high + low``, -8 <= low < 8, both int8; return ``sum_k q[k]``."""
    total = np.int32(0)
    for k in range(x.size):
        value = np.int32(np.rint(x[k] * inverse))
        above = (value + np.int32(8)) >> np.int32(4)
        high[k] = np.int8(above)
        low[k] = np.int8(value - (above << np.int32(4)))
        total += value
    return total


@inline
def quantize_groups(x: F32, group: int, q: Scalar, scale: Scalar, offset: Scalar) -> None:
    """``q[k] = round(x[k] / scale[g])``, as int8, for k in group g of x.

    ``scale[g] = max |x[k]| / 127`` and ``offset[g] = -8 sum_k q[k]``.
    """
    bits = x.view(np.int32)
    for g in range((x.size + group - 1) // group):
        start = g * group
        stop = min(start + group, x.size)
        top = largest(bits[start:stop])
        inverse = np.float32(127) / top if top > _LEAST else np.float32(0)
        scale[g] = top / np.float32(127)
        some, some_q = x[start:stop], q[start:stop]
        total = np.int32(0)
        for k in range(some.size):
            value = np.int32(np.rint(some[k] * inverse))
            some_q[k] = np.int8(value)
            total += value
        offset[g] = np.int32(-8) * total


@inline
def span(bits: Scalar) -> Scalar:
    """``max(max x, 0), max(-min x, 0)`` of float32 numbers given as their int32 bits."""
    top = bottom = np.int32(0)
    for k in range(bits.size):
        top = max(top, bits[k])
        # With its sign flipped, a negative number is positive, and a positive one below 0.
        bottom = max(bottom, bits[k] ^ np.int32(-0x80000000))
    return np.int32(top).view(np.float32), np.int32(bottom).view(np.float32)


@inline
def quantize_span(x: F32, q: Scalar, base: int) -> Scalar:
    """``q[k] = round(x[k] / scale) - b``; return the scale and b.

    ``scale = (max(x, 0) - min(x, 0)) / 253``: the rounded numbers span at most 254, and 0 is one
    of them. b is the least of them plus base; with a base below 0, b is 0.
    """
    top, bottom = span(x.view(np.int32))
    width = top + bottom
    inverse = np.float32(SPAN) / width if width > _LEAST else np.float32(0)
    least = np.int32(np.rint(-bottom * inverse)) + np.int32(base) if base >= 0 else np.int32(0)
    for k in range(x.size):
        q[k] = np.int32(np.rint(x[k] * inverse)) - least
    return width / np.float32(SPAN), least


@kernel
def quantize_rows_grouped(
    x: F32,
    step: int,
    depth: int,
    size: int,
    base: int,
    q: Scalar,
    scale: Scalar,
    offset: Scalar,
    groups: int,
    count: int,
) -> None:
    """`quantize_span` of each group of `GROUP` numbers of each row of x; depth <= k < size are 0.

    q has `BLOCK` numbers a row; scale and offset, the b of a group, have groups numbers a row.
    """
    for m in range(count):
        row = x[m * step : m * step + depth]
        q_row = q[m * BLOCK : m * BLOCK + size]
        q_row[depth:] = 0
        for g in range((depth + GROUP - 1) // GROUP):
            start, stop = g * GROUP, min((g + 1) * GROUP, depth)
            r, b = quantize_span(row[start:stop], q_row[start:stop], base)
            scale[m * groups + g] = r
            offset[m * groups + g] = b


@kernel
def row_scales(x: F32, step: int, depth: int, scales: Scalar, inverse: Scalar, count: int) -> None:
    """``scales[m] = max_{k < depth} |x[m * step + k]| / LIMIT``, m < count.

    inverse is 1 / scales, or 0 where the row counts as zeros.
    """
    bits = x.view(np.int32)
    for m in range(count):
        top = largest(bits[m * step : m * step + depth])
        scales[m] = scale(top)
        inverse[m] = inverse_scale(top)


@kernel
def quantize_rows_int8(
    x: F32,
    step: int,
    depth: int,
    size: int,
    split: bool,
    q: Scalar,
    pitch: int,
    inverse: Scalar,
    offset: Scalar,
    count: int,
) -> None:
    """``q[m * pitch + k] = round(x[m * step + k] * inverse[m])``, 0 for depth <= k < size.

    Where split, l stands `BLOCK` numbers after h, and ``offset[m] = -128 sum_k q[m, k]``.
    """
    for m in range(count):
        row = x[m * step : m * step + depth]
        q_row = q[m * pitch : m * pitch + size]
        q_row[depth:] = 0
        if split:
            low = q[m * pitch + BLOCK : m * pitch + BLOCK + size]
            low[depth:] = 0
            total = quantize_split(row, inverse[m], q_row, low)
            offset[m] = np.int32(-128) * total
        else:
            quantize(row, inverse[m], q_row)


@inline
def _copy(x: Scalar, out: Scalar) -> None:
    """``out[k] = x[k]``."""
    for k in range(x.size):
        out[k] = x[k]


@kernel
def quantize_rows_int4(
    x: F32,
    step: int,
    depth: int,
    size: int,
    group: int,
    q: Scalar,
    scale: Scalar,
    offset: Scalar,
    groups: int,
    count: int,
) -> None:
    """`quantize_groups` of each row of x to `BLOCK` numbers of q, 0 for depth <= k < size.

    Each row's numbers of scale and offset start groups after those of the row before. Where rows
    overlap by whole groups, the groups that a row shares with the one before are copied.
    """
    shared = (depth - step) // group if step < depth and step % group == 0 else 0
    for m in range(count):
        q_row, of = q[m * BLOCK : m * BLOCK + size], slice(m * groups, (m + 1) * groups)
        q_row[depth:] = 0
        row, row_scale, row_offset = x[m * step : m * step + depth], scale[of], offset[of]
        done = 0
        if m > 0 and shared > 0:
            done = shared * group
            before, first = (m - 1) * BLOCK + step, (m - 1) * groups + step // group
            _copy(q[before : before + done], q_row)
            _copy(scale[first : first + shared], row_scale)
            _copy(offset[first : first + shared], row_offset)
        rest = done // group
        quantize_groups(row[done:], group, q_row[done:], row_scale[rest:], row_offset[rest:])
