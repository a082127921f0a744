"""Noise beside the features of a row: a hash of the row's number and the channel."""

from collections.abc import Callable

import numpy as np
import pytest
from reference_layers import seeded_noise

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.ops import noise

ROWS = 1 << 32


def appended(x: F32, n_past: int, channels: int, first: int) -> tuple[F32, int]:
    """Return the buffer after the rows of x, and the number of the next row."""
    rows, columns = x.shape
    number = np.array([first])
    buffer = np.full((1, n_past + rows + 1, columns + channels), 7, np.float32)
    noise.append(x, n_past, number, buffer)
    return buffer[0], int(number[0])


@pytest.mark.parametrize("channels", [1, 2, 7, 16, 33, 64])
@pytest.mark.parametrize("columns", [1, 17])
@pytest.mark.parametrize(("rows", "n_past"), [(1, 0), (3, 6), (16, 2)])
@pytest.mark.parametrize("first", [0, 1, 1 << 28, (1 << 31) - 2, ROWS - 2])
def test_rows_and_their_noise(
    channels: int, columns: int, rows: int, n_past: int, first: int, normal: Callable[..., F32]
) -> None:
    """Also where the number of a row, or its place, is past 2^32."""
    x = normal(rows, columns)
    buffer, following = appended(x, n_past, channels, first)
    assert following == (first + rows) % ROWS
    np.testing.assert_array_equal(buffer[n_past : n_past + rows, :columns], x)
    expected = seeded_noise(rows, channels, first).astype(np.float32)
    np.testing.assert_array_equal(buffer[n_past : n_past + rows, columns:], expected)
    assert (np.delete(buffer, slice(n_past, n_past + rows), 0) == 7).all()


def test_known_values() -> None:
    """Those of the hash's upper 24 bits; no rounding changes them."""
    buffer, _ = appended(np.zeros((2, 1), np.float32), 0, 2, 0)
    upper = (buffer[:2, 1:].ravel() + 1.0) * 2**23
    assert upper.tolist() == [9620015, 9871609, 11813403, 15565278]


def test_no_rows_change_nothing(normal: Callable[..., F32]) -> None:
    buffer, following = appended(normal(0, 3), 4, 5, 9)
    assert following == 9
    assert (buffer == 7).all()


def test_noise_is_like_white_noise() -> None:
    """Uniform from -1 to 1, the columns and the rows that follow each other unrelated."""
    buffer, _ = appended(np.zeros((20000, 1), np.float32), 0, 16, 0)
    drawn = buffer[:-1, 1:].astype(np.float64)
    assert drawn.min() >= -1
    assert drawn.max() < 1
    assert abs(drawn.mean()) < 0.005
    assert abs((drawn**2).mean() - 1 / 3) < 0.005
    columns = np.corrcoef(drawn.T) - np.eye(16)
    rows = [np.corrcoef(drawn[:-lag].ravel(), drawn[lag:].ravel())[0, 1] for lag in (1, 2, 4, 8)]
    assert abs(columns).max() < 0.03
    assert max(map(abs, rows)) < 0.01
