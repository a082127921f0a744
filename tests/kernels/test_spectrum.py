"""Spectra of windows against NumPy's, and bands against their formula."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.ops import spectrum
from fcs_edge.kernels.ops.spectrum_panels import transform
from fcs_edge.model.code_search import ranges, reversed_bits, roots


@pytest.mark.parametrize("size", [2, 4, 32, 512])
def test_transform_against_numpy(size: int) -> None:
    @numba.njit
    def transformed(work: F32, roots: F32) -> None:
        transform(3, work, roots)

    random = np.random.default_rng(size)
    x = random.standard_normal((size, 2, 3)).astype(np.float32)
    work = np.zeros((size, 2, 3), np.float32)
    work[reversed_bits(size)] = x
    transformed(work, roots(size))
    expected = np.fft.fft(x[:, 0] + 1j * x[:, 1].astype(np.float64), axis=0)
    np.testing.assert_allclose(work[:, 0] + 1j * work[:, 1], expected, atol=1e-6 * size**0.5 * 4)


@pytest.mark.parametrize(
    ("rows", "hop", "size", "bands"),
    [(1, 3, 8, 2), (5, 7, 32, 6), (2, 160, 512, 40), (8, 32, 32, 3), (19, 5, 16, 4)],
)
def test_log_bands_against_formula(rows: int, hop: int, size: int, bands: int) -> None:
    random = np.random.default_rng(rows)
    samples = random.standard_normal(size + (rows - 1) * hop).astype(np.float32)
    window = random.random(size, dtype=np.float32)
    filters = random.random((bands, size // 2 + 1), dtype=np.float32)
    filters[0] = 0
    filters[-1, :2] = 0
    past = size - hop
    buffer = np.full(size + (rows + 1) * hop, np.nan, np.float32)
    buffer[:past] = samples[:past]
    out = np.full((rows, bands), np.nan, np.float32)
    work = np.full((size, 2, spectrum.LANES), np.nan, np.float32)
    tables = window, reversed_bits(size), roots(size), filters, ranges(filters.astype(np.float64))
    numbers = np.float32(0.01), np.float32(-6)
    spectrum.log_bands()(samples[past:], hop, *tables, *numbers, buffer, work, out)
    np.testing.assert_array_equal(buffer[:past], samples[samples.size - past :])
    for m in range(rows):
        part = samples[m * hop : m * hop + size].astype(np.float64) * window
        power = np.abs(np.fft.rfft(part)) ** 2
        expected = 0.5 * np.log(filters.astype(np.float64) @ power + 1e-4) + 6
        np.testing.assert_allclose(out[m], expected, atol=2e-5)
