"""The emitted inner loop against float64, for every row count and vector width."""

import numba
import numpy as np
import pytest

from fcs_edge.kernels import simd
from fcs_edge.kernels._types import F32


@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
@pytest.mark.parametrize("vectors", [1, 3])
def test_panel_product(rows: int, lanes: int, vectors: int) -> None:
    product = simd.panel_product(rows, lanes, vectors)
    width = lanes * vectors

    @numba.njit
    def call(x: F32, weight: F32, depth: int, out: F32) -> None:
        product(x, 3, 5, weight, 2, depth, out, 1, width + 4)

    random = np.random.default_rng(rows * 100 + lanes + vectors)
    for depth in (0, 1, 2, 17, 64):
        x = random.standard_normal(3 + rows * 5 + depth).astype(np.float32)
        weight = random.standard_normal(2 + depth * width).astype(np.float32)
        out = random.standard_normal(1 + rows * (width + 4)).astype(np.float32)
        wanted = out.astype(np.float64)
        for m in range(rows):
            for n in range(width):
                for k in range(depth):
                    product_mn = np.float64(x[3 + m * 5 + k]) * weight[2 + k * width + n]
                    wanted[1 + m * (width + 4) + n] += product_mn
        call(x, weight, depth, out)
        # 64 products of unit variance, rounded one after the other.
        assert np.abs(out - wanted).max() < 2e-5


def test_lanes_are_those_of_a_register() -> None:
    assert simd.host_lanes() in (4, 8, 16)
