"""Where the band of narrow speech ends, and what a codec adds above it."""

from __future__ import annotations

import numpy as np

from train.evaluation.metrics import (
    F32,
    FLOOR_DB,
    RATE,
    Metric,
    Scores,
    decibels,
    power_spectrum,
)

EDGE_DB = -50.0
"""Share of a clip's energy, in dB, above its band's edge."""

WIDE_HZ = 7000.0
"""A clip is narrow where its band ends below this frequency."""

NARROW = (
    Metric("hiss", "hiss, dB", -1, 1, (FLOOR_DB, np.nan)),
    Metric("mos_in_band", "DistillMOS in band", 1, 2, (1, 5)),
)
"""The metrics of a clip. A clip that is not narrow has no hiss."""


def band_edge(sound: F32, rate: int) -> float | None:
    """Return where the band of a sound ends, if it is narrow.

    The edge is the lowest frequency above which a share of at most `EDGE_DB` of the energy lies, by
    the mean spectrum of the uncoded clip. A gradual end counts as much as an abrupt one. Noise
    above `EDGE_DB` over all of the spectrum hides an edge: the sound is then wide.

    Parameters
    ----------
    sound : ndarray of float32, shape (samples,)
        The uncoded clip, as recorded.
    rate : int
        Its samples a second.

    Returns
    -------
    float or None
        In Hz; None where it is not below `WIDE_HZ`, and for silence.
    """
    hertz, power = power_spectrum(sound, rate)
    above = np.cumsum(power[::-1])[::-1]
    beyond = above <= 10 ** (EDGE_DB / 10) * above[0]
    if not above[0]:
        return None
    edge = float(hertz[int(np.argmax(beyond))]) if beyond.any() else rate / 2
    return edge if edge < WIDE_HZ else None


def hiss(sound: F32, rate: int, edge: float | None) -> Scores:
    """Return the energy of a decoded sound above the band of its original.

    Parameters
    ----------
    sound : ndarray of float32, shape (samples,)
    rate : int
        Its samples a second.
    edge : float, optional
        Where the band of the original ends, in Hz.

    Returns
    -------
    dict
        "hiss": dB relative to the energy below the edge, `FLOOR_DB` at least; None without an edge
        and for silence.
    """
    hertz, power = power_spectrum(sound, rate)
    if edge is None or not power.any():
        return {"hiss": None}
    above = hertz >= edge
    return {"hiss": decibels(float(power[above].sum()), float(power[~above].sum()))}


def low_pass(sound: F32, edge: float | None) -> F32:
    """Return a sound, (samples,) at `RATE`, with all above `edge` Hz set to 0; None is no limit."""
    if edge is None or not sound.size:
        return sound
    spectrum = np.fft.rfft(sound.astype(np.float64))
    spectrum[np.fft.rfftfreq(sound.size, 1 / RATE) >= edge] = 0
    return np.fft.irfft(spectrum, sound.size).astype(np.float32)
