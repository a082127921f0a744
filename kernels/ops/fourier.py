"""The inverse real Fourier transform of rows of spectra."""

import numpy as np

from fcs_edge.kernels._types import F32, I64
from fcs_edge.kernels.ops.vecmath import multiply_add
from fcs_edge.kernels.runtime._jit import inline, kernel

LANES = 8
"""Rows that are transformed side by side, on every CPU."""


@inline
def _fold(x: F32, first: int, count: int, roots: F32, out: F32) -> None:
    """``out[k] = E[k] + i O[k]``: the spectra of even and of odd samples, in one complex row.

    ``E[k] = X[k] + conj X[N - k]`` and ``O[k] = exp(2 pi i k / 2N) (X[k] - conj X[N - k])``,
    X[k] = x[row, k] + i x[row, N + 1 + k], without the imaginary parts of X[0] and X[N].
    """
    half = out.shape[0]
    for k in range(half):
        c, s = roots[k, 0], roots[k, 1]
        for i in range(LANES):
            row = x[first + min(i, count - 1)]
            a, b = row[k], row[half - k]
            a_i, b_i = row[half + 1 + k], row[2 * half + 1 - k]
            if k == 0:
                a_i, b_i = np.float32(0), np.float32(0)
            # The difference, turned by the root and by a quarter.
            d, d_i = a - b, a_i + b_i
            turned, turned_i = multiply_add(d, c, -(d_i * s)), multiply_add(d, s, d_i * c)
            out[k, 0, i] = a + b - turned_i
            out[k, 1, i] = a_i - b_i + turned


@inline
def _combine(x: F32, factor: int, stride: int, roots: F32, out: F32) -> None:
    """One factor p of a transform (Stockham): transforms of p numbers, then their roots.

    ``out[q + stride (p j + t)] = w^(j t) sum_r exp(2 pi i r t / p) x[q + stride (j + m r)]`` for
    q < stride, j < m = size / (p stride), t < p, w = exp(2 pi i stride / size).
    """
    size = x.shape[0]
    m = size // (factor * stride)
    for j in range(m):
        for t in range(factor):
            # roots has twice as many.
            turn = 2 * (j * t * stride % size)
            c, s = roots[turn, 0], roots[turn, 1]
            for q in range(stride):
                y = out[q + stride * (factor * j + t)]
                first = x[q + stride * j]
                for i in range(LANES):
                    y[0, i], y[1, i] = first[0, i], first[1, i]
                for r in range(1, factor):
                    step = 2 * (r * t % factor * (size // factor))
                    a, b = roots[step, 0], roots[step, 1]
                    z = x[q + stride * (j + m * r)]
                    for i in range(LANES):
                        y[0, i] = multiply_add(-z[1, i], b, multiply_add(z[0, i], a, y[0, i]))
                        y[1, i] = multiply_add(z[1, i], a, multiply_add(z[0, i], b, y[1, i]))
                for i in range(LANES):
                    real, imaginary = y[0, i], y[1, i]
                    y[0, i] = multiply_add(real, c, -(imaginary * s))
                    y[1, i] = multiply_add(real, s, imaginary * c)


@kernel
def inverse_real(x: F32, factors: I64, roots: F32, work: F32, out: F32) -> None:
    """``out[m, n] = sum_{k < F} X[m, k] exp(2 pi i k n / F) / F``, F = 2N samples, all real.

    x is (rows, 2N + 2): the real parts of X[0..N], then the imaginary ones; those of X[0] and X[N]
    count as 0, and X[F - k] = conj X[k]. factors multiply to N; roots (2N, 2) holds
    ``exp(2 pi i k / F)``; work (2, N, 2, LANES) is workspace; out is (rows, 2N). The even samples
    are the real parts of one transform of N numbers, and the odd ones its imaginary parts.
    """
    rows, half = x.shape[0], work.shape[1]
    scale = np.float32(1) / np.float32(2 * half)
    for first in range(0, rows, LANES):
        count = min(LANES, rows - first)
        _fold(x, first, count, roots, work[0])
        at, stride = 0, 1
        for factor in factors:
            _combine(work[at], factor, stride, roots, work[1 - at])
            at, stride = 1 - at, stride * factor
        for n in range(half):
            for i in range(count):
                out[first + i, 2 * n] = work[at, n, 0, i] * scale
                out[first + i, 2 * n + 1] = work[at, n, 1, i] * scale
