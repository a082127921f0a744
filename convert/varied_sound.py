"""Varies speech: speed, room, tilt, band, noise and level, so that a prior meets more of each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fcs_edge.model.layers import F32
from fcs_edge.modelfile.config import SAMPLE_RATE_IN

F64 = NDArray[np.float64]

_SPEEDS = (0.8, 1.3)
_ROOM_SHARE = 0.3
_DECAYS = (0.1, 0.6)
"""Seconds in which a room's sound falls by 60 dB."""
_DIRECT_DB = (0.0, 15.0)
"""Level of the direct sound above that of the room."""
_TILTS_DB = (-3.0, 3.0)
"""An octave."""
_NARROW_SHARE = 0.1
_BANDS_HZ = (3000.0, 7000.0)
_NOISE_SHARE = 0.35
_NOISE_DB = (5.0, 40.0)
"""Level of the speech above that of the noise."""
_LEVELS_DB = (-24.0, -1.0)
_SOFTEST = 1e-6


def random_speed(rng: np.random.Generator) -> float:
    """Return how many times as fast a sound is to be played: pitch and formants move with it."""
    low, high = np.log(_SPEEDS)
    return float(np.exp(rng.uniform(low, high)))


def varied(sound: F32, rng: np.random.Generator) -> F32:
    """Return a sound as another room or microphone could make it.

    Parameters
    ----------
    sound : ndarray of float32, shape (n,)
        Mono, 16 kHz.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (n,)
    """
    if not len(sound):
        return sound
    shaped = _shaped(np.asarray(sound, np.float64), rng)
    if rng.random() < _NOISE_SHARE:
        level = 10 ** (-rng.uniform(*_NOISE_DB) / 20) * np.sqrt(np.mean(shaped**2))
        shaped += level * _noise(len(shaped), rng)
    peak = max(float(np.abs(shaped).max()), _SOFTEST)
    return np.asarray(shaped * (10 ** (rng.uniform(*_LEVELS_DB) / 20) / peak), np.float32)


def _shaped(sound: F64, rng: np.random.Generator) -> F64:
    """Filter a sound by a random tilt and, at times, by a narrower band and a room."""
    size = _fast_length(len(sound) + SAMPLE_RATE_IN)
    frequency = np.fft.rfftfreq(size, 1 / SAMPLE_RATE_IN)
    octaves = np.log2(np.maximum(frequency, 60.0) / 1000)
    gain = 10 ** (rng.uniform(*_TILTS_DB) * octaves / 20)
    if rng.random() < _NARROW_SHARE:
        gain /= 1 + (frequency / rng.uniform(*_BANDS_HZ)) ** 16
    spectrum = np.fft.rfft(sound, size) * gain
    if rng.random() < _ROOM_SHARE:
        spectrum *= np.fft.rfft(_room(rng), size)
    return np.fft.irfft(spectrum, size)[: len(sound)]


def _room(rng: np.random.Generator) -> F64:
    """Return an impulse response: the direct sound, then noise that decays."""
    decay = float(rng.uniform(*_DECAYS))
    time = np.arange(int(decay * SAMPLE_RATE_IN)) / SAMPLE_RATE_IN
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / decay)
    tail[: int(rng.uniform(0.002, 0.01) * SAMPLE_RATE_IN)] = 0
    tail *= 10 ** (-rng.uniform(*_DIRECT_DB) / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1
    return tail


def _noise(size: int, rng: np.random.Generator) -> F64:
    """Return noise of RMS 1 whose power falls as 1 / frequency ** slope above 50 Hz."""
    length = _fast_length(size)
    frequency = np.fft.rfftfreq(length, 1 / SAMPLE_RATE_IN)
    slope = rng.uniform(0, 2)
    shape = np.maximum(frequency, 50.0) ** (-slope / 2) * (frequency > 0)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(length)) * shape, length)[:size]
    return noise / max(float(np.std(noise)), _SOFTEST)


def _fast_length(size: int) -> int:
    """Return a length of at least `size` that the FFT is fast at: 2, 3, 4, 5, 6 or 7 x 2 ** n."""
    power = 1 << max(0, size.bit_length() - 3)
    return -(-size // power) * power
