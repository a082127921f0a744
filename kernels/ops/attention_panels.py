"""Scores of keys and weighted sums of values, panel by panel: the steps of `attention`.

Like the microkernels, this module needs Numba; factories import it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.gemm.panel_rows import float_rows
from fcs_edge.kernels.gemm.panels import Rows, pointer
from fcs_edge.kernels.runtime._jit import inline

_DEPTH = 256
"""Slots whose values are summed in one go: sums of sums round less than one long sum."""


@inline
def add_scores(
    lanes: int,
    vectors: int,
    block: int,
    qkv: F32,
    m: int,
    keys: Any,
    head: int,
    scores: F32,
    count: int,
) -> None:
    """``scores[r, i] += sum_d query_(m + r)[d] * key_i[d]`` of one head, r < block, i < count.

    lanes and vectors of a panel are constants of the caller.
    """
    width, panels, head_dim = lanes * vectors, keys.shape[1], keys.shape[2]
    queries = Rows(pointer(qkv, m * qkv.shape[1] + head * head_dim), qkv.shape[1])
    for p in range((count + width - 1) // width):
        panel = Rows(pointer(keys, (head * panels + p) * head_dim * width), width)
        to = Rows(pointer(scores, p * width), scores.shape[1])
        float_rows(block, lanes, vectors, queries, panel, head_dim, to)


@inline
def weigh_values(
    lanes: int,
    vectors: int,
    block: int,
    scores: F32,
    count: int,
    values: Any,
    head: int,
    inverse: F32,
    tile: F32,
    out: F32,
) -> None:
    """``out[r, d] = inverse[r] * sum_{i < count} scores[r, i] * value_i[d]`` of one head.

    lanes and vectors of a panel are constants of the caller; tile is workspace.
    """
    width, panels, size = lanes * vectors, values.shape[1], values.shape[2]
    sums = Rows(pointer(tile, 0), width)
    for p in range(panels):
        tile[:] = np.float32(0)
        for i in range(0, count, _DEPTH):
            some = min(_DEPTH, count - i)
            weights = Rows(pointer(scores, i), scores.shape[1])
            panel = Rows(pointer(values, ((head * panels + p) * size + i) * width), width)
            float_rows(block, lanes, vectors, weights, panel, some, sums)
        column = p * width
        for r in range(block):
            for d in range(min(width, out.shape[1] - column)):
                out[r, column + d] = tile[r * width + d] * inverse[r]
