"""Spectra of windows against NumPy's, and bands against their formula."""

from __future__ import annotations

import numpy as np
import pytest

from fcs_edge.kernels.ops import spectrum
from fcs_edge.model.code_search import reversed_bits, roots


@pytest.mark.parametrize("size", [2, 4, 32, 512])
def test_transform_against_numpy(size: int) -> None:
    random = np.random.default_rng(size)
    x = random.standard_normal((size, 2)).astype(np.float32)
    work = np.zeros((size, 2), np.float32)
    work[reversed_bits(size)] = x
    spectrum.transform(work, roots(size))
    expected = np.fft.fft(x[:, 0] + 1j * x[:, 1].astype(np.float64))
    np.testing.assert_allclose(work[:, 0] + 1j * work[:, 1], expected, atol=1e-6 * size**0.5 * 4)


@pytest.mark.parametrize(
    ("rows", "hop", "size", "bands"), [(1, 3, 8, 2), (5, 7, 32, 6), (2, 160, 512, 40)]
)
def test_log_bands_against_formula(rows: int, hop: int, size: int, bands: int) -> None:
    random = np.random.default_rng(rows)
    samples = random.standard_normal((rows - 1) * hop + size).astype(np.float32)
    window = random.random(size, dtype=np.float32)
    filters = random.random((bands, size // 2 + 1), dtype=np.float32)
    filters[0] = 0
    out = np.full((rows, bands), np.nan, np.float32)
    work = np.full((size, 2), np.nan, np.float32)
    tables = window, reversed_bits(size), roots(size), filters
    spectrum.log_bands(samples, hop, *tables, np.float32(0.01), np.float32(-6), work, out)
    for m in range(rows):
        part = samples[m * hop : m * hop + size].astype(np.float64) * window
        power = np.abs(np.fft.rfft(part)) ** 2
        expected = 0.5 * np.log(filters.astype(np.float64) @ power + 1e-4) + 6
        np.testing.assert_allclose(out[m], expected, atol=2e-5)
