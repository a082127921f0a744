"""The Snake activation (arXiv 2006.08195)."""

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.ops import vecmath
from fcs_edge.kernels.runtime._jit import kernel


@kernel
def snake(x: F32, alpha: F32, inverse: F32, out: F32) -> None:
    """``out = x + sin(alpha * x) ** 2 * inverse``, inverse = 1 / (alpha + 1e-9).

    x and out are (rows, columns), not the same array; alpha and inverse (columns,).
    """
    rows, columns = x.shape
    for m in range(rows):
        for n in range(columns):
            v = x[m, n]
            out[m, n] = vecmath.multiply_add(vecmath.sin_squared(alpha[n] * v), inverse[n], v)
