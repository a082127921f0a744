"""The choice of codes by what a small network tells of them (analysis by synthesis)."""

import numpy as np

from fcs_edge.kernels._jit import inline, reduction
from fcs_edge.kernels._types import F32, Scalar


@inline
def _apart(
    sums: F32, sign: Scalar, flipped: F32, second: F32, second_bias: F32, wanted: F32, told: F32
) -> Scalar:
    """Return ``|relu(sums - 2 sign flipped) second + second_bias - wanted| ** 2``."""
    for q in range(told.size):
        told[q] = second_bias[q] - wanted[q]
    for n in range(sums.size):
        active = sums[n] - np.float32(2) * sign * flipped[n]
        if active > 0:
            for q in range(told.size):
                told[q] += active * second[n, q]
    squares = np.float32(0)
    for q in range(told.size):
        squares += told[q] * told[q]
    return squares


@reduction
def choose(
    latents: F32,
    wanted: F32,
    first: F32,
    first_bias: F32,
    second: F32,
    second_bias: F32,
    prior: Scalar,
    passes: int,
    past: F32,
    sums: F32,
    told: F32,
    signs: F32,
) -> None:
    """Write for each row, in turn, the signs s that flips one by one lead to, down in J.

    ``J(s) = |told(s) - wanted[m]| ** 2 - prior sum_j s[j] latents[m, j]``
    ``told(s) = relu(first_bias + sum_kj first[k, j] past[k, j]) second + second_bias``

    where past[0] = s, and past[k] is what was chosen k rows before, 0 before the first. It starts
    from the signs of the latents; each of up to `passes` times the one flip that makes J smallest
    is taken, and it ends where none makes it smaller.

    latents, signs (rows, bits); wanted (rows, wide); first (history, bits, inner); first_bias and
    sums (inner,); second (inner, wide); second_bias and told (wide,); past (history, bits) is
    moved on by all rows; sums and told are written over.
    """
    rows, bits = latents.shape
    history = first.shape[0]
    none, twice = np.float32(0), np.float32(2) * np.float32(prior)
    for m in range(rows):
        for k in range(history - 1, 0, -1):
            for j in range(bits):
                past[k, j] = past[k - 1, j]
        for j in range(bits):
            past[0, j] = np.float32(1) if latents[m, j] > 0 else np.float32(-1)
        for n in range(sums.size):
            sums[n] = first_bias[n]
        for k in range(history):
            for j in range(bits):
                for n in range(sums.size):
                    sums[n] += past[k, j] * first[k, j, n]
        least = _apart(sums, none, first[0, 0], second, second_bias, wanted[m], told)
        for _ in range(passes):
            best = -1
            smallest = least
            for j in range(bits):
                apart = _apart(sums, past[0, j], first[0, j], second, second_bias, wanted[m], told)
                apart += twice * past[0, j] * latents[m, j]
                if apart < smallest:
                    smallest, best = apart, j
            if best < 0:
                break
            for n in range(sums.size):
                sums[n] -= np.float32(2) * past[0, best] * first[0, best, n]
            # What is left to compare with: J, but for what the latents say of all other bits.
            least = smallest - twice * past[0, best] * latents[m, best]
            past[0, best] = -past[0, best]
        for j in range(bits):
            signs[m, j] = past[0, j]
