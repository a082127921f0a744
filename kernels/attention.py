"""Attention of one chunk over a ring of keys and values, with gated position bias."""

import numpy as np

from fcs_edge.kernels import vecmath
from fcs_edge.kernels._jit import inline, kernel
from fcs_edge.kernels._types import F32


@kernel
def position_gate(z: F32, weight: F32, bias: F32, const: F32, gate: F32) -> None:
    """``gate[m, h] = a * (b * const[h] - 1) + 2``, the gated relative position bias of WavLM.

    a = sigmoid(sum of the first four rows of u), b = sigmoid(sum of the last four), where
    ``u = weight @ z_h + bias`` and z_h is the head's slice of row m (arXiv 2110.13900, 2.1).

    Parameters
    ----------
    z : numpy.ndarray
        (rows, heads * head_dim) float32.
    weight, bias : numpy.ndarray
        (2, head_dim) and (2,) float32: the eight rows already summed in fours.
    const : numpy.ndarray
        (heads,) float32.
    gate : numpy.ndarray
        (rows, heads) float32.
    """
    rows, heads = gate.shape
    head_dim = weight.shape[1]
    for m in range(rows):
        for h in range(heads):
            u = bias[0]
            v = bias[1]
            for d in range(head_dim):
                u += z[m, h * head_dim + d] * weight[0, d]
                v += z[m, h * head_dim + d] * weight[1, d]
            a = vecmath.sigmoid(u)
            b = vecmath.sigmoid(v)
            gate[m, h] = a * (b * const[h] - np.float32(1)) + np.float32(2)


@kernel
def store(qkv: F32, slot: int, keys: F32, values: F32) -> None:
    """Write a chunk's keys and values into the rings from `slot` on, wrapping around.

    Parameters
    ----------
    qkv : numpy.ndarray
        (rows, 3 * heads * head_dim) float32: queries, then keys, then values.
    slot : int
        Slot of the first row.
    keys : numpy.ndarray
        (heads, head_dim, size) float32.
    values : numpy.ndarray
        (heads, size, head_dim) float32.
    """
    heads, size, head_dim = values.shape
    dim = heads * head_dim
    for m in range(qkv.shape[0]):
        to = slot + m
        if to >= size:
            to -= size
        for h in range(heads):
            for d in range(head_dim):
                keys[h, d, to] = qkv[m, dim + h * head_dim + d]
                values[h, to, d] = qkv[m, 2 * dim + h * head_dim + d]


@inline
def _add_scores(query: F32, keys: F32, slot: int, scores: F32) -> None:
    """``scores[i] += sum_d query[d] * keys[d, slot + i]``."""
    for d in range(query.size):
        q = query[d]
        row = keys[d, slot : slot + scores.size]
        for i in range(scores.size):
            scores[i] += q * row[i]


@inline
def _add_values(scores: F32, values: F32, slot: int, out: F32) -> None:
    """``out += sum_i scores[i] * values[slot + i]``."""
    for i in range(scores.size):
        p = scores[i]
        row = values[slot + i]
        for d in range(out.size):
            out[d] += p * row[d]


@inline
def _softmax(s: F32) -> None:
    """``s = exp(s - max(s)) / sum(exp(s - max(s)))``."""
    top = s[0]
    for i in range(s.size):
        top = max(top, s[i])
    for i in range(s.size):
        s[i] = vecmath.exp(s[i] - top)
    total = np.float32(0)
    for i in range(s.size):
        total += s[i]
    inverse = np.float32(1) / total
    for i in range(s.size):
        s[i] *= inverse


@kernel
def attend(
    qkv: F32,
    gate: F32,
    position_bias: F32,
    keys: F32,
    values: F32,
    first: int,
    count: int,
    scores: F32,
    out: F32,
) -> None:
    """``out_h = softmax(q_h @ k_h / sqrt(head_dim) + gate * bias) @ v_h``, over one window.

    Parameters
    ----------
    qkv : numpy.ndarray
        (rows, 3 * heads * head_dim) float32; the queries come first.
    gate : numpy.ndarray
        (rows, heads) float32.
    position_bias : numpy.ndarray
        (heads, span) float32: the bias of key - query = rows - 1 comes last, and before it
        those of ever more distant keys; span is at least count + rows - 1.
    keys, values : numpy.ndarray
        The rings, (heads, head_dim, size) and (heads, size, head_dim) float32, this chunk's
        rows included.
    first : int
        Slot of the oldest key in the window.
    count : int
        Keys in the window, at most size; the last `rows` of them are this chunk's own.
    scores : numpy.ndarray
        (at least count,) float32, to work in.
    out : numpy.ndarray
        (rows, heads * head_dim) float32.
    """
    rows, heads = gate.shape
    size, head_dim = values.shape[1:]
    span = position_bias.shape[1]
    scale = np.float32(1) / np.sqrt(np.float32(head_dim))
    head_part = min(count, size - first)
    for h in range(heads):
        for m in range(rows):
            query = qkv[m, h * head_dim : (h + 1) * head_dim]
            s = scores[:count]
            s[:] = np.float32(0)
            _add_scores(query, keys[h], first, s[:head_part])
            _add_scores(query, keys[h], 0, s[head_part:])
            b = position_bias[h, span - count - m :]
            g = gate[m, h]
            for i in range(count):
                s[i] = s[i] * scale + g * b[i]
            o = out[m, h * head_dim : (h + 1) * head_dim]
            _softmax(s)
            o[:] = np.float32(0)
            _add_values(s[:head_part], values[h], first, o)
            _add_values(s[head_part:], values[h], 0, o)
