"""The share of a sound's energy that repeats at a decoder's row rate, band by band.

A band-passed sound is cut into windows of K = 10 periods of P samples. With s[k, p] sample p of a
window's period k:

    share = sum over windows of K * sum_p (mean_k s[k, p])^2 / sum over windows of sum_kp s[k, p]^2

Exact repetition gives 1, chance 1 / K. The mean over periods is the time-domain average of
McFadden (1987); the share is the energy that it retains. At the period of the control no decoder
repeats itself. A voice whose pitch is near the row rate raises the share too: compare with the
uncoded clip.
"""

from __future__ import annotations

import numpy as np

from train.data.fft import fast_length
from train.evaluation.metrics import F32, F64, RATE, Metric, Scores

BANDS = ((300, 1000), (1000, 2000), (2000, 3000), (3000, 4000), (4000, 5000), (5000, 6000))
"""Bands, in Hz."""

TARGET = (2000, 4000)
"""The band of the one figure that models are compared by, in Hz."""

ROW_MS, CONTROL_MS, TWICE_MS = 10.0, 10.5, 20.0
"""A row of the decoder, a period at which nothing repeats, and two rows."""

PERIODS = 10
"""Periods of a window; chance is one over this."""

FLOOR_DB = -60.0
"""Windows of a band below this mean square, in dB of full scale, do not count."""


def key(band: tuple[int, int], milliseconds: float) -> str:
    """Return the name of a share in results."""
    return f"periodic_{band[0]}_{band[1]}_{milliseconds:g}ms"


def _metric(band: tuple[int, int], milliseconds: float) -> Metric:
    better = 0 if milliseconds == CONTROL_MS else -1
    name = f"{band[0] / 1000:g}-{band[1] / 1000:g} kHz, {milliseconds:g} ms"
    return Metric(key(band, milliseconds), name, better, 3, (0, np.nan))


SHARES = tuple(
    _metric(band, ms) for band in (TARGET, *BANDS) for ms in (ROW_MS, CONTROL_MS, TWICE_MS)
)
"""The metrics: each band at each period."""


def periodic_share(band: F64, period: int) -> float | None:
    """Return the share of energy that repeats every `period` samples.

    Parameters
    ----------
    band : ndarray of float64, shape (samples,)
        A band of a sound.
    period : int
        Samples of a period.

    Returns
    -------
    float or None
        From 0 to 1. None where no window is complete and above `FLOOR_DB`.
    """
    count = band.size // (period * PERIODS)
    windows = band[: count * period * PERIODS].reshape(count, PERIODS, period)
    energy = np.square(windows).sum(axis=(1, 2))
    repeated = PERIODS * np.square(windows.mean(axis=1)).sum(axis=1)
    loud = energy >= 10 ** (FLOOR_DB / 10) * period * PERIODS
    total = float(energy[loud].sum())
    return float(repeated[loud].sum()) / total if total else None


def periodicity(sound: F32) -> Scores:
    """Return the share of each band at each period.

    Parameters
    ----------
    sound : ndarray of float32, shape (samples,)
        Decoded speech at `RATE`, from its first sample.

    Returns
    -------
    dict
        By `key`; None where a band is too short or too quiet.
    """
    size = fast_length(sound.size)
    spectrum = np.fft.rfft(sound.astype(np.float64), size)
    hertz = np.fft.rfftfreq(size, 1 / RATE)
    shares: Scores = {}
    for low, high in (TARGET, *BANDS):
        inside = np.where((hertz >= low) & (hertz < high), spectrum, 0)
        band = np.fft.irfft(inside, size)[: sound.size]
        for ms in (ROW_MS, CONTROL_MS, TWICE_MS):
            shares[key((low, high), ms)] = periodic_share(band, round(ms * RATE / 1000))
    return shares
