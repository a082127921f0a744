"""Linear layers and overlapping windows against float64; what may not change a bit.

Every test runs on the plain loops and on the packed weights.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge.kernels import linear
from fcs_edge.kernels._types import F32

F64 = NDArray[np.float64]
# Relative to the largest output: a sum in vector lanes of up to 1024 products.
TOLERANCE = 2e-6
ROWS = (1, 2, 3, 4, 5, 9)
PANELS = (linear.NARROW, linear.WIDE, linear.WIDE + linear.NARROW + 3, 2 * linear.WIDE + 1)


@pytest.fixture(params=["plain", "simd"], autouse=True)
def choice(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let `prepare` choose these kernels."""
    monkeypatch.setattr(linear, "CHOICE", request.param)
    return str(request.param)


def reference(x: F32, step: int, weight: F32, bias: F32, rows: int) -> F64:
    depth = weight.shape[1]
    windows = np.array([x[m * step : m * step + depth] for m in range(rows)], np.float64)
    return windows @ weight.T.astype(np.float64) + bias


def apply(x: F32, step: int, weight: F32, bias: F32 | None, rows: int) -> F32:
    out = np.full((rows, weight.shape[0]), np.nan, np.float32)
    linear.prepare(weight, bias)(x, step, out)
    return out


@pytest.mark.parametrize("depth", [1, 3, 7, 8, 17, 40, 513, 1024])
@pytest.mark.parametrize("outputs", [1, 2, 3, 8, 17, *PANELS])
def test_against_formula(
    outputs: int,
    depth: int,
    normal: Callable[..., F32],
    assert_near: Callable[[F32, F64, float], None],
) -> None:
    weight, bias = normal(outputs, depth), normal(outputs)
    for rows in range(1, 10):
        x = normal(rows * depth)
        expected = reference(x, depth, weight, bias, rows)
        assert_near(apply(x, depth, weight, bias, rows), expected, TOLERANCE)


@pytest.mark.parametrize(("depth", "step"), [(10, 5), (33, 1), (24, 8), (7, 6), (3, 5)])
@pytest.mark.parametrize("rows", ROWS)
def test_windows_overlap_or_leave_gaps(
    depth: int,
    step: int,
    rows: int,
    normal: Callable[..., F32],
    assert_near: Callable[[F32, F64, float], None],
) -> None:
    weight, bias = normal(5, depth), normal(5)
    x = normal((rows - 1) * step + depth)
    expected = reference(x, step, weight, bias, rows)
    assert_near(apply(x, step, weight, bias, rows), expected, TOLERANCE)


@pytest.mark.parametrize("outputs", [1, 2, 5, *PANELS])
@pytest.mark.parametrize("column", [0, 1, 4])
def test_only_the_columns_asked_for_are_written(
    outputs: int, column: int, normal: Callable[..., F32]
) -> None:
    weight, x = normal(outputs, 17), normal(3 * 17)
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
    normal: Callable[..., F32],
    assert_same_bits: Callable[[F32, F32], None],
) -> None:
    weight, bias, x = normal(outputs, depth), normal(outputs), normal(9, depth)
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
    kinds = {"plain": linear.PlainLinear, "simd": linear.PackedLinear}
    assert type(linear.prepare(normal(5, 40))) is kinds[choice]


@pytest.mark.parametrize("width", [1, 4, 6])
def test_packing(width: int, normal: Callable[..., F32]) -> None:
    weight = normal(12, 5)
    packed = linear.pack(weight, width)
    assert packed.flags.c_contiguous
    assert not packed.flags.writeable
    for p in range(12 // width):
        for k in range(5):
            for n in range(width):
                assert packed[p, k, n] == weight[p * width + n, k]


def test_a_packed_weight_does_not_hold_on_to_its_source(choice: str) -> None:
    if choice == "plain":
        pytest.skip("plain loops use the weight where it lies")
    weight = np.ones((linear.WIDE + 3, 5), np.float32)
    product = linear.prepare(weight)
    out = np.empty((1, linear.WIDE + 3), np.float32)
    weight[:] = 7
    product(np.ones(5, np.float32), 5, out)
    assert (out == 5).all()
