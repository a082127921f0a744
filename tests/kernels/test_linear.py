"""Linear layers and overlapping windows against float64; what may not change a bit.

Every test runs on the plain loops and on every set of instructions that this CPU has.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.gemm import linear, quantized_weights
from fcs_edge.kernels.gemm.quantized_weights import Weight
from fcs_edge.kernels.isa import instructions

F64 = NDArray[np.float64]
# Relative to the largest output: a sum in vector lanes of up to 1024 products.
TOLERANCE = 5e-6
ROWS = (1, 2, 3, 4, 5, 9)
# Around the panels' widths: 4 and 8, 8 and 16 or 24, 16 and 64.
PANELS = (4, 16, 24, 64, 64 + 16 + 3, 129)
STORED: dict[str, Callable[[F32], Weight]] = {
    "f32": lambda weight: weight,
    "f16": lambda weight: weight.astype(np.float16),
    "int8": quantized_weights.quantize_int8,
    "int4": lambda weight: quantized_weights.quantize_int4(weight, 32),
}


@pytest.fixture(params=instructions.available(), autouse=True)
def choice(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let `prepare` choose these kernels."""
    monkeypatch.setattr(instructions, "CHOICE", request.param)
    return str(request.param)


@pytest.fixture(params=STORED)
def stored(request: pytest.FixtureRequest) -> Callable[[F32], Weight]:
    """Turn a float32 weight into what is stored."""
    return STORED[request.param]


def reference(x: F32, step: int, weight: Weight, bias: F32, rows: int) -> F64:
    """Return the product with the activations as the kernel takes them."""
    values = quantized_weights.float32(weight).astype(np.float64)
    depth = values.shape[1]
    windows = np.array([x[m * step : m * step + depth] for m in range(rows)], np.float32)
    if isinstance(weight, quantized_weights.Int8):
        windows = rounded(windows, 2039)
    elif isinstance(weight, quantized_weights.Int4):
        groups = range(0, depth, weight.group)
        parts = [rounded(windows[:, k : k + weight.group], 127) for k in groups]
        windows = np.concatenate(parts, axis=1)
    return windows.astype(np.float64) @ values.T + bias


def rounded(x: F32, limit: int) -> F64:
    top = np.abs(x).max(1, keepdims=True)
    return np.rint(x * (np.float32(limit) / top)) * (top.astype(np.float64) / limit)


def apply(x: F32, step: int, weight: Weight, bias: F32 | None, rows: int) -> F32:
    out = np.full((rows, weight.shape[0]), np.nan, np.float32)
    linear.prepare(weight, bias)(x, step, out)
    return out


@pytest.mark.parametrize("depth", [1, 3, 7, 8, 17, 40, 513, 1024, 1061])
@pytest.mark.parametrize("outputs", [1, 2, 3, 17, *PANELS])
def test_against_formula(
    outputs: int,
    depth: int,
    stored: Callable[[F32], Weight],
    normal: Callable[..., F32],
    assert_near: Callable[[F32, F64, float], None],
) -> None:
    weight, bias = stored(normal(outputs, depth)), normal(outputs)
    product = linear.prepare(weight, bias)
    for rows in (1, 2, 3, 4, 5, 9, 33, 38):
        x = normal(rows * depth)
        out = np.full((rows, outputs), np.nan, np.float32)
        product(x, depth, out)
        assert_near(out, reference(x, depth, weight, bias, rows), TOLERANCE)


@pytest.mark.parametrize("depth", [17, 1061])
@pytest.mark.parametrize("outputs", [1, 5, *PANELS])
def test_a_product_is_activated_or_added_in_place(
    outputs: int,
    depth: int,
    stored: Callable[[F32], Weight],
    normal: Callable[..., F32],
) -> None:
    weight, bias = stored(normal(outputs, depth)), normal(outputs)
    product = linear.prepare(weight, bias)
    for rows in (1, 4, 6, 38):
        x, before = normal(rows * depth), normal(rows, outputs + 3)
        y = reference(x, depth, weight, bias, rows)
        gelu = y * (1 + np.vectorize(math.erf)(y / math.sqrt(2))) / 2
        for epilogue, expected in ((linear.GELU, gelu), (linear.ADD, before[:, 2:-1] + y)):
            out = before.copy()
            product(x, depth, out, 2, epilogue)
            # gelu makes next to nothing of what is far below zero.
            assert np.abs(out[:, 2:-1] - expected).max() <= TOLERANCE * np.abs(y).max()
            np.testing.assert_array_equal(out[:, [0, 1, -1]], before[:, [0, 1, -1]])


