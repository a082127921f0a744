"""Residual connections: one rounding each."""

from collections.abc import Callable

import numpy as np

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.ops import residual

# One or two roundings, by whether the machine has a fused multiply-add.
TOLERANCE = 1.3e-7


def test_add_is_exactly_the_sum(
    shape: tuple[int, int],
    normal: Callable[..., F32],
    assert_same_bits: Callable[[F32, F32], None],
) -> None:
    x, y = normal(*shape), normal(*shape)
    expected, before = x + y, y.copy()
    residual.add(x, y)
    assert_same_bits(x, expected)
    assert_same_bits(y, before)


def test_add_scaled_against_formula(shape: tuple[int, int], normal: Callable[..., F32]) -> None:
    x, y, gamma = normal(*shape), normal(*shape), normal(shape[1])
    term = gamma.astype(np.float64) * y
    expected, size = x + term, np.abs(x) + np.abs(term)
    residual.add_scaled(x, y, gamma)
    assert (np.abs(x - expected) <= TOLERANCE * size).all()
