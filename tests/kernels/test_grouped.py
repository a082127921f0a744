"""Products of 8-bit weights with 8-bit activations in groups: the formula, its bounds, equal bits.

Every test runs on the plain loops and on every set of instructions that this CPU has.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.gemm import linear, quantized_weights
from fcs_edge.kernels.gemm.packing import GROUP
from fcs_edge.kernels.gemm.quantized_weights import Int8
from fcs_edge.kernels.isa import instructions

F64 = NDArray[np.float64]
TOLERANCE = 5e-6
"""Relative to the largest output: sums of groups in float32."""


@pytest.fixture(params=instructions.available(), autouse=True)
def choice(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let `prepare` choose these kernels."""
    monkeypatch.setattr(instructions, "CHOICE", request.param)
    return str(request.param)


def quantized(weight: F32) -> Int8:
    return dataclasses.replace(quantized_weights.quantize_int8(weight), activation_bits=8)


def product(weight: Int8, bias: F32, x: F32, epilogue: int = linear.WRITE) -> F32:
    out = np.full((x.shape[0], weight.shape[0]), 0.5, np.float32)
    linear.prepare(weight, bias)(x.reshape(-1), x.shape[1], out, 0, epilogue)
    return out


def rounded(x: F32) -> F64:
    """Return a group's activations, (rows, at most `GROUP`), as the kernels take them."""
    width = np.maximum(x.max(1), 0) + np.maximum(-x.min(1), 0)
    inverse = np.divide(np.float32(253), width, out=np.zeros_like(width), where=width > 1e-30)
    step = (width / np.float32(253)).astype(np.float64)
    return np.rint(x * inverse[:, None]) * step[:, None]


def reference(weight: Int8, bias: F32, x: F32) -> F64:
    groups = [rounded(x[:, k : k + GROUP]) for k in range(0, x.shape[1], GROUP)]
    return np.concatenate(groups, 1) @ weight.float32().astype(np.float64).T + bias


@pytest.mark.parametrize("depth", [1, 7, 33, 127, 128, 129, 1024, 1061, 2304])
@pytest.mark.parametrize("outputs", [1, 3, 4, 16, 19, 35, 67])
def test_against_formula(
    outputs: int,
    depth: int,
    normal: Callable[..., F32],
    assert_near: Callable[[F32, F64, float], None],
) -> None:
    weight, bias = quantized(normal(outputs, depth)), 10 * normal(outputs)
    for rows in (1, 3, 4, 6, 37):
        # Groups of both signs, of one sign, and all zeros.
        x = normal(rows, depth) + np.float32(0.3)
        x[:, 128:200] = np.abs(x[:, 128:200])
        x[::2, 256:384] = 0
        assert_near(product(weight, bias, x), reference(weight, bias, x), TOLERANCE)


@pytest.mark.parametrize("outputs", [3, 35])
def test_a_product_is_activated_or_added_in_place(outputs: int, normal: Callable[..., F32]) -> None:
    weight, bias, x = quantized(normal(outputs, 300)), normal(outputs), normal(6, 300)
    y = reference(weight, bias, x)
    gelu = y * (1 + np.vectorize(math.erf)(y / math.sqrt(2))) / 2
    for epilogue, expected in ((linear.GELU, gelu), (linear.ADD, 0.5 + y)):
        got = product(weight, bias, x, epilogue)
        assert np.abs(got - expected).max() <= TOLERANCE * np.abs(y).max()


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("signs", ["same", "opposite", "mixed"])
def test_the_largest_sums_are_exact(sign: int, signs: str) -> None:
    """All weights 127 or -127, all activations at an end of their range: no sum may overflow."""
    x = np.full((5, 300), np.float32(253 * sign))
    if signs == "mixed":
        x[:, ::3] = -x[:, ::3] / 2
    values = np.full((37, 300), 127, np.int8)
    values[1::2] = -127
    if signs == "opposite":
        values[:, 1::2] *= -1
    weight = Int8(values, np.ones(37, np.float32), 8)
    # Where all activations of a row are of one sign the step is 1, and all sums are whole.
    x64 = np.concatenate([rounded(x[:, k : k + GROUP]) for k in range(0, 300, GROUP)], 1)
    expected = x64 @ values.T.astype(np.float64)
    got = product(weight, np.zeros(37, np.float32), x)
    if signs == "mixed":
        np.testing.assert_allclose(got, expected, rtol=1e-6)
    else:
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-38, 1e-30, 1e30, -1e30])
def test_zeros_and_tiny_and_huge_rows(value: float) -> None:
    weight = quantized(np.ones((5, 40), np.float32))
    out = product(weight, np.ones(5, np.float32), np.full((2, 40), value, np.float32))
    assert np.allclose(out, 1 + 40 * np.float64(value), rtol=1e-3)


@pytest.mark.parametrize(("depth", "outputs"), [(17, 3), (300, 35), (1061, 7)])
def test_the_rows_beside_change_no_bit(
    depth: int,
    outputs: int,
    normal: Callable[..., F32],
    assert_same_bits: Callable[[F32, F32], None],
) -> None:
    weight, bias, x = quantized(normal(outputs, depth)), normal(outputs), normal(9, depth)
    alone = np.concatenate([product(weight, bias, row[None]) for row in x])
    for rows in (2, 4, 5, 9):
        assert_same_bits(product(weight, bias, x[:rows]), alone[:rows])


def test_overlapping_windows_have_the_bits_of_copied_ones(
    normal: Callable[..., F32], assert_same_bits: Callable[[F32, F32], None]
) -> None:
    weight, bias, x = quantized(normal(4, 150)), normal(4), normal(5 * 60 + 150)
    copied = np.stack([x[m * 60 : m * 60 + 150] for m in range(6)])
    out = np.empty((6, 4), np.float32)
    linear.prepare(weight, bias)(x, 60, out)
    assert_same_bits(out, product(weight, bias, copied))


@pytest.mark.parametrize("outputs", [1, 5, 16, 35, 67])
@pytest.mark.parametrize("depth", [129, 1061])
def test_all_instructions_give_the_same_bits(
    outputs: int,
    depth: int,
    normal: Callable[..., F32],
    monkeypatch: pytest.MonkeyPatch,
    assert_same_bits: Callable[[F32, F32], None],
) -> None:
    weight, bias, x = quantized(normal(outputs, depth)), normal(outputs), normal(6, depth)
    got = product(weight, bias, x)
    for name in instructions.available():
        monkeypatch.setattr(instructions, "CHOICE", name)
        assert_same_bits(product(weight, bias, x), got)


def test_some_outputs_of_a_weight_multiply_the_same_activations(
    normal: Callable[..., F32], assert_same_bits: Callable[[F32, F32], None]
) -> None:
    weight, bias, x = quantized(normal(40, 200)), normal(40), normal(4, 200)
    part = quantized_weights.rows(weight, 10, 31)
    assert_same_bits(product(part, bias[10:31], x), product(weight, bias, x)[:, 10:31])
