"""The steps around the inverse transforms of Vocos against float64."""

from collections.abc import Callable

import numpy as np
import pytest

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.ops import vocos

SHAPES = [(1, 4, 1), (3, 62, 15), (7, 64, 62), (5, 10, 9), (9, 1024, 320), (4, 12, 3), (2, 30, 29)]
"""Rows, size of a transform, hop."""


@pytest.mark.parametrize("bins", [1, 2, 7, 8, 33, 513])
def test_spectra(bins: int, normal: Callable[..., F32]) -> None:
    x = np.concatenate([2 * normal(5, bins), 20 * normal(5, bins)], 1)
    x[0, 0], x[1, 0], x[2, -1] = 200, -200, 9999
    out = np.full_like(x, np.nan)
    vocos.spectra(x, out)
    wide = x.astype(np.float64)
    magnitude = np.minimum(np.exp(wide[:, :bins]), 100)
    phase = wide[:, bins:]
    assert (np.abs(out[:, :bins] - magnitude * np.cos(phase)) < 1e-6 * magnitude + 1e-30).all()
    assert (np.abs(out[:, bins:] - magnitude * np.sin(phase)) < 1e-6 * magnitude + 1e-30).all()


@pytest.mark.parametrize(("rows", "size", "hop"), SHAPES)
def test_overlap_add_and_envelope(
    rows: int, size: int, hop: int, normal: Callable[..., F32]
) -> None:
    x, window = normal(rows, size), 0.1 + np.abs(normal(size))
    length = (rows - 1) * hop + size
    total, envelope = np.zeros(length), np.zeros(length)
    for t in range(rows):
        total[t * hop : t * hop + size] += window.astype(np.float64) * x[t]
        envelope[t * hop : t * hop + size] += window.astype(np.float64) ** 2
    out = np.zeros(length, np.float32)
    cut = rows // 2
    vocos.overlap_add(x[:cut], window, 0, hop, out)
    vocos.overlap_add(x[cut:], window, cut, hop, out)
    assert np.abs(out - total).max() < 1e-6 * np.abs(total).max()
    vocos.divide_by_envelope(out, window, rows, hop, np.full(hop, np.nan, np.float32))
    expected = total / envelope
    assert np.abs(out - expected).max() < 2e-6 * np.abs(expected).max()


def test_overlap_add_in_blocks_has_the_same_bits(
    normal: Callable[..., F32], assert_same_bits: Callable[[F32, F32], None]
) -> None:
    x, window = normal(11, 64), normal(64)
    whole, parts = np.zeros(10 * 15 + 64, np.float32), np.zeros(10 * 15 + 64, np.float32)
    vocos.overlap_add(x, window, 0, 15, whole)
    for start, stop in ((0, 1), (1, 4), (4, 11)):
        vocos.overlap_add(x[start:stop], window, start, 15, parts)
    assert_same_bits(parts, whole)


@pytest.mark.parametrize(("rows", "hop"), [(1, 1), (4, 5), (3, 17)])
def test_last_columns(
    rows: int,
    hop: int,
    normal: Callable[..., F32],
    assert_same_bits: Callable[[F32, F32], None],
) -> None:
    x, out = normal(rows, 17), np.full(rows * hop, np.nan, np.float32)
    vocos.last_columns(x, out)
    assert_same_bits(out, x[:, 17 - hop :].reshape(-1))
