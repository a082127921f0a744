"""Samples at the two ends of the codec."""

from collections.abc import Callable

import numpy as np
import pytest

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.ops import samples

LIMIT = np.float32(2.5)
BAD = [np.nan, np.inf, -np.inf]


def sanitize(x: F32, limit: np.float32 = LIMIT) -> tuple[int, F32]:
    out = np.full_like(x, np.nan)
    count = np.full(1, 5, np.int64)
    samples.sanitize(x, limit, out, count)
    return int(count[0]) - 5, out


@pytest.mark.parametrize("n", [0, 1, 3, 8, 17, 513])
def test_finite_samples_are_clipped_to_the_limit(n: int, normal: Callable[..., F32]) -> None:
    x = 3 * normal(n)
    bad, out = sanitize(x)
    assert bad == 0
    np.testing.assert_array_equal(out, np.clip(x, -LIMIT, LIMIT))


@pytest.mark.parametrize("value", BAD)
def test_what_is_not_finite_is_counted_and_zeroed(value: float, normal: Callable[..., F32]) -> None:
    for n in (1, 7, 33):
        for at in range(n):
            x = normal(n)
            x[at] = value
            bad, out = sanitize(x, np.float32(10))
            expected = x.copy()
            expected[at] = 0
            assert bad == 1
            np.testing.assert_array_equal(out, expected)


def test_all_of_them_together() -> None:
    x = np.array([*BAD, 1, -1, 3, -3, LIMIT, -LIMIT, 3.4e38, 1e-45, *BAD], np.float32)
    bad, out = sanitize(x)
    assert bad == 6
    expected = [0, 0, 0, 1, -1, LIMIT, -LIMIT, LIMIT, -LIMIT, LIMIT, 0, 0, 0, 0]
    np.testing.assert_array_equal(out, np.array(expected, np.float32))


def test_input_stays_as_it_was(normal: Callable[..., F32]) -> None:
    x = 5 * normal(40)
    x[3] = np.nan
    before = x.copy()
    sanitize(x)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("n", [0, 1, 3, 8, 17, 513])
def test_clip_to_one(n: int, normal: Callable[..., F32]) -> None:
    x = normal(n)
    out = np.full_like(x, np.nan)
    samples.clip(x, out)
    np.testing.assert_array_equal(out, np.clip(x, -1, 1))


def test_clip_keeps_the_ends_and_cuts_what_is_beyond() -> None:
    beyond = np.nextafter(np.float32(1), np.float32(2))
    x = np.array([-3.4e38, -1, -0.99999994, 0, 0.99999994, 1, beyond], np.float32)
    out = np.full_like(x, np.nan)
    samples.clip(x, out)
    np.testing.assert_array_equal(out, np.array([-1, *x[1:6], 1], np.float32))


@pytest.mark.parametrize(("hop", "size"), [(1, 0), (1, 1), (7, 3), (16, 16), (30, 17), (240, 240)])
def test_rows_overlap_and_are_clipped(hop: int, size: int, normal: Callable[..., F32]) -> None:
    """In steps of any rows: what a row has beyond its hop begins the next row's samples."""
    x = normal(9, hop + size)
    expected = x[:, :hop].copy()
    expected[1:, :size] += x[:-1, hop:]
    expected = np.clip(expected, -1, 1).ravel()
    for steps in ([9], [1] * 9, [4, 0, 5]):
        tail, at = np.zeros(size, np.float32), 0
        for rows in steps:
            out = np.full(rows * hop, np.nan, np.float32)
            samples.overlap_add(x[at : at + rows], tail, out)
            np.testing.assert_array_equal(out, expected[at * hop : (at + rows) * hop])
            at += rows
        np.testing.assert_array_equal(tail, x[-1, hop:])


def test_the_sum_of_two_rows_is_clipped_and_not_its_parts() -> None:
    x, tail = np.array([[-1.5, 1.5, 2.0]], np.float32), np.array([2.25], np.float32)
    out = np.full(2, np.nan, np.float32)
    samples.overlap_add(x, tail, out)
    assert out.tolist() == [0.75, 1.0]
    assert tail.tolist() == [2.0]


def test_what_is_next_to_nothing_is_nothing() -> None:
    """Subnormal numbers slow a CPU down, in the middle of silence."""
    bad, out = sanitize(np.array([1e-40, -1e-38, 9e-31, 2e-30, -0.0, 1e-3], np.float32))
    assert bad == 0
    np.testing.assert_array_equal(out, np.array([0, 0, 0, 2e-30, 0, 1e-3], np.float32))
