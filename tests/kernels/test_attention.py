"""Attention over a ring of keys and values against a float64 softmax.

Tests of the rings' layout run with float32 and float16 rings, on the plain loops and on every set
of instructions that this CPU has.
"""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from fcs_edge.kernels._types import F32, U16
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.ops import softmax
from fcs_edge.kernels.ops.attention import RingAttention, position_gate
from fcs_edge.kernels.ops.half import to_half

F64 = NDArray[np.float64]
# Relative to the largest output. A score of some units is off by 1e-6 at most, and the
# softmax is off by as much again, relatively; a weighted mean of values adds little.
TOLERANCE = 2e-6
# Two sigmoids of a dot product of head_dim elements, in [1, 3] with const = 1.
GATE = 1e-6
HEADS = 3


@pytest.fixture(params=product(instructions.available(), [False, True]), ids=str)
def make(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int, int, int], "Stream"]:
    """Make streams of attention with these instructions, in float32 or float16."""
    choice, half = request.param
    monkeypatch.setattr(instructions, "CHOICE", choice)
    return lambda heads, head_dim, size: Stream(RingAttention(heads, head_dim, size, half), size)


class Stream:
    """Chunk after chunk through rings whose unused memory is NaN."""

    def __init__(self, attend: RingAttention, size: int) -> None:
        self._attend = attend
        self._size = size
        self.keys, self.values = attend.rings()
        self._scores = attend.scores()
        self.half = self.keys.dtype == np.uint16
        for ring in (self.keys, self.values):
            ring[:] = np.array(np.nan, np.float16).view(np.uint16) if self.half else np.nan
        self._scores[:] = np.nan
        self._cursor = np.array([0, 0])
        self.end = 0

    def __call__(self, qkv: F32, gate: F32, position_bias: F32) -> F32:
        rows, width = qkv.shape
        self.end += rows
        out = np.full((rows, width // 3), np.nan, np.float32)
        self._attend(
            qkv, gate, position_bias, self.keys, self.values, self._cursor, self._scores, out
        )
        assert self._cursor.tolist() == [self.end % self._size, min(self.end, self._size)]
        return out

    def stored(self, x: F32) -> F64:
        """Return keys or values as they are multiplied."""
        return x.astype(np.float16).astype(np.float64) if self.half else x.astype(np.float64)


def queries(qkv: F32, head: int, head_dim: int) -> F64:
    return qkv[:, head * head_dim : (head + 1) * head_dim].astype(np.float64)


def bias_at(position_bias: F32, head: int, distance: NDArray[np.int64], rows: int) -> F64:
    """Return the bias of key - query = distance; the last column is that of rows - 1."""
    column = position_bias.shape[1] - 1 - (rows - 1 - distance)
    return position_bias[head, column].astype(np.float64)


def reference(qkv: F32, gate: F32, position_bias: F32, keys: F64, values: F64) -> F64:
    """Attend to keys and values (heads, count, head_dim), oldest first."""
    rows, heads = gate.shape
    count, head_dim = keys.shape[1:]
    out = np.zeros((rows, heads * head_dim))
    for h in range(heads):
        query = queries(qkv, h, head_dim)
        for m in range(rows):
            distance = np.arange(count) - (count - rows + m)
            bias = bias_at(position_bias, h, distance, rows)
            scores = keys[h] @ query[m] / np.sqrt(head_dim) + gate[m, h] * bias
            weights = np.exp(scores - scores.max())
            out[m, h * head_dim : (h + 1) * head_dim] = weights / weights.sum() @ values[h]
    return out


@pytest.mark.parametrize("head_dim", [1, 5, 16, 33])
@pytest.mark.parametrize("heads", [1, 3])
def test_position_gate_against_formula(
    heads: int,
    head_dim: int,
    normal: Callable[..., F32],
    assert_near: Callable[[F32, F64, float], None],
) -> None:
    weight, bias, const = normal(8, head_dim), normal(8), normal(heads)
    summed = weight.reshape(2, 4, head_dim).sum(1), bias.reshape(2, 4).sum(1)
    for rows in range(1, 10):
        z = normal(rows, heads * head_dim) / np.float32(np.sqrt(head_dim))
        gate = np.full((rows, heads), np.nan, np.float32)
        position_gate(z, *summed, const, gate)
        expected = np.zeros((rows, heads))
        for h in range(heads):
            u = queries(z, h, head_dim) @ weight.T.astype(np.float64) + bias
            a, b = (1 / (1 + np.exp(-u[:, part].sum(1))) for part in (slice(4), slice(4, 8)))
            expected[:, h] = a * (b * const[h] - 1) + 2
        assert_near(gate, expected, GATE)


# Rows in fours and beside them; slots that rows divide and do not, and that one chunk nearly
# fills; columns around the panels' widths; more slots than are summed in one go.
@pytest.mark.parametrize(
    ("rows", "size", "head_dim"),
    [
        *((1, 13, 3), (3, 15, 4), (4, 16, 3), (9, 13, 3)),
        *((2, 40, 64), (4, 40, 64), (16, 150, 65), (7, 300, 1)),
    ],
)
def test_a_stream_against_formula(
    rows: int,
    size: int,
    head_dim: int,
    make: Callable[[int, int, int], Stream],
    normal: Callable[..., F32],
    assert_near: Callable[[F32, F64, float], None],
) -> None:
    attend = make(HEADS, head_dim, size)
    if attend.half and head_dim > 64:
        pytest.skip("as with float32: only the loads differ")
    past = np.zeros((2, HEADS, 0, head_dim))
    # From an empty window to one that has wrapped around, for small ones at every phase.
    for chunk in range(max(size // rows + 3, min(size, 20))):
        qkv, gate = normal(rows, 3 * HEADS * head_dim), normal(rows, HEADS)
        bias = normal(HEADS, size + rows - 1 + chunk % 2)
        own = qkv[:, HEADS * head_dim :].reshape(rows, 2, HEADS, head_dim).transpose(1, 2, 0, 3)
        past = np.concatenate([past, attend.stored(own)], axis=2)[:, :, -size:]
        out = attend(qkv, gate, bias)
        if chunk < 2 or chunk * rows > size - 2 * rows:
            assert_near(out, reference(qkv, gate, bias, *past), TOLERANCE)


def test_bias_is_chosen_by_key_minus_query(
    make: Callable[[int, int, int], Stream], normal: Callable[..., F32]
) -> None:
    rows, size, head_dim = 3, 13, 3
    for distance in range(-4, rows):
        attend = make(1, head_dim, size)
        bias = np.zeros((1, size + rows - 1), np.float32)
        bias[0, size - 1 + distance] = 80
        values = np.zeros((0, head_dim))
        for _ in range(6):
            qkv, gate = normal(rows, 3 * head_dim), np.ones((rows, 1), np.float32)
            qkv[:, :head_dim] = 0
            values = np.concatenate([values, attend.stored(qkv[:, 2 * head_dim :])])[-size:]
            out = attend(qkv, gate, bias)
        for m in range(rows):
            key = size - rows + m + distance
            expected = values[key] if key < size else values.mean(0)
            np.testing.assert_allclose(out[m], expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("rows", [2, 5, 8])
def test_a_row_has_the_same_bits_wherever_it_stands(
    rows: int,
    make: Callable[[int, int, int], Stream],
    normal: Callable[..., F32],
    assert_same_bits: Callable[[F32, F32], None],
) -> None:
    head_dim, size = 3, 13
    qkv, gate = normal(rows, 3 * HEADS * head_dim), normal(rows, HEADS)
    bias = np.zeros((HEADS, size + rows - 1), np.float32)
    order = np.roll(np.arange(rows), 1)
    moved = qkv.copy()
    moved[:, : HEADS * head_dim] = qkv[order, : HEADS * head_dim]
    out = make(HEADS, head_dim, size)(qkv, gate, bias)
    assert_same_bits(make(HEADS, head_dim, size)(moved, gate[order], bias), out[order])


def test_large_scores_do_not_overflow(
    make: Callable[[int, int, int], Stream], normal: Callable[..., F32]
) -> None:
    rows, size, head_dim = 6, 13, 3
    qkv, gate = 1e3 * normal(rows, 3 * head_dim), np.ones((rows, 1), np.float32)
    attend = make(1, head_dim, size)
    out = attend(qkv, gate, np.zeros((1, size + rows - 1), np.float32))
    keys, values = (attend.stored(part) for part in np.split(qkv, 3, axis=1)[1:])
    best = (keys @ queries(qkv, 0, head_dim).T).argmax(0)
    np.testing.assert_allclose(out, values[best], rtol=TOLERANCE)


def test_plain_loops_keep_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    for choice in instructions.available():
        monkeypatch.setattr(instructions, "CHOICE", choice)
        widens = choice != instructions.PLAIN and instructions.chosen().half
        for half in (False, True):
            keys, values = RingAttention(2, 3, 4, half).rings()
            expected = np.uint16 if half and widens else np.float32
            assert keys.dtype == values.dtype == expected


@pytest.mark.parametrize("size", [1, 7, 16, 67, 512])
@pytest.mark.parametrize("offset", [-1000, -3, 0, 3, 1000])
def test_softmax_against_formula(size: int, offset: float, normal: Callable[..., F32]) -> None:
    @njit
    def apply(x: F32, scale: np.float32) -> np.float32:
        return softmax.exponentials(x, scale)

    x = normal(size) + np.float32(offset)
    scaled = 0.3 * x.astype(np.float64)
    expected = np.exp(scaled - scaled.max())
    inverse = apply(x, np.float32(0.3))
    np.testing.assert_allclose(x, expected, rtol=2e-6)
    np.testing.assert_allclose(inverse, 1 / expected.sum(), rtol=2e-6)


def test_to_half_is_the_nearest_float16() -> None:
    @njit
    def convert(x: F32, out: U16) -> None:
        for i in range(x.size):
            out[i] = to_half(x[i])

    every = np.arange(1 << 16, dtype=np.uint16)
    halves = every[np.isfinite(every.view(np.float16))].view(np.float16)
    ordered = np.unique(halves.astype(np.float32))
    ties = (ordered[1:] + ordered[:-1]) / 2
    away = np.float32(np.inf)
    beyond = np.array([65504, 65520, 1e6, 3e38, 1e-8, 1e-30, 1e-45], np.float32)
    x = np.concatenate(
        [halves, ties, np.nextafter(ties, away), np.nextafter(ties, -away), beyond, -beyond]
    )
    out = np.zeros(x.size, np.uint16)
    convert(x, out)
    expected = np.clip(x, -65504, 65504).astype(np.float16)
    np.testing.assert_array_equal(out, expected.view(np.uint16))
