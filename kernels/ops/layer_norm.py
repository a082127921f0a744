"""Layer normalisation over columns."""

import numpy as np

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.ops import sums, vecmath
from fcs_edge.kernels.ops.vecmath import multiply_add
from fcs_edge.kernels.runtime._jit import kernel


@kernel
def layer_norm(x: F32, weight: F32, bias: F32, eps: np.float32, out: F32) -> None:
    """``out = (x - mean) / sqrt(variance + eps) * weight + bias``, row by row.

    x and out are (rows, columns), not the same array; weight and bias (columns,). A
    second pass computes the variance of the centred row.
    """
    rows, columns = x.shape
    scale = np.float32(1) / np.float32(columns)
    for m in range(rows):
        mean = sums.total(x[m]) * scale
        inverse = np.float32(1) / np.sqrt(sums.squares(x[m], mean) * scale + eps)
        for n in range(columns):
            out[m, n] = multiply_add((x[m, n] - mean) * inverse, weight[n], bias[n])


@kernel
def layer_norm_gelu(x: F32, weight: F32, bias: F32, eps: np.float32, out: F32) -> None:
    """`layer_norm`, then ``out = gelu(out)`` while a row is in the nearest cache."""
    for m in range(x.shape[0]):
        layer_norm(x[m : m + 1], weight, bias, eps, out[m : m + 1])
        row = out[m]
        for n in range(row.size):
            row[n] = vecmath.gelu(row[n])
