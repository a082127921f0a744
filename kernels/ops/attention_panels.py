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
    queries: Any,
    keys: Any,
    first: int,
    scores: F32,
    count: int,
) -> None:
    """``scores[r, i] += sum_d query_r[d] * key_i[d]`` of one head, r < block, i < count.

    queries are `Rows`. Key 0 is the first of panel `first`, of all panels of all heads.
    lanes and vectors of a panel are constants of the caller.
    """
    width, head_dim = lanes * vectors, keys.shape[2]
    for p in range((count + width - 1) // width):
        panel = Rows(pointer(keys, (first + p) * head_dim * width), width)
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


@inline
def add_values(
    lanes: int,
    vectors: int,
    block: int,
    scores: F32,
    count: int,
    values: Any,
    head: int,
    first: int,
    m: int,
    out: F32,
) -> None:
    """``out[m + r, d] += sum_{i < count} scores[r, i] * value_(first + i)[d]`` of one head.

    lanes and vectors of a panel are constants of the caller; out has a column for each of the
    panels' columns.
    """
    width, panels, size = lanes * vectors, values.shape[1], values.shape[2]
    weights = Rows(pointer(scores, 0), scores.shape[1])
    for p in range(panels):
        panel = Rows(pointer(values, ((head * panels + p) * size + first) * width), width)
        to = Rows(pointer(out, m * out.shape[1] + p * width), out.shape[1])
        float_rows(block, lanes, vectors, weights, panel, count, to)
