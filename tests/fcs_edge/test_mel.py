"""The mel filterbank, against each formula written out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge.mel import Norm, Scale, mel_edges, mel_filters
from fcs_edge.model import code_search


def reference_edges(low_hz: float, high_hz: float, bands: int) -> NDArray[np.float64]:
    """Return the HTK edges, as code search and training first computed them."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (low_hz, high_hz))
    return 700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1)


@pytest.mark.parametrize("bands", [1, 12, 40, 48])
def test_code_search_has_the_bits_of_its_formula(bands: int) -> None:
    """Tokens of every stored file depend on these filters."""
    edges = reference_edges(60.0, 7600.0, bands)
    at = 31.25 * np.arange(257)
    rise = (at - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - at) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0, np.minimum(rise, fall))
    expected = filters / filters.sum(1, keepdims=True)
    np.testing.assert_array_equal(code_search.band_filters(bands, 257, 31.25), expected)


@pytest.mark.parametrize(("size", "bands"), [(256, 24), (1024, 100), (1024, 80)])
@pytest.mark.parametrize("norm", ["sum", None])
def test_triangles_have_the_bits_of_their_formula(size: int, bands: int, norm: Norm | None) -> None:
    edges, bins = reference_edges(0, 12000, bands), np.linspace(0, 12000, size // 2 + 1)
    at, width = bins[:, None], np.diff(edges)
    sides = np.minimum((at - edges[:-2]) / width[:-1], (edges[2:] - at) / width[1:])
    expected = np.maximum(sides, 0)
    if norm:
        expected /= np.maximum(expected.sum(0), 1e-8)
    filters = mel_filters(bands, bins, 0, 12000, norm=norm)
    np.testing.assert_array_equal(filters.T.astype(np.float32), expected.astype(np.float32))


def test_slaney_has_the_bits_of_whispers_formula() -> None:
    top = 15 + 27 * np.log(16000 / 2000) / np.log(6.4)
    steps = np.linspace(0, top, 82)
    edges = np.where(steps < 15, steps * 200 / 3, 1000 * 6.4 ** ((steps - 15) / 27))
    bins = np.linspace(0, 8000, 201)
    at, width = bins[:, None], np.diff(edges)
    sides = np.minimum((at - edges[:-2]) / width[:-1], (edges[2:] - at) / width[1:])
    expected = np.maximum(sides, 0) * 2 / (edges[2:] - edges[:-2])
    filters = mel_filters(80, bins, 0, 8000, scale="slaney", norm="area")
    np.testing.assert_array_equal(filters.astype(np.float32), expected.T.astype(np.float32))


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize("high_hz", [900, 1000, 4000])
def test_edges_span_the_range(scale: Scale, high_hz: float) -> None:
    edges = mel_edges(200, high_hz, 5, scale)
    np.testing.assert_allclose(edges[[0, -1]], (200, high_hz))
    assert (np.diff(edges) > 0).all()


def test_slaneys_scale_is_linear_then_logarithmic() -> None:
    edges = mel_edges(0, 6400, 41, "slaney")
    np.testing.assert_allclose(np.diff(edges[:16]), 200 / 3)
    np.testing.assert_allclose(edges[16:] / edges[15:-1], 6.4 ** (1 / 27))
