"""Resampling against its formula in float64."""

from collections.abc import Callable

import numpy as np
import pytest

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.ops import resample


@pytest.mark.parametrize("n", [1, 2, 7, 160])
@pytest.mark.parametrize("step", [1, 3, 441])
def test_against_formula(
    n: int, step: int, normal: Callable[..., F32], assert_same_bits: Callable[[F32, F32], None]
) -> None:
    for taps in (1, 2, 5, 38):
        filters, out = normal(n, taps), np.full(23, np.nan, np.float32)
        phase = 5 % n
        x = normal((phase + 22 * step) // n + taps)
        resample.resample(x, filters, step, phase, out)
        expected = np.zeros(23)
        for i in range(23):
            start, p = divmod(phase + i * step, n)
            for k in range(taps):
                expected[i] += float(filters[p, k]) * float(x[start + k])
        assert_same_bits(out, expected.astype(np.float32))


def test_pieces_equal_the_whole(
    normal: Callable[..., F32], assert_same_bits: Callable[[F32, F32], None]
) -> None:
    filters, x = normal(160, 36), normal(200)
    whole = np.full(50, np.nan, np.float32)
    resample.resample(x, filters, 441, 0, whole)
    start, phase = divmod(17 * 441, 160)
    rest = np.full(33, np.nan, np.float32)
    resample.resample(x[start:], filters, 441, phase, rest)
    assert_same_bits(rest, whole[17:])
    resample.resample(x, filters, 441, 0, rest[:0])
    assert_same_bits(rest, whole[17:])
