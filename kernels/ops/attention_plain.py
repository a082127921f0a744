"""Attention in plain loops: for any CPU, and the reference for tests of the panels."""

import numpy as np

from fcs_edge.kernels._types import F32, I64, Scalar
from fcs_edge.kernels.ops import softmax
from fcs_edge.kernels.ops.half import to_half
from fcs_edge.kernels.ops.history import advance, wrap
from fcs_edge.kernels.ops.vecmath import multiply_add
from fcs_edge.kernels.runtime._jit import inline, kernel


@kernel
def store(qkv: F32, head: int, slot: int, half: bool, keys: Scalar, values: Scalar) -> None:
    """Write a head's keys and values of a chunk into the rings from `slot` on, wrapping around.

    Rows of qkv end in the keys of all heads, then their values. The rings are those of
    `attention.RingAttention`; with `half` they are float16 in uint16.
    """
    heads, _, head_dim, key_width = keys.shape
    panels, size, width = values.shape[1:]
    k0 = qkv.shape[1] - (2 * heads - head) * head_dim
    v0 = k0 + heads * head_dim
    to = slot
    for m in range(qkv.shape[0]):
        row = qkv[m, k0 : k0 + head_dim]
        panel, column = keys[head, to // key_width], to % key_width
        for d in range(head_dim):
            if half:
                panel[d, column] = to_half(row[d])
            else:
                panel[d, column] = row[d]
        for p in range(panels):
            part = qkv[m, v0 + p * width : v0 + min((p + 1) * width, head_dim)]
            value = values[head, p, to]
            for d in range(part.size):
                if half:
                    value[d] = to_half(part[d])
                else:
                    value[d] = part[d]
        to = wrap(to + 1, size)


@inline
def advance_window(cursor: I64, rows: int, size: int) -> Scalar:
    """Move cursor on by rows; return their first slot, that of the oldest row, and the rows held.

    cursor is (2,): the slot of the next row, and the rows held, at most size.
    """
    slot, count = advance(cursor, rows, size), min(cursor[1] + rows, size)
    cursor[1] = count
    return slot, cursor[0] if count == size else 0, count


@kernel
def start_scores(gate: Scalar, bias: F32, first: int, scores: F32) -> None:
    """``scores[(first + i) % count] = gate * bias[i]``: the oldest key is in slot `first`."""
    count = scores.size
    old, new = scores[first:], scores[:first]
    for i in range(count - first):
        old[i] = gate * bias[i]
    rest = bias[count - first :]
    for i in range(first):
        new[i] = gate * rest[i]


@inline
def add_scores(query: F32, keys: F32, scores: F32) -> None:
    """``scores[i] += sum_d query[d] * keys[d, i]``."""
    for d in range(query.size):
        q = query[d]
        row = keys[d]
        for i in range(scores.size):
            scores[i] = multiply_add(q, row[i], scores[i])


@inline
def add_values(scores: F32, values: F32, out: F32) -> None:
    """``out += sum_i scores[i] * values[i]``."""
    for i in range(scores.size):
        p = scores[i]
        row = values[i]
        for d in range(out.size):
            out[d] = multiply_add(p, row[d], out[d])


@kernel
def attend(
    qkv: F32,
    gate: F32,
    position_bias: F32,
    keys: F32,
    values: F32,
    cursor: I64,
    scores: F32,
    out: F32,
) -> None:
    """Store a chunk and attend; see `attention.RingAttention`. The rings are one panel each."""
    rows, heads = gate.shape
    head_dim = keys.shape[2]
    size = values.shape[2]
    span = position_bias.shape[1]
    root = np.sqrt(np.float32(head_dim))
    scale = np.float32(1) / root
    slot, first, count = advance_window(cursor, rows, size)
    s = scores[0, :count]
    for h in range(heads):
        store(qkv, h, slot, False, keys, values)
        for m in range(rows):
            bias = position_bias[h, span - count - m :]
            start_scores(gate[m, h] * root, bias, first, s)
            add_scores(qkv[m, h * head_dim : (h + 1) * head_dim], keys[h, 0], s)
            inverse = softmax.exponentials(s, scale)
            o = out[m, h * head_dim : (h + 1) * head_dim]
            o[:] = np.float32(0)
            add_values(s, values[h, 0], o)
            for d in range(head_dim):
                o[d] *= inverse
