"""Dynamic tanh against float64."""

from collections.abc import Callable

import numpy as np
import pytest

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.ops import dynamic_tanh

# Relative: tanh's own 3e-7, and the rounding of alpha * x, which tanh never makes larger.
TOLERANCE = 3.6e-7


@pytest.mark.parametrize("alpha", [0.5, -1.75, 20, 0])
def test_against_formula(shape: tuple[int, int], alpha: float, normal: Callable[..., F32]) -> None:
    x = normal(*shape)
    out = np.full(shape, np.nan, np.float32)
    dynamic_tanh.dynamic_tanh(x, np.float32(alpha), out)
    expected = np.tanh(alpha * x.astype(np.float64))
    assert (np.abs(out - expected) <= TOLERANCE * np.abs(expected)).all()


def test_rows_do_not_meet(
    normal: Callable[..., F32], assert_same_bits: Callable[[F32, F32], None]
) -> None:
    x, alpha = normal(9, 41), np.float32(0.75)
    together, alone = np.full_like(x, np.nan), np.full_like(x, np.nan)
    dynamic_tanh.dynamic_tanh(x, alpha, together)
    for m in range(9):
        dynamic_tanh.dynamic_tanh(x[m : m + 1], alpha, alone[m : m + 1])
    assert_same_bits(alone, together)