def test_integers_are_summed_exactly(stored: Callable[[F32], Weight]) -> None:
    """Whole numbers as activations and weights: every kernel gives the same whole numbers."""
    random = np.random.default_rng(1)
    weight = stored(random.integers(-7, 8, (70, 300)).astype(np.float32))
    limit = 127 if isinstance(weight, quantized_weights.Int4) else 2039
    x = random.integers(-limit, limit + 1, (5, 300)).astype(np.float32)
    x[:, ::32] = limit
    out = apply(x.reshape(-1), 300, weight, None, 5)
    expected = x.astype(np.float64) @ quantized_weights.float32(weight).T.astype(np.float64)
    assert np.abs(out - expected).max() <= 1e-7 * np.abs(expected).max() * 8


@pytest.mark.parametrize("value", [0.0, 1e-38, 1e-30, 1e30])
def test_zeros_and_tiny_and_huge_rows(value: float, stored: Callable[[F32], Weight]) -> None:
    weight = stored(np.ones((5, 40), np.float32))
    out = apply(np.full(80, value, np.float32), 40, weight, np.ones(5, np.float32), 2)
    assert np.allclose(out, 1 + 40 * np.float64(value), rtol=1e-3)


@pytest.mark.parametrize(("depth", "step"), [(10, 5), (33, 1), (24, 8), (7, 6), (3, 5)])
@pytest.mark.parametrize("rows", ROWS)
def test_windows_overlap_or_leave_gaps(
    depth: int,
    step: int,
    rows: int,
    stored: Callable[[F32], Weight],
    normal: Callable[..., F32],
    assert_near: Callable[[F32, F64, float], None],
) -> None:
    weight, bias = stored(normal(5, depth)), normal(5)
    x = normal((rows - 1) * step + depth)
    expected = reference(x, step, weight, bias, rows)
    assert_near(apply(x, step, weight, bias, rows), expected, TOLERANCE)


@pytest.mark.parametrize("outputs", [1, 2, 5, *PANELS])
@pytest.mark.parametrize("column", [0, 1, 4])
def test_only_the_requested_columns_are_written(
    outputs: int, column: int, stored: Callable[[F32], Weight], normal: Callable[..., F32]
) -> None:
    weight, x = stored(normal(outputs, 17)), normal(3 * 17)
    product = linear.prepare(weight, normal(outputs))
    assert (product.outputs, product.depth) == weight.shape
    out = np.full((3, column + outputs + 2), np.nan, np.float32)
    product(x, 17, out, column)
    written = ~np.isnan(out)
    assert written[:, column : column + outputs].all()
    assert written.sum() == 3 * outputs
    alone = np.empty((3, outputs), np.float32)
    product(x, 17, alone)
    np.testing.assert_array_equal(out[:, column : column + outputs], alone)


@pytest.mark.parametrize(
    ("depth", "outputs"),
    [(1, 2), (17, 3), (40, 5), (513, 4), (1024, 7), *((300, n) for n in PANELS)],
)
def test_the_rows_beside_change_no_bit(
    depth: int,
    outputs: int,
    stored: Callable[[F32], Weight],
    normal: Callable[..., F32],
    assert_same_bits: Callable[[F32, F32], None],
) -> None:
    weight, bias, x = stored(normal(outputs, depth)), normal(outputs), normal(9, depth)
    alone = np.concatenate([apply(row, depth, weight, bias, 1) for row in x])
    for rows in ROWS:
        for shift in range(9):
            order = (np.arange(rows) + shift) % 9
            together = apply(x[order].reshape(-1), depth, weight, bias, rows)
            assert_same_bits(together, alone[order])


def test_the_place_in_memory_changes_no_bit(
    normal: Callable[..., F32], assert_same_bits: Callable[[F32, F32], None]
) -> None:
    weight, x = normal(3, 100), normal(100)
    expected = apply(x, 100, weight, None, 1)
    for offset in range(1, 17):
        moved = np.zeros(100 + offset, np.float32)[offset:]
        moved[:] = x
        assert_same_bits(apply(moved, 100, weight, None, 1), expected)


