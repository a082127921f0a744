"""The element-wise steps of focal modulation against float64."""

import math
from collections.abc import Callable

import numpy as np

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.ops import focal

# gelu's error relative to its argument.
GELU = 3e-7
# And a rounding or two for each of three levels, relative to the sum of all terms' sizes.
TOLERANCE = 5e-7


def test_aggregate_sums_gated_levels(shape: tuple[int, int], normal: Callable[..., F32]) -> None:
    gates = normal(shape[0], 3)
    context, total = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    expected, size = np.zeros(shape), np.zeros(shape)
    for level in range(3):
        convolved = normal(*shape)
        focal.aggregate(convolved, gates, level, context, total)
        wide = convolved.astype(np.float64)
        active = wide * (1 + np.vectorize(math.erf)(wide / math.sqrt(2))) / 2
        assert (np.abs(context - active) <= GELU * np.abs(wide)).all()
        expected += active * gates[:, level : level + 1]
        size += np.abs(wide * gates[:, level : level + 1])
        assert (np.abs(total - expected) <= TOLERANCE * size).all()


def test_rows_do_not_meet(
    normal: Callable[..., F32], assert_same_bits: Callable[[F32, F32], None]
) -> None:
    convolved, gates, context = normal(9, 41), normal(9, 2), np.empty((9, 41), np.float32)
    together = normal(9, 41)
    alone = together.copy()
    focal.aggregate(convolved, gates, 1, context, together)
    for m in range(9):
        row = slice(m, m + 1)
        focal.aggregate(convolved[row], gates[row], 1, context[row], alone[row])
    assert_same_bits(alone, together)


def test_level_zero_forgets_the_sum_before(
    normal: Callable[..., F32], assert_same_bits: Callable[[F32, F32], None]
) -> None:
    convolved, gates, context = normal(4, 9), normal(4, 1), np.empty((4, 9), np.float32)
    totals = [np.full((4, 9), before, np.float32) for before in (0, 1e30, np.nan)]
    for total in totals:
        focal.aggregate(convolved, gates, 0, context, total)
    assert_same_bits(totals[1], totals[0])
    assert_same_bits(totals[2], totals[0])


def test_divide_is_exactly_the_quotient(
    shape: tuple[int, int],
    normal: Callable[..., F32],
    assert_same_bits: Callable[[F32, F32], None],
) -> None:
    x = normal(*shape)
    expected = x / np.float32(3)
    focal.divide(x, np.float32(3))
    assert_same_bits(x, expected)


def test_modulate_is_exactly_the_product(
    shape: tuple[int, int],
    normal: Callable[..., F32],
    assert_same_bits: Callable[[F32, F32], None],
) -> None:
    x, query = normal(*shape), normal(*shape)
    expected, before = x * query, query.copy()
    focal.modulate(x, query)
    assert_same_bits(x, expected)
    assert_same_bits(query, before)
