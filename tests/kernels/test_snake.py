"""Snake against float64."""

from collections.abc import Callable

import numpy as np
import pytest

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.ops import snake

# sin_squared's own error, and the rounding of its argument, of the size of a few radians.
TOLERANCE = 1e-6


def test_against_formula(shape: tuple[int, int], normal: Callable[..., F32]) -> None:
    x = 2 * normal(*shape)
    alpha = np.exp(normal(shape[1]) / 2)
    inverse = np.float32(1) / (alpha + np.float32(1e-9))
    out = np.full(shape, np.nan, np.float32)
    snake.snake(x, alpha, inverse, out)
    wide = x.astype(np.float64)
    expected = wide + np.sin(alpha * wide) ** 2 / (alpha.astype(np.float64) + 1e-9)
    assert (np.abs(out - expected) <= TOLERANCE * (np.abs(wide) + inverse)).all()


@pytest.mark.parametrize("alpha", [0.0, 1e-6])
def test_vanishing_alpha_leaves_x(alpha: float, normal: Callable[..., F32]) -> None:
    x = normal(2, 9)
    alphas = np.full(9, alpha, np.float32)
    inverse = np.float32(1) / (alphas + np.float32(1e-9))
    out = np.full_like(x, np.nan)
    snake.snake(x, alphas, inverse, out)
    np.testing.assert_allclose(out, x, atol=10 * alpha)


def test_rows_do_not_meet(
    normal: Callable[..., F32], assert_same_bits: Callable[[F32, F32], None]
) -> None:
    x, alpha, inverse = normal(9, 41), normal(41), normal(41)
    together, alone = np.full_like(x, np.nan), np.full_like(x, np.nan)
    snake.snake(x, alpha, inverse, together)
    for m in range(9):
        snake.snake(x[m : m + 1], alpha, inverse, alone[m : m + 1])
    assert_same_bits(alone, together)
