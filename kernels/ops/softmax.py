"""Softmax of one row, in vector lanes."""

import numpy as np

from fcs_edge.kernels._types import F32, Scalar
from fcs_edge.kernels.ops import sums, vecmath
from fcs_edge.kernels.ops.vecmath import PAIR
from fcs_edge.kernels.runtime._jit import inline, kernel


@inline
def largest(x: F32) -> Scalar:
    """``max_i x[i]``.

    The maximum of integers is found in vector lanes, that of floats is not, because of NaN. The
    integers are in the floats' order: their bits, all but the sign inverted in negative ones.
    """
    bits = x.view(np.int32)
    top = np.int32(-(1 << 31))
    for i in range(x.size):
        top = max(top, bits[i] ^ ((bits[i] >> np.int32(31)) & np.int32(0x7FFFFFFF)))
    return np.int32(top ^ ((top >> np.int32(31)) & np.int32(0x7FFFFFFF))).view(np.float32)


@inline
def raise_row(x: F32, top: Scalar, scale: Scalar) -> None:
    """``x[i] = exp(scale * (x[i] - top))``."""
    # As in `vecmath.gelu_row`.
    half = x.size // PAIR * (PAIR // 2)
    first, second, rest = x[:half], x[half : 2 * half], x[2 * half :]
    for i in range(half):
        first[i] = vecmath.exp((first[i] - top) * scale)
        second[i] = vecmath.exp((second[i] - top) * scale)
    for i in range(rest.size):
        rest[i] = vecmath.exp((rest[i] - top) * scale)


@kernel
def exponentials(x: F32, scale: Scalar) -> Scalar:
    """``x[i] = exp(scale * (x[i] - max(x)))``; return 1 over their sum."""
    raise_row(x, largest(x), scale)
    return np.float32(1) / sums.total(x)


@kernel
def running_exponentials(x: F32, scale: Scalar, running: F32) -> Scalar:
    """``x[i] = exp(scale * (x[i] - top))``; top is the largest number of x and of all rows before.

    running is (2,): the largest number so far, and the sum of the exponentials below it. Both
    advance. Return by what the exponentials of the rows before shrink.
    """
    before, top = running[0], max(running[0], largest(x))
    raise_row(x, top, scale)
    shrink = vecmath.exp((before - top) * scale)
    running[0] = top
    running[1] = vecmath.multiply_add(running[1], shrink, sums.total(x))
    return shrink
