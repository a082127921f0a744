"""Mel filterbanks: triangular filters whose edges are equally spaced on a mel scale."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

F64: TypeAlias = NDArray[np.float64]
Scale: TypeAlias = Literal["htk", "slaney"]
Norm: TypeAlias = Literal["sum", "area"]

_BREAK_MEL, _BREAK_HZ = 15.0, 1000.0
_HZ_PER_MEL = 200 / 3
_LOG_STEPS, _LOG_RATIO = 27, 6.4


def mel_edges(low_hz: float, high_hz: float, bands: int, scale: Scale = "htk") -> F64:
    """Return frequencies that are equally spaced in mel.

    The HTK scale is ``mel(f) = 2595 log10(1 + f / 700)`` (O'Shaughnessy, Speech Communication,
    1987). Slaney's scale (Auditory Toolbox, 1998) is linear up to 1 kHz, with 200 / 3 Hz per mel.
    It is logarithmic above, with 27 mel for each factor of 6.4.

    Parameters
    ----------
    low_hz, high_hz : float
        First and last edge in Hz.
    bands : int
        Filters between them.
    scale : {"htk", "slaney"}
        The mel scale.

    Returns
    -------
    numpy.ndarray
        (bands + 2,) float64, in Hz. Band i rises from edge i, peaks at i + 1 and ends at i + 2.
    """
    if scale == "htk":
        low, high = (2595 * np.log10(1 + hz / 700) for hz in (low_hz, high_hz))
        return np.asarray(700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1))
    steps = np.linspace(_slaney(low_hz), _slaney(high_hz), bands + 2)
    exponent = (steps - _BREAK_MEL) / _LOG_STEPS
    linear = steps * 200 / 3
    return np.where(steps < _BREAK_MEL, linear, _BREAK_HZ * _LOG_RATIO**exponent)


def mel_filters(
    bands: int,
    bins_hz: F64,
    low_hz: float,
    high_hz: float,
    *,
    scale: Scale = "htk",
    norm: Norm | None = None,
) -> F64:
    """Return a mel filterbank.

    Parameters
    ----------
    bands : int
        Number of filters.
    bins_hz : numpy.ndarray
        (bins,) float64: the frequency of each bin in Hz.
    low_hz, high_hz : float
        Where the first filter starts and the last one ends, in Hz.
    scale : {"htk", "slaney"}
        The mel scale; see `mel_edges`.
    norm : {"sum", "area"}, optional
        "sum": the weights of each filter sum to 1. "area": each triangle has unit area over Hz.
        Absent: each triangle peaks at 1.

    Returns
    -------
    numpy.ndarray
        (bands, bins) float64, not negative.
    """
    edges = mel_edges(low_hz, high_hz, bands, scale)
    width = np.diff(edges)[:, None]
    rise = (bins_hz - edges[:-2, None]) / width[:-1]
    fall = (edges[2:, None] - bins_hz) / width[1:]
    filters: F64 = np.maximum(0, np.minimum(rise, fall))
    if norm == "sum":
        filters /= np.maximum(filters.sum(1, keepdims=True), 1e-8)
    elif norm == "area":
        filters = filters * 2 / (edges[2:] - edges[:-2])[:, None]
    return filters


def _slaney(hz: float) -> float:
    """Return a frequency in Hz on Slaney's mel scale."""
    if hz < _BREAK_HZ:
        return hz / _HZ_PER_MEL
    return float(_BREAK_MEL + _LOG_STEPS * np.log(hz / _BREAK_HZ) / np.log(_LOG_RATIO))
