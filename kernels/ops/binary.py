"""Binary spherical quantisation (arXiv 2406.07548): latents, tokens, codes."""

import numpy as np

from fcs_edge.kernels._types import F32, U16
from fcs_edge.kernels.ops.vecmath import multiply_add
from fcs_edge.kernels.runtime._jit import kernel


@kernel
def normalize(x: F32, out: F32) -> None:
    """``out = x / max(|x|, 1e-12)``, row by row; x and out (rows, bits)."""
    rows, bits = x.shape
    for m in range(rows):
        squares = np.float32(0)
        for n in range(bits):
            squares = multiply_add(x[m, n], x[m, n], squares)
        norm = max(np.sqrt(squares), np.float32(1e-12))
        for n in range(bits):
            out[m, n] = x[m, n] / norm


@kernel
def quantize(latents: F32, tokens: U16) -> None:
    """``tokens[m] = sum_j (latents[m, j] > 0) * 2 ** (bits - 1 - j)``."""
    rows, bits = latents.shape
    for m in range(rows):
        token = 0
        for j in range(bits):
            token = 2 * token + (latents[m, j] > 0)
        tokens[m] = token


@kernel
def codes(tokens: U16, out: F32) -> None:
    """``out[m, j] = +-1 / sqrt(bits)``, plus where bit bits - 1 - j of tokens[m] is set."""
    rows, bits = out.shape
    value = np.float32(1 / np.sqrt(bits))
    for m in range(rows):
        token = np.int64(tokens[m])
        for j in range(bits):
            out[m, j] = value if (token >> (bits - 1 - j)) & 1 else -value
