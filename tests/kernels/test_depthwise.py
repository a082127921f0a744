"""Depthwise convolution over a ring: against float64, and to the bit at every phase.

Every test runs on the plain loops and on every set of instructions that this CPU has.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge.kernels._types import F16, F32
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.ops import depthwise

F64 = NDArray[np.float64]
# Relative to the largest output: up to 33 products summed in order.
TOLERANCE = 1e-6
TAPS = (1, 2, 7, 33)
# Around the panels' widths: 8, 16, 32.
CHANNELS = (1, 7, 16, 19, 32, 65)


@pytest.fixture(params=instructions.available(), autouse=True)
def choice(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let `prepare` choose these kernels."""
    monkeypatch.setattr(instructions, "CHOICE", request.param)
    return str(request.param)


def reference(past: F32, weight: F32 | F16, bias: F32) -> F64:
    taps = weight.shape[0]
    rows = past.shape[0] - (taps - 1)
    out = np.tile(bias.astype(np.float64), (rows, 1))
    for t in range(rows):
        for j in range(taps):
            out[t] += weight[j].astype(np.float64) * past[t + j]
    return out


def convolve(past: F32, weight: F32 | F16, bias: F32, size: int, oldest: int, rows: int) -> F32:
    """Convolve the last `rows` of rows that lie in a ring of `size` from slot `oldest` on."""
    taps, channels = weight.shape
    convolution = depthwise.prepare(weight, bias)
    ring = convolution.ring(size - (taps - 1))
    assert ring.shape[1] == size
    ring[:] = np.nan
    cursor = np.array([oldest, 1])
    before = past.shape[0] - rows
    unused = np.zeros((1, channels), np.float32)
    for i in range(before):
        convolution(past[i : i + 1], ring, cursor, unused)
    out = np.full((rows, channels), np.nan, np.float32)
    convolution(past[before:], ring, cursor, out)
    assert cursor.tolist() == [(oldest + past.shape[0]) % size, 1]
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("taps", TAPS)
def test_against_formula(
    taps: int,
    channels: int,
    dtype: type[np.floating],
    normal: Callable[..., F32],
    assert_near: Callable[[F32, F64, float], None],
) -> None:
    weight, bias = normal(taps, channels).astype(dtype), normal(channels)
    for rows in range(1, 10):
        past = normal(taps - 1 + rows, channels)
        out = convolve(past, weight, bias, len(past), 0, rows)
        assert_near(out, reference(past, weight, bias), TOLERANCE)


@pytest.mark.parametrize("channels", CHANNELS)
def test_a_past_in_float16_is_rounded_and_nothing_else(
    channels: int,
    choice: str,
    normal: Callable[..., F32],
    assert_same_bits: Callable[[F32, F32], None],
) -> None:
    weight, bias = normal(7, channels).astype(np.float16), normal(channels)
    halved = depthwise.prepare(weight, bias, half=True)
    exact = depthwise.prepare(weight, bias)
    rings = halved.ring(5), exact.ring(5)
    if choice == "plain":
        assert rings[0].dtype == np.float32
        return
    assert rings[0].dtype == (np.uint16 if instructions.chosen().half else np.float32)
    rounds = np.float16 if instructions.chosen().half else np.float32
    cursors = np.array([0, 0]), np.array([0, 0])
    for rows in (5, 1, 4, 2, 5, 3):
        x = normal(rows, channels)
        out, expected = np.full_like(x, np.nan), np.full_like(x, np.nan)
        halved(x, rings[0], cursors[0], out)
        exact(x.astype(rounds).astype(np.float32), rings[1], cursors[1], expected)
        assert_same_bits(out, expected)


@pytest.mark.parametrize("spare", [0, 1, 5])
@pytest.mark.parametrize("rows", [1, 3, 4, 6])
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
    unwrapped = convolve(past, weight, bias, len(past), 0, rows)
    size = len(past) + spare
    for oldest in range(size):
        assert_same_bits(convolve(past, weight, bias, size, oldest, rows), unwrapped)


@pytest.mark.parametrize("pieces", [[23], [1] * 23, [4, 4, 4, 4, 4, 3], [2, 5, 1, 7, 8]])
@pytest.mark.parametrize("taps", TAPS)
def test_cutting_the_rows_into_calls_changes_no_bit(
    taps: int,
    pieces: list[int],
    normal: Callable[..., F32],
    assert_same_bits: Callable[[F32, F32], None],
) -> None:
    x, weight, bias = normal(sum(pieces), 19), normal(taps, 19), normal(19)
    convolution = depthwise.prepare(weight, bias)
    ring, cursor = convolution.ring(max(pieces)), np.array([0, 0])
    ring[:] = np.nan
    out = np.full_like(x, np.nan)
    for start, stop in pairwise(np.cumsum([0, *pieces])):
        convolution(x[start:stop], ring, cursor, out[start:stop])
    # Where there is no past, it is the first row again and again.
    past = np.concatenate([np.tile(x[0], (taps - 1, 1)), x])
    assert_same_bits(out, convolve(past, weight, bias, len(past), 0, len(x)))
