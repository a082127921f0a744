"""Peaks of a sound's envelope at the rates of a decoder: its tokens, its rows, and twice its rows.

A band-passed sound has the Hilbert envelope e[n] = |analytic signal|. With E[f] the magnitude of
the Fourier transform of e less its mean, over the whole clip without a window:

    peak at r = 20 log10(largest E[f], |f - r| <= 1 Hz / median of E[f], |f - r| <= 15 Hz)

Noise has peaks too, by chance: the largest of some bins is 5 to 8 dB above the median. A longer
clip has more bins and narrower ones, so that its peaks are higher: compare on the same clips. A
voice whose pitch is at such a rate raises its peak: compare with the uncoded clip.
"""

from __future__ import annotations

import numpy as np

from train.evaluation.metrics import F32, F64, RATE, Metric, Scores
from train.evaluation.periodicity import FLOOR_DB, TARGET

RATES = (50, 100, 200)
"""In Hz: tokens, rows, and twice the rows."""

NEAR_HZ, AROUND_HZ = 1.0, 15.0
"""How far from a rate its peak may be, and the bins of the median."""

SHORTEST = RATE
"""Samples of the shortest sound that is measured: its bins are 1 Hz apart."""


def key(rate: int) -> str:
    """Return the name of a peak in results."""
    return f"envelope_{rate}hz"


PEAKS = tuple(Metric(key(rate), f"peak {rate} Hz, dB", -1, 1, (0, np.nan)) for rate in RATES)
"""The metrics of a clip."""


def band_envelope(sound: F32, low: float, high: float) -> F64:
    """Return the Hilbert envelope of a band, in Hz, of a sound at `RATE`; both (samples,)."""
    # Twice the samples: nothing of the end comes round to the start.
    size = 2 * sound.size
    spectrum = np.fft.fft(sound.astype(np.float64), size)
    hertz = np.fft.fftfreq(size, 1 / RATE)
    analytic = np.fft.ifft(np.where((hertz >= low) & (hertz < high), 2 * spectrum, 0))
    return np.asarray(np.abs(analytic[: sound.size]))


def envelope_peaks(sound: F32) -> Scores:
    """Return the peaks of the envelope from 2 to 4 kHz.

    Parameters
    ----------
    sound : ndarray of float32, shape (samples,)
        Decoded speech at `RATE`.

    Returns
    -------
    dict
        In dB, by `key`; None where the sound is under a second, or its band under `FLOOR_DB`.
    """
    none: Scores = dict.fromkeys(map(key, RATES))
    if sound.size < SHORTEST:
        return none
    envelope = band_envelope(sound, *TARGET)
    # The mean square of a sound is half of that of its envelope.
    if np.square(envelope).mean() / 2 < 10 ** (FLOOR_DB / 10):
        return none
    magnitude = np.abs(np.fft.rfft(envelope - envelope.mean()))
    hertz = np.fft.rfftfreq(envelope.size, 1 / RATE)
    return {key(rate): _peak(np.abs(hertz - rate), magnitude) for rate in RATES}


def _peak(distance: F64, magnitude: F64) -> float | None:
    largest = float(magnitude[distance <= NEAR_HZ].max())
    median = float(np.median(magnitude[distance <= AROUND_HZ]))
    return 20 * float(np.log10(largest / median)) if median else None
