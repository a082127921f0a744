"""Samples of 16 bits: from floats and back, and at another rate."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Samples = NDArray[np.int16]

FULL_SCALE = 32767.0


def to_int16(sound: Floats, rng: np.random.Generator) -> Samples:
    """Round to 16 bits with triangular dither, so that silence is not digital zero."""
    dither = rng.random(len(sound), dtype=np.float32) - rng.random(len(sound), dtype=np.float32)
    return np.clip(np.round(sound * FULL_SCALE + dither), -32768, 32767).astype(np.int16)


def to_float(samples: Samples) -> Floats:
    """Scale 16-bit samples to full scale 1."""
    sound: Floats = samples.astype(np.float32) / np.float32(FULL_SCALE)
    return sound


def rerated(samples: Samples, rate: int, to: int, rng: np.random.Generator) -> Samples:
    """Resample whole frames of 20 ms to whole frames, sample for sample aligned, with dither.

    Parameters
    ----------
    samples : ndarray of int16, shape (n,)
    rate, to : int
        Samples a second: of these, and of what is returned.
    rng : numpy.random.Generator
        Of the dither.
    """
    sound = soxr.resample(to_float(samples), rate, to, quality="VHQ")
    exact = np.zeros(len(samples) * 50 // rate * to // 50, np.float32)
    exact[: len(sound)] = sound[: len(exact)]
    return to_int16(exact, rng)
