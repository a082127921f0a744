"""Attention over a whole signal in plain loops, and the steps that the panels share."""

from __future__ import annotations

import numpy as np

from fcs_edge.kernels._types import F32, Scalar
from fcs_edge.kernels.ops import softmax
from fcs_edge.kernels.ops.attention_plain import add_scores, add_values
from fcs_edge.kernels.runtime._jit import inline, kernel

BLOCK = 192
"""Keys of a block: whole panels of every set of instructions."""


@kernel
def start_block(gate: Scalar, bias: F32, first: int, scores: F32) -> None:
    """``scores[i] = gate * bias[min(max(first + i, 0), bias.size - 1)]``."""
    count, last = scores.size, bias.size - 1
    low = min(max(-first, 0), count)
    high = max(min(bias.size - first, count), low)
    least, greatest = gate * bias[0], gate * bias[last]
    for i in range(low):
        scores[i] = least
    if high > low:
        part, near = scores[low:high], bias[first + low : first + high]
        for i in range(part.size):
            part[i] = gate * near[i]
    rest = scores[high:]
    for i in range(rest.size):
        rest[i] = greatest


@inline
def start_running(running: F32, sums: F32) -> None:
    """Start the softmax of each row: no number so far, no exponentials, no values."""
    for m in range(running.shape[0]):
        running[m, 0] = np.float32(-np.inf)
        running[m, 1] = np.float32(0)
        for d in range(sums.shape[1]):
            sums[m, d] = np.float32(0)


@inline
def shrink_row(sums: F32, by: Scalar) -> None:
    """``sums[d] *= by``."""
    for d in range(sums.size):
        sums[d] *= by


@inline
def divide_rows(running: F32, sums: F32, out: F32, column: int, head_dim: int) -> None:
    """``out[m, column + d] = sums[m, d] / running[m, 1]``, d < head_dim."""
    for m in range(running.shape[0]):
        inverse = np.float32(1) / running[m, 1]
        for d in range(head_dim):
            out[m, column + d] = sums[m, d] * inverse


@kernel
def attend_whole(
    q: F32,
    gate: F32,
    bias: F32,
    keys: F32,
    values: F32,
    first: int,
    scores: F32,
    running: F32,
    sums: F32,
    out: F32,
) -> None:
    """Attend to all keys; see `whole_attention.WholeAttention`. A panel of keys is a block."""
    rows, heads = gate.shape
    head_dim, count = keys.shape[2], values.shape[2]
    root = np.sqrt(np.float32(head_dim))
    scale = np.float32(1) / root
    for h in range(heads):
        start_running(running[:rows], sums[:rows])
        query = slice(h * head_dim, (h + 1) * head_dim)
        for j in range(0, count, BLOCK):
            some = min(BLOCK, count - j)
            for m in range(rows):
                s = scores[0, :some]
                distance = j - first - m
                start_block(gate[m, h] * root, bias[h], distance + bias.shape[1] // 2, s)
                add_scores(q[m, query], keys[h, j // BLOCK], s)
                shrink_row(sums[m], softmax.running_exponentials(s, scale, running[m]))
                add_values(s, values[h, 0, j:], sums[m])
        divide_rows(running[:rows], sums, out, h * head_dim, head_dim)
