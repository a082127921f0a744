"""Depthwise convolution over a ring: against float64, and to the bit at every phase."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge.kernels import depthwise, ring
from fcs_edge.kernels._types import F32

F64 = NDArray[np.float64]
# Relative to the largest output: up to 33 products summed in order.
TOLERANCE = 1e-6
TAPS = (1, 2, 7, 33)


def reference(past: F32, weight: F32, bias: F32) -> F64:
    taps = weight.shape[0]
    rows = past.shape[0] - (taps - 1)
    out = np.tile(bias.astype(np.float64), (rows, 1))
    for t in range(rows):
        for j in range(taps):
            out[t] += weight[j].astype(np.float64) * past[t + j]
    return out


def convolve(past: F32, weight: F32, bias: F32, size: int, oldest: int) -> F32:
    """Convolve rows that lie in a ring of `size` from slot `oldest` on, all else NaN."""
    taps, channels = weight.shape
    buffer = np.full((size, channels), np.nan, np.float32)
    buffer[(oldest + np.arange(past.shape[0])) % size] = past
    out = np.full((past.shape[0] - (taps - 1), channels), np.nan, np.float32)
    depthwise.depthwise(buffer, (oldest + taps - 1) % size, weight, bias, out)
    return out


@pytest.mark.parametrize("taps", TAPS)
def test_against_formula(
    shape: tuple[int, int],
    taps: int,
    normal: Callable[..., F32],
    assert_near: Callable[[F32, F64, float], None],
) -> None:
    rows, channels = shape
    past = normal(taps - 1 + rows, channels)
    weight, bias = normal(taps, channels), normal(channels)
    out = convolve(past, weight, bias, len(past), 0)
    assert_near(out, reference(past, weight, bias), TOLERANCE)


@pytest.mark.parametrize("spare", [0, 1, 5])
@pytest.mark.parametrize("rows", [1, 3, 4])
@pytest.mark.parametrize("taps", TAPS)
def test_wrapping_changes_no_bit(
    taps: int,
    rows: int,
    spare: int,
    normal: Callable[..., F32],
    assert_same_bits: Callable[[F32, F32], None],
) -> None:
    past = normal(taps - 1 + rows, 19)
    weight, bias = normal(taps, 19), normal(19)
    unwrapped = convolve(past, weight, bias, len(past), 0)
    size = len(past) + spare
    for oldest in range(size):
        assert_same_bits(convolve(past, weight, bias, size, oldest), unwrapped)


@pytest.mark.parametrize("pieces", [[23], [1] * 23, [4, 4, 4, 4, 4, 3], [2, 5, 1, 7, 8]])
@pytest.mark.parametrize("taps", TAPS)
def test_cutting_the_rows_into_calls_changes_no_bit(
    taps: int,
    pieces: list[int],
    normal: Callable[..., F32],
    assert_same_bits: Callable[[F32, F32], None],
) -> None:
    x, weight, bias = normal(sum(pieces), 19), normal(taps, 19), normal(19)
    silence = np.zeros((taps - 1, 19), np.float32)
    past = np.concatenate([silence, x])
    buffer = np.zeros((taps - 1 + max(pieces), 19), np.float32)
    out = np.full_like(x, np.nan)
    slot = 0
    for start, stop in pairwise(np.cumsum([0, *pieces])):
        ring.write(x[start:stop], buffer, slot)
        depthwise.depthwise(buffer, slot, weight, bias, out[start:stop])
        slot = (slot + stop - start) % len(buffer)
    assert_same_bits(out, convolve(past, weight, bias, len(past), 0))
