"""Rings and sliding buffers, row by row."""

from collections.abc import Callable

import numpy as np
import pytest

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.ops import history


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_write_wraps_at_every_phase(size: int, normal: Callable[..., F32]) -> None:
    for slot in range(size):
        for rows in range(1, size + 1):
            x, actual = normal(rows, 3), normal(size, 3)
            expected = actual.copy()
            for m in range(rows):
                expected[(slot + m) % size] = x[m]
            history.write(x, actual, slot)
            np.testing.assert_array_equal(actual, expected)


def test_write_takes_any_columns(shape: tuple[int, int], normal: Callable[..., F32]) -> None:
    x = normal(*shape)
    actual = np.zeros_like(x)
    history.write(x, actual, 1 % shape[0])
    np.testing.assert_array_equal(actual, np.roll(x, 1, axis=0))


def test_write_of_no_rows_changes_nothing(normal: Callable[..., F32]) -> None:
    actual = normal(4, 3)
    expected = actual.copy()
    history.write(normal(0, 3), actual, 2)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("n_past", [0, 1, 2, 7, 33])
@pytest.mark.parametrize("rows", [1, 2, 5, 40])
@pytest.mark.parametrize("columns", [1, 7, 40])
def test_keep_last_moves_the_last_rows_to_the_front(
    n_past: int, rows: int, columns: int, normal: Callable[..., F32]
) -> None:
    spare = 2
    buffer = normal(3, n_past + rows + spare, columns)
    expected = buffer.copy()
    expected[:, :n_past] = buffer[:, rows : rows + n_past].copy()
    history.keep_last(buffer, rows, n_past)
    np.testing.assert_array_equal(buffer, expected)


@pytest.mark.parametrize("n_past", [0, 1, 6])
@pytest.mark.parametrize("rows", [1, 2, 9])
@pytest.mark.parametrize("groups", [1, 3])
def test_append_puts_rows_after_the_past(
    n_past: int, rows: int, groups: int, normal: Callable[..., F32]
) -> None:
    x, buffer = normal(rows, groups * 5), normal(groups, n_past + rows + 1, 5)
    split = x.reshape(rows, groups, 5).transpose(1, 0, 2)
    for primed in (1, 0):
        state = np.array([primed])
        expected = buffer.copy()
        expected[:, n_past : n_past + rows] = split
        if not primed:
            expected[:, :n_past] = split[:, :1]
        history.append(x, n_past, state, buffer)
        np.testing.assert_array_equal(buffer, expected)
        assert state.tolist() == [1]


@pytest.mark.parametrize("rows", [0, 1, 3, 4])
def test_copy_fills_up_with_zeros(rows: int, normal: Callable[..., F32]) -> None:
    x, out = normal(rows, 7), normal(4, 7)
    history.copy(x, out)
    np.testing.assert_array_equal(out, np.concatenate([x, np.zeros((4 - rows, 7))]))
