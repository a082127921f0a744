"""Attention of one chunk over a ring of keys and values, with gated position bias."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fcs_edge.kernels._types import F32, I64
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.isa.instructions import PLAIN, Instructions
from fcs_edge.kernels.ops import attention_plain, softmax, sums, vecmath
from fcs_edge.kernels.ops.attention_plain import advance_window, start_scores, store
from fcs_edge.kernels.runtime import memory
from fcs_edge.kernels.runtime._jit import factory, kernel

_ROWS = 4
"""Queries that share the reading of a key or value."""

Kernel = Callable[..., None]


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
            head = z[m, h * head_dim : (h + 1) * head_dim]
            a = vecmath.sigmoid(bias[0] + sums.dot(head, weight[0]))
            b = vecmath.sigmoid(bias[1] + sums.dot(head, weight[1]))
            raised = vecmath.multiply_add(b, const[h], np.float32(-1))
            gate[m, h] = vecmath.multiply_add(a, raised, np.float32(2))


class RingAttention:
    """Attention to the last `size` rows, whose keys and values lie in rings.

    Key d of slot i is ``keys[h, i // width, d, i % width]``, value d of slot i
    ``values[h, d // width, i, d % width]``. These are panels as `panels.float_panel` reads them;
    each array has its own width.

    Parameters
    ----------
    heads, head_dim : int
        Heads, and the columns of one.
    size : int
        Slots of the rings.
    half : bool
        Store keys and values as float16, in half the memory. They are float32 nevertheless in
        plain loops, and where the CPU cannot widen float16 in registers.
    """

    def __init__(self, heads: int, head_dim: int, size: int, half: bool = False) -> None:
        using = instructions.chosen()
        self._half = half and using.half and instructions.CHOICE != PLAIN
        self._attend: Kernel
        if instructions.CHOICE == PLAIN:
            key_width, value_width = size, head_dim
            self._attend = attention_plain.attend
            self._heads: tuple[int, ...] = ()
        else:
            over_slots = panel(size, using, key_choices(using))
            over_columns = panel(head_dim, using, value_choices(using))
            key_width, value_width = (lanes * n for lanes, n in (over_slots, over_columns))
            self._attend = attend_panels(*over_slots, *over_columns, self._half)
            self._heads = 0, heads
        key_panels, value_panels = -(-size // key_width), -(-head_dim // value_width)
        self._keys = heads, key_panels, head_dim, key_width
        self._values = heads, value_panels, size, value_width
        self._scores = _ROWS, key_panels * key_width

    def rings(self) -> tuple[Any, Any]:
        """Return memory for keys and values, zeroed: float32, or float16 in uint16."""
        dtype = np.uint16 if self._half else np.float32
        return memory.zeros(self._keys, dtype), memory.zeros(self._values, dtype)

    def scores(self) -> F32:
        """Return the workspace of a call."""
        return np.zeros(self._scores, np.float32)

    def __call__(
        self,
        qkv: F32,
        gate: F32,
        position_bias: F32,
        keys: Any,
        values: Any,
        cursor: I64,
        scores: F32,
        out: F32,
    ) -> None:
        """Store a chunk, then ``out_h = softmax(q_h @ k_h / sqrt(head_dim) + gate * bias) @ v_h``.

        Parameters
        ----------
        qkv : numpy.ndarray
            (rows, 3 * heads * head_dim) float32, contiguous: queries, then keys, then values.
        gate : numpy.ndarray
            (rows, heads) float32.
        position_bias : numpy.ndarray
            (heads, span) float32: the bias of key - query = rows - 1 comes last, and before it
            those of ever more distant keys; span is at least size + rows - 1.
        keys, values : numpy.ndarray
            The rings.
        cursor : numpy.ndarray
            (2,) int64: the slot of the chunk's first row (the next ones follow and wrap around),
            and the rows that the rings hold, at most `size`. The call advances both.
        scores : numpy.ndarray
            Workspace: what `scores` returns.
        out : numpy.ndarray
            (rows, heads * head_dim) float32.
        """
        self._attend(qkv, gate, position_bias, keys, values, cursor, scores, out, *self._heads)


def panel(columns: int, using: Instructions, choices: Sequence[int]) -> tuple[int, int]:
    """Return lanes and vectors of the panels that cover so many columns with the fewest spare.

    `choices` are numbers of vectors: each doubles the code of attention.
    """
    lanes = min(using.lanes, 1 << (columns - 1).bit_length())
    if lanes < using.lanes:
        return lanes, 1
    return lanes, min(choices, key=lambda n: -(-columns // (lanes * n)) * n)


def key_choices(using: Instructions) -> tuple[int, ...]:
    """Return the vectors that a panel of keys may have: one choice, as a ring has many slots."""
    return (1 << (using.float_vectors.bit_length() - 1),)


def value_choices(using: Instructions) -> tuple[int, ...]:
    """Return the vectors that a panel of values may have, most first: heads may be narrow."""
    (most,) = key_choices(using)
    return most, most // 2


@factory
def attend_panels(
    key_lanes: int, key_vectors: int, value_lanes: int, value_vectors: int, half: bool
) -> Kernel:
    """Return the kernel for rings of such panels."""
    global Rows, add_scores, carray, pointer, stack, weigh_values
    from numba.np.numpy_support import carray

    from fcs_edge.kernels.gemm.panels import Rows, pointer, stack
    from fcs_edge.kernels.ops.attention_panels import add_scores, weigh_values

    tile_size = _ROWS * value_lanes * value_vectors

    @kernel
    def attend(
        qkv: F32,
        gate: F32,
        position_bias: F32,
        keys: Any,
        values: Any,
        cursor: I64,
        scores: F32,
        out: F32,
        first_head: int,
        last_head: int,
    ) -> None:
        """Store a chunk and attend; see `RingAttention`.

        Keys are read in the order of their slots, wherever the oldest one is: only the position
        bias depends on that. Scores are held times sqrt(head_dim). The heads are those from
        `first_head` to the one before `last_head`.
        """
        rows, pitch = gate.shape[0], qkv.shape[1]
        head_dim, size = keys.shape[2], values.shape[2]
        root = np.sqrt(np.float32(head_dim))
        scale = np.float32(1) / root
        slot, first, count = advance_window(cursor, rows, size)
        tile = carray(stack(np.float32, tile_size), tile_size)
        inverse = carray(stack(np.float32, _ROWS), _ROWS)
        for h in range(first_head, last_head):
            store(qkv, h, slot, half, keys, values)
            m = 0
            while m < rows:
                block = _ROWS if rows - m >= _ROWS else 1
                for r in range(block):
                    bias = position_bias[h, position_bias.shape[1] - count - m - r :]
                    start_scores(gate[m + r, h] * root, bias, first, scores[r, :count])
                at, start = Rows(pointer(qkv, m * pitch + h * head_dim), pitch), h * keys.shape[1]
                add_scores(key_lanes, key_vectors, block, at, keys, start, scores, count)
                for r in range(block):
                    inverse[r] = softmax.exponentials(scores[r, :count], scale)
                weigh_values(
                    value_lanes, value_vectors, block, scores, count, values, h, inverse, tile,
                    out[m : m + block, h * head_dim : (h + 1) * head_dim],
                )  # fmt: skip
                m += block

    return attend
