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


def test_the_mean_of_many_rows_is_exact(normal: Callable[..., F32]) -> None:
    """Sums of 30,000 rows in float32 would be off in the fifth digit."""
    x = 3 + normal(30_000, 5)
    sums, out = np.zeros(5, np.float64), np.full(5, np.nan, np.float32)
    focal.add_rows(x[:17], sums)
    focal.add_rows(x[17:], sums)
    np.testing.assert_allclose(sums, x.sum(0, np.float64), rtol=1e-13)
    focal.global_context(sums, len(x), out)
    mean = x.mean(0, np.float64)
    expected = mean * (1 + np.vectorize(math.erf)(mean / math.sqrt(2))) / 2
    assert (np.abs(out - expected) <= 1e-6).all()


def test_sums_do_not_depend_on_blocks(normal: Callable[..., F32]) -> None:
    x, whole = normal(999, 41), np.zeros(41, np.float64)
    focal.add_rows(x, whole)
    for size in (1, 64, 500):
        parts = np.zeros(41, np.float64)
        for start in range(0, 999, size):
            focal.add_rows(x[start : start + size], parts)
        np.testing.assert_array_equal(parts, whole)


def test_aggregate_row_is_one_context_for_all_rows(
    shape: tuple[int, int], normal: Callable[..., F32]
) -> None:
    gates, context, before = normal(shape[0], 2), normal(shape[1]), normal(*shape)
    total = before.copy()
    focal.aggregate_row(context, gates, 1, total)
    expected = before + gates[:, 1:].astype(np.float64) * context
    assert np.abs(total - expected).max() <= 1e-6 * np.abs(expected).max()
    total[:] = np.nan
    focal.aggregate_row(context, gates, 0, total)
    np.testing.assert_array_equal(total, gates[:, :1] * context)
