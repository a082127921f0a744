"""The exact Gaussian error linear unit."""

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.ops import vecmath
from fcs_edge.kernels.runtime._jit import kernel


@kernel
def gelu(x: F32, out: F32) -> None:
    """``out = x * (1 + erf(x / sqrt 2)) / 2``; x and out (rows, columns), not the same array."""
    rows, columns = x.shape
    for m in range(rows):
        for n in range(columns):
            out[m, n] = vecmath.gelu(x[m, n])
