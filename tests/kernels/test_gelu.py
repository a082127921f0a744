"""GELU against the formula in float64."""

import math
from collections.abc import Callable

import numpy as np

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.ops import gelu

# Relative to |x|: half of erfc's absolute error, and the last rounding.
TOLERANCE = 3e-7


def test_against_formula(shape: tuple[int, int], normal: Callable[..., F32]) -> None:
    x = 3 * normal(*shape)
    out = np.full(shape, np.nan, np.float32)
    gelu.gelu(x, out)
    wide = x.astype(np.float64)
    expected = wide * (1 + np.vectorize(math.erf)(wide / math.sqrt(2))) / 2
    assert (np.abs(out - expected) <= TOLERANCE * np.abs(wide)).all()


def test_rows_do_not_meet(
    normal: Callable[..., F32], assert_same_bits: Callable[[F32, F32], None]
) -> None:
    x = normal(9, 41)
    together, alone = np.full_like(x, np.nan), np.full_like(x, np.nan)
    gelu.gelu(x, together)
    for m in range(9):
        gelu.gelu(x[m : m + 1], alone[m : m + 1])
    assert_same_bits(alone, together)
