"""Sums of 4-bit weights, exact to the bit: largest values, every size of group, odd shapes.

Activations and scales are such that a product is a whole number below 2**24: no rounding hides a
sum that left its integers.
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.gemm import linear
from fcs_edge.kernels.gemm.quantized_weights import Int4
from fcs_edge.kernels.isa import instructions

GROUPS = (32, 64, 128, 256, 512, 1024)


@pytest.fixture(params=instructions.available(), autouse=True)
def choice(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `prepare` choose these kernels."""
    monkeypatch.setattr(instructions, "CHOICE", request.param)


def stored(values: NDArray[np.int8], group: int) -> Int4:
    """Return weights (outputs, depth) from -8 to 7 with scales of 1."""
    outputs, depth = values.shape
    padded = np.zeros((outputs, depth + depth % 2), np.int8)
    padded[:, :depth] = values
    nibbles = (padded & 15).astype(np.uint8)
    scale = np.ones((outputs, -(-depth // group)), np.float16)
    return Int4(nibbles[:, 0::2] | nibbles[:, 1::2] << 4, scale, depth, group)


def product(x: F32, weight: Int4) -> F32:
    rows, depth = x.shape
    out = np.full((rows, weight.shape[0]), np.nan, np.float32)
    linear.prepare(weight)(x.reshape(-1), depth, out)
    return out


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("activation", [127, -127])
@pytest.mark.parametrize("value", [-8, 7])
def test_the_largest_sums_are_exact(value: int, activation: int, group: int) -> None:
    for depth in (1024, 2048 + 32 + 5):
        weight = stored(np.full((7, depth), value, np.int8), group)
        for rows in (1, 5):
            out = product(np.full((rows, depth), activation, np.float32), weight)
            assert (out == value * activation * depth).all()


@pytest.mark.parametrize("group", GROUPS)
def test_any_sums_are_exact(group: int) -> None:
    random = np.random.default_rng(group)
    for outputs in (1, 3, 4, 18, 35, 66):
        for depth in (1, 31, 65, 96, 352, 1100):
            values = random.integers(-8, 8, (outputs, depth)).astype(np.int8)
            x = random.integers(-127, 128, (5, depth)).astype(np.float32)
            # The largest of a group is 127: its scale is 1.
            x[:, ::group] = 127
            expected = x @ values.T.astype(np.float32)
            np.testing.assert_array_equal(product(x, stored(values, group)), expected)
            np.testing.assert_array_equal(product(x[:1], stored(values, group)), expected[:1])
