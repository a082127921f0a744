"""Softmax of one row, in vector lanes."""

import numpy as np

from fcs_edge.kernels._types import F32, Scalar
from fcs_edge.kernels.ops import sums, vecmath
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


@kernel
def exponentials(x: F32, scale: Scalar) -> Scalar:
    """``x[i] = exp(scale * (x[i] - max(x)))``; return 1 over their sum."""
    top = largest(x)
    for i in range(x.size):
        x[i] = vecmath.exp((x[i] - top) * scale)
    return np.float32(1) / sums.total(x)
