"""Attention over a full window that is cold, at the full published model's shape."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any

import numpy as np
from benchmarks.sides import COLD_BYTES, Case, graph, normal, tensors

from fcs_edge.kernels.ops import attention


def _cold_copies(*arrays: Any) -> Iterator[tuple[Any, ...]]:
    """Return copies of arrays in turn: so many that no cache holds them."""
    copies = COLD_BYTES // sum(a.nbytes for a in arrays)
    return cycle([tuple(a.copy() for a in arrays) for _ in range(copies)])


def attend(rows: int, heads: int, head_dim: int, count: int, half: bool = False) -> Case:
    """Attention of the last rows to all, keys and values as float32 or float16."""
    dim = heads * head_dim
    chunks = normal(count // rows, rows, 3 * dim)
    qkv, gate, position_bias = chunks[-1], normal(rows, heads), normal(heads, count + rows - 1)
    out = np.empty((rows, dim), np.float32)
    layer = attention.RingAttention(heads, head_dim, count, half)
    keys, values = layer.rings()
    scores = layer.scores()
    cursor = np.array([count // 3, count])
    for chunk in chunks:
        layer(chunk, gate, position_bias, keys, values, cursor, scores, out)
    last = (cursor[0] - rows) % count
    rings = _cold_copies(keys, values)

    def kernel() -> Any:
        # Each call overwrites the last chunk.
        cursor[0] = last
        layer(qkv, gate, position_bias, *next(rings), cursor, scores, out)
        return out

    split = chunks.reshape(count, 3, heads, head_dim).transpose(1, 2, 0, 3)
    query, plain_values = split[0, :, -rows:].copy(), split[2].copy()
    plain_keys = split[1].transpose(0, 2, 1).copy()
    copies = COLD_BYTES // (plain_keys.nbytes + plain_values.nbytes)
    plain_rings = _cold_copies(plain_keys, plain_values)
    columns = np.arange(rows)[::-1, None] + np.arange(count)
    scale = np.float32(head_dim**-0.5)

    def plain() -> Any:
        keys, values = next(plain_rings)
        s = query @ keys * scale
        s += gate.T[:, :, None] * position_bias[:, columns]
        s = np.exp(s - s.max(2, keepdims=True))
        s /= s.sum(2, keepdims=True)
        return (s @ values).transpose(1, 0, 2).reshape(rows, -1)

    def torch_side(torch: Any) -> Any:
        tq, tg, tb, tc = tensors(torch, query, gate.T, position_bias, columns)
        turns = cycle([tensors(torch, split[1], plain_values) for _ in range(copies)])

        def run() -> Any:
            keys, values = next(turns)
            bias = tg[:, :, None] * tb[:, tc]
            # Three dimensions would go to the slow path.
            y = torch.nn.functional.scaled_dot_product_attention(
                tq[None], keys[None], values[None], bias[None]
            )
            return y[0].transpose(0, 1).reshape(rows, dim)

        return run

    body = (
        "p = MatMul(q, k) s = Mul(p, scale) c = Gather<axis=1>(b, i) d = Mul(g, c) e = Add(s, d) "
        "a = Softmax<axis=2>(e) o = MatMul(a, v) t = Transpose<perm=[1, 0, 2]>(o) y = Reshape(t, n)"
    )
    held = {"k": plain_keys, "v": plain_values, "b": position_bias, "i": columns}
    held |= {"scale": np.array(scale), "n": np.array([rows, dim])}
    fed = {"q": query, "g": np.ascontiguousarray(gate.T[:, :, None])}
    return Case(kernel, plain, torch_side, graph(body, fed, [held] * copies))
