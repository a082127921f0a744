"""Attention of every row to all rows of a signal, with a softmax that runs over blocks of keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.isa.instructions import PLAIN, Instructions
from fcs_edge.kernels.ops import softmax, whole_attention_plain
from fcs_edge.kernels.ops.attention import key_choices, panel, value_choices
from fcs_edge.kernels.ops.attention_plain import store
from fcs_edge.kernels.ops.whole_attention_plain import (
    BLOCK,
    divide_rows,
    shrink_row,
    start_block,
    start_running,
)
from fcs_edge.kernels.runtime import memory
from fcs_edge.kernels.runtime._jit import factory, kernel

_ROWS = 4
"""Queries that share the reading of a key or value."""

Kernel = Callable[..., None]


class WholeAttention:
    """Attention to all rows of a signal.

    Keys and values lie in panels as those of `attention.RingAttention`, key i in slot i. They are
    read in blocks of `BLOCK` keys. A block stays in a near cache for all queries of a call.

    Parameters
    ----------
    heads, head_dim : int
        Heads, and the columns of one.
    half : bool
        Store keys and values as float16, in half the memory. They are float32 nevertheless in
        plain loops, and where the CPU cannot widen float16 in registers.
    """

    def __init__(self, heads: int, head_dim: int, half: bool = False) -> None:
        using = instructions.chosen()
        self._half = half and using.half and instructions.CHOICE != PLAIN
        self._sizes = heads, head_dim
        self._attend: Kernel
        if instructions.CHOICE == PLAIN:
            self._key_width, self._value_width = BLOCK, head_dim
            self._attend = whole_attention_plain.attend_whole
            self._heads: tuple[int, ...] = ()
        else:
            over_keys = key_panel(using)
            over_columns = panel(head_dim, using, value_choices(using))
            self._key_width, self._value_width = (a * n for a, n in (over_keys, over_columns))
            self._attend = attend_blocks(*over_keys, *over_columns, self._half)
            self._heads = 0, heads
        self._store = store_rows(self._half)

    def memory(self, count: int) -> tuple[Any, Any]:
        """Return memory for so many keys and values, zeroed: float32, or float16 in uint16."""
        heads, head_dim = self._sizes
        keys = heads, -(-count // self._key_width), head_dim, self._key_width
        values = heads, -(-head_dim // self._value_width), count, self._value_width
        dtype = np.uint16 if self._half else np.float32
        return memory.temporary(keys, dtype), memory.temporary(values, dtype)

    def workspace(self, rows: int) -> tuple[F32, F32, F32]:
        """Return the workspace of calls of up to so many queries."""
        columns = -(-self._sizes[1] // self._value_width) * self._value_width
        shapes = (_ROWS, BLOCK), (rows, 2), (rows, columns)
        scores, running, sums = (memory.temporary(shape, np.float32) for shape in shapes)
        return scores, running, sums

    def store(self, kv: F32, first: int, keys: Any, values: Any) -> None:
        """Store keys and values from slot `first` on.

        Parameters
        ----------
        kv : numpy.ndarray
            (rows, 2 * heads * head_dim) float32: keys, then values.
        first : int
            The slot of the first row.
        keys, values : numpy.ndarray
            What `memory` returned.
        """
        self._store(kv, first, keys, values)

    def __call__(
        self,
        q: F32,
        gate: F32,
        bias: F32,
        keys: Any,
        values: Any,
        first: int,
        workspace: tuple[F32, F32, F32],
        out: F32,
    ) -> None:
        """Write ``out_h = softmax(q_h @ k_h / sqrt(head_dim) + gate * bias) @ v_h``, over all keys.

        Parameters
        ----------
        q : numpy.ndarray
            (rows, heads * head_dim) float32, contiguous.
        gate : numpy.ndarray
            (rows, heads) float32.
        bias : numpy.ndarray
            (heads, 2 * reach + 1) float32: the bias of key - query from -reach to reach. Keys
            farther away have that of -reach or reach.
        keys, values : numpy.ndarray
            Stored keys and values, all of them.
        first : int
            The slot of the first query.
        workspace : tuple of numpy.ndarray
            What `workspace` returned.
        out : numpy.ndarray
            (rows, heads * head_dim) float32.
        """
        self._attend(q, gate, bias, keys, values, first, *workspace, out, *self._heads)


def key_panel(using: Instructions) -> tuple[int, int]:
    """Return lanes and vectors of the panels of keys: a block has whole ones."""
    return panel(BLOCK, using, key_choices(using))


@factory
def store_rows(half: bool) -> Kernel:
    """Return the kernel that stores keys and values as float32, or as float16."""

    @kernel
    def store_all(kv: F32, first: int, keys: Any, values: Any) -> None:
        """Store keys and values; see `WholeAttention.store`."""
        for h in range(keys.shape[0]):
            store(kv, h, first, half, keys, values)

    return store_all


@factory
def attend_blocks(
    key_lanes: int, key_vectors: int, value_lanes: int, value_vectors: int, half: bool
) -> Kernel:
    """Return the kernel for keys and values in such panels, float16 where half is true."""
    global Rows, add_scores, add_values, pointer
    from fcs_edge.kernels.gemm.panels import Rows, pointer
    from fcs_edge.kernels.ops.attention_panels import add_scores, add_values

    @kernel
    def attend(
        q: F32,
        gate: F32,
        bias: F32,
        keys: Any,
        values: Any,
        first: int,
        scores: F32,
        running: F32,
        sums: F32,
        out: F32,
        first_head: int,
        last_head: int,
    ) -> None:
        """Attend to all keys; see `WholeAttention`.

        ``running`` has the largest score so far and the sum of the exponentials below it, ``sums``
        the values weighed by them. Both shrink when a larger score is found. Scores are held times
        sqrt(head_dim). The heads are those from `first_head` to the one before `last_head`.
        """
        rows, dim = q.shape
        panels, head_dim, count = keys.shape[1], keys.shape[2], values.shape[2]
        root = np.sqrt(np.float32(head_dim))
        scale = np.float32(1) / root
        zero = bias.shape[1] // 2
        in_block = BLOCK // (key_lanes * key_vectors)
        for h in range(first_head, last_head):
            start_running(running[:rows], sums[:rows])
            for j in range(0, count, BLOCK):
                some, m = min(BLOCK, count - j), 0
                first_panel = h * panels + j // BLOCK * in_block
                while m < rows:
                    block = _ROWS if rows - m >= _ROWS else 1
                    for r in range(block):
                        distance = j - first - m - r
                        s = scores[r, :some]
                        start_block(gate[m + r, h] * root, bias[h], distance + zero, s)
                    at = Rows(pointer(q, m * dim + h * head_dim), dim)
                    add_scores(key_lanes, key_vectors, block, at, keys, first_panel, scores, some)
                    for r in range(block):
                        s = scores[r, :some]
                        by = softmax.running_exponentials(s, scale, running[m + r])
                        shrink_row(sums[m + r], by)
                    add_values(
                        value_lanes, value_vectors, block, scores, some, values, h, j, m, sums
                    )
                    m += block
            divide_rows(running[:rows], sums, out, h * head_dim, head_dim)

    return attend
