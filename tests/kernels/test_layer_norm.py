"""Layer normalisation against float64."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.ops import layer_norm

F64 = NDArray[np.float64]
EPS = np.float32(1e-5)
# A few roundings of an element; those of mean and variance average out.
TOLERANCE = 1e-6


def reference(x: F32, weight: F32, bias: F32, eps: float) -> F64:
    wide = x.astype(np.float64)
    centred = wide - wide.mean(1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(1, keepdims=True) + eps)
    return centred / deviation * weight + bias


@pytest.mark.parametrize("eps", [1e-5, 1e-6])
def test_against_formula(
    shape: tuple[int, int],
    eps: float,
    normal: Callable[..., F32],
    assert_near: Callable[[F32, F64, float], None],
) -> None:
    x, weight, bias = normal(*shape), normal(shape[1]), normal(shape[1])
    out = np.full(shape, np.nan, np.float32)
    layer_norm.layer_norm(x, weight, bias, np.float32(eps), out)
    assert_near(out, reference(x, weight, bias, eps), TOLERANCE)


def test_activated(
    shape: tuple[int, int],
    normal: Callable[..., F32],
    assert_near: Callable[[F32, F64, float], None],
) -> None:
    x, weight, bias = normal(*shape), normal(shape[1]), normal(shape[1])
    out = np.full(shape, np.nan, np.float32)
    layer_norm.layer_norm_gelu(x, weight, bias, EPS, out)
    y = reference(x, weight, bias, 1e-5)
    assert_near(out, y * (1 + np.vectorize(math.erf)(y / math.sqrt(2))) / 2, TOLERANCE)


def test_large_mean_does_not_drown_the_variance(
    normal: Callable[..., F32], assert_near: Callable[[F32, F64, float], None]
) -> None:
    mean = 1000
    x = normal(3, 513) + np.float32(mean)
    weight, bias = np.ones(513, np.float32), np.zeros(513, np.float32)
    out = np.full_like(x, np.nan)
    layer_norm.layer_norm(x, weight, bias, EPS, out)
    # The mean itself is rounded: by 1000 / 2**24 and a little more.
    assert_near(out, reference(x, weight, bias, 1e-5), mean * 2**-22)


def test_rows_do_not_meet(
    normal: Callable[..., F32], assert_same_bits: Callable[[F32, F32], None]
) -> None:
    x, weight, bias = normal(9, 41), normal(41), normal(41)
    together, alone = np.full_like(x, np.nan), np.full_like(x, np.nan)
    for kernel in (layer_norm.layer_norm, layer_norm.layer_norm_gelu):
        kernel(x, weight, bias, EPS, together)
        for m in range(9):
            kernel(x[m : m + 1], weight, bias, EPS, alone[m : m + 1])
        assert_same_bits(alone, together)


def test_silence_gives_the_bias(normal: Callable[..., F32]) -> None:
    bias = normal(17)
    out = np.full((2, 17), np.nan, np.float32)
    layer_norm.layer_norm(np.zeros((2, 17), np.float32), normal(17), bias, EPS, out)
    np.testing.assert_array_equal(out, np.stack([bias, bias]))
