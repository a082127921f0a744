"""The emitted inner loops against float64, for row counts, vector widths and weight types."""

import numba
import numpy as np
import pytest

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.gemm import panels
from fcs_edge.kernels.isa import instructions


@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
@pytest.mark.parametrize("vectors", [1, 3])
def test_float_panel(rows: int, lanes: int, vectors: int) -> None:
    width = lanes * vectors

    @numba.njit
    def call(x: F32, weight: F32, depth: int, out: F32) -> None:
        inputs = panels.Rows(panels.pointer(x, 3), 5)
        panel = panels.Rows(panels.pointer(weight, 2), width + 1)
        to = panels.Rows(panels.pointer(out, 1), width + 4)
        panels.float_panel(rows, lanes, vectors, inputs, panel, depth, to)

    random = np.random.default_rng(rows * 100 + lanes + vectors)
    for depth in (0, 1, 2, 17, 64):
        x = random.standard_normal(3 + rows * 5 + depth).astype(np.float32)
        weight = random.standard_normal(2 + depth * (width + 1)).astype(np.float32)
        out = random.standard_normal(1 + rows * (width + 4)).astype(np.float32)
        expected = out.astype(np.float64)
        for m in range(rows):
            for n in range(width):
                for k in range(depth):
                    product = np.float64(x[3 + m * 5 + k]) * weight[2 + k * (width + 1) + n]
                    expected[1 + m * (width + 4) + n] += product
        call(x, weight, depth, out)
        # 64 products of unit variance, rounded one after the other.
        assert np.abs(out - expected).max() < 2e-5


@pytest.mark.skipif(not instructions.supported()[0].half, reason="float16 cannot be widened here")
@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_every_float16_is_widened_as_numpy_does(lanes: int) -> None:
    halves = np.arange(1 << 16, dtype=np.uint16)
    halves = halves[np.isfinite(halves.view(np.float16))]
    halves = halves[: halves.size // lanes * lanes]

    @numba.njit
    def call(x: F32, weight: np.ndarray, out: F32) -> None:
        for n in range(0, out.size, lanes):
            inputs = panels.Rows(panels.pointer(x, 0), 0)
            panel = panels.Rows(panels.pointer(weight, n), 0)
            panels.float_panel(
                1, lanes, 1, inputs, panel, 1, panels.Rows(panels.pointer(out, n), 0)
            )

    out = np.zeros(halves.size, np.float32)
    call(np.ones(1, np.float32), halves, out)
    np.testing.assert_array_equal(out, halves.view(np.float16).astype(np.float32))


def test_stacks_are_memory_of_their_own() -> None:
    @numba.njit
    def call() -> int:
        a = numba.carray(panels.stack(np.int16, 33), 33)
        b = numba.carray(panels.stack(np.int16, 33), 33)
        total = 0
        for i in range(33):
            a[i] = i
            b[i] = -1
        for i in range(33):
            total += a[i]
        return total

    assert call() == 33 * 32 // 2
