"""Dynamic tanh, the norm of the causal focal blocks."""

import numpy as np

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.ops import vecmath
from fcs_edge.kernels.runtime._jit import kernel


@kernel
def dynamic_tanh(x: F32, alpha: np.float32, out: F32) -> None:
    """``out = tanh(alpha * x)``; x and out (rows, columns), not the same array."""
    rows, columns = x.shape
    for m in range(rows):
        for n in range(columns):
            out[m, n] = vecmath.tanh(alpha * x[m, n])