def test_overlapping_windows_have_the_bits_of_copied_ones(
    normal: Callable[..., F32], assert_same_bits: Callable[[F32, F32], None]
) -> None:
    depth, step, rows = 21, 6, 9
    weight, bias, x = normal(4, depth), normal(4), normal((rows - 1) * step + depth)
    copied = np.concatenate([x[m * step : m * step + depth] for m in range(rows)])
    overlapping = apply(x, step, weight, bias, rows)
    assert_same_bits(overlapping, apply(copied, depth, weight, bias, rows))


@pytest.mark.parametrize(("depth", "step"), [(1100, 64), (1100, 128), (200, 64), (130, 96)])
def test_windows_that_share_groups_have_the_bits_of_copied_ones(
    depth: int, step: int, normal: Callable[..., F32], assert_same_bits: Callable[[F32, F32], None]
) -> None:
    weight, x = quantized_weights.quantize_int4(normal(70, depth)), normal(8 * step + depth)
    copied = np.concatenate([x[m * step : m * step + depth] for m in range(9)])
    assert_same_bits(apply(x, step, weight, None, 9), apply(copied, depth, weight, None, 9))


def test_no_bias_is_a_bias_of_zeros(
    normal: Callable[..., F32], assert_same_bits: Callable[[F32, F32], None]
) -> None:
    weight, x = normal(5, 40), normal(4 * 40)
    zeros = np.zeros(5, np.float32)
    assert_same_bits(apply(x, 40, weight, None, 4), apply(x, 40, weight, zeros, 4))


def test_memory_mapped_weight(
    tmp_path: Path, normal: Callable[..., F32], assert_same_bits: Callable[[F32, F32], None]
) -> None:
    weight, bias, x = normal(5, 40), normal(5), normal(4 * 40)
    expected = apply(x, 40, weight, bias, 4)
    weight.tofile(tmp_path / "weight")
    mapped = np.memmap(tmp_path / "weight", np.float32, "r", shape=weight.shape)
    assert_same_bits(apply(x, 40, mapped, bias, 4), expected)


def test_read_only_arrays(
    normal: Callable[..., F32], assert_same_bits: Callable[[F32, F32], None]
) -> None:
    weight, bias, x = normal(5, 40), normal(5), normal(4 * 40)
    expected = apply(x, 40, weight, bias, 4)
    weight.flags.writeable = bias.flags.writeable = False
    assert_same_bits(apply(x, 40, weight, bias, 4), expected)


def test_prepare_leaves_the_callers_arrays_writeable(normal: Callable[..., F32]) -> None:
    weight, bias = normal(5, 40), normal(5)
    linear.prepare(weight, bias)
    assert weight.flags.writeable
    assert bias.flags.writeable


def test_the_choice_is_heeded(choice: str, normal: Callable[..., F32]) -> None:
    kinds = (linear.PlainLinear,) if choice == "plain" else (linear.PackedLinear,)
    assert type(linear.prepare(normal(5, 40))) in kinds


def test_integer_kernels_agree_to_the_bit_with_plain_loops(
    normal: Callable[..., F32], monkeypatch: pytest.MonkeyPatch, assert_same_bits: Callable
) -> None:
    """Sums of integers are exact, so that tokens do not depend on the instructions."""
    for quantize in (quantized_weights.quantize_int8, quantized_weights.quantize_int4):
        weight, x = quantize(normal(70, 1100)), normal(3 * 1100)
        got = apply(x, 1100, weight, None, 3)
        monkeypatch.setattr(instructions, "CHOICE", "plain")
        # A multiply-add may or may not round in between, where a CPU has none.
        np.testing.assert_allclose(got, apply(x, 1100, weight, None, 3), rtol=0, atol=2e-5)


def test_a_packed_weight_does_not_hold_on_to_its_source(choice: str) -> None:
    if choice == "plain":
        pytest.skip("plain loops use the weight where it lies")
    weight = np.ones((67, 5), np.float32)
    product = linear.prepare(weight)
    out = np.empty((1, 67), np.float32)
    weight[:] = 7
    product(np.ones(5, np.float32), 5, out)
    assert (out == 5).all()
