"""Cut, level and resample recordings, and change the voice in them."""

from __future__ import annotations

import numpy as np
import pyworld
import soxr
from numpy.typing import NDArray

from train.data.pcm import Floats

RATE = 24000
PEAK = 0.8
_BLOCK = 240
_LOUD = 10 ** (-45 / 20)
_LEAD_BLOCKS = 6
_TRAIL_BLOCKS = 10
_FADE = 120


def clean(sound: NDArray[np.floating], rate: int) -> Floats | None:
    """Trim, resample and level one utterance, or refuse it.

    Parameters
    ----------
    sound : ndarray of float, shape (n,)
        Mono, full scale 1.
    rate : int
        Its samples a second.

    Returns
    -------
    ndarray of float32, shape (m,), or None
        At 24 kHz with its peak at 0.8: silence is cut to 60 ms before and 100 ms after, and
        the ends fade over 5 ms. None where it is shorter than 0.3 s or longer than 28 s, nearly
        silent, clipped, or not finite.
    """
    if len(sound) < rate * 0.3 or not np.isfinite(sound).all() or clipped(sound):
        return None
    centred = np.asarray(sound, np.float32) - np.float32(np.mean(sound))
    wide: Floats = soxr.resample(centred, rate, RATE, quality="VHQ")
    peak = float(np.abs(wide).max())
    if peak < 0.02:
        return None
    cut = trim(wide)
    if not RATE * 0.3 <= len(cut) <= RATE * 28:
        return None
    levelled: Floats = cut * np.float32(PEAK / np.abs(cut).max())
    slope = np.linspace(0, 1, _FADE, dtype=np.float32)
    levelled[:_FADE] *= slope
    levelled[-_FADE:] *= slope[::-1]
    return levelled


def clipped(sound: NDArray[np.floating]) -> bool:
    """Return whether more than one sample in a thousand has the largest magnitude (clipping)."""
    size = np.abs(sound)
    return bool(np.mean(size >= 0.999 * size.max()) > 1e-3)


def trim(sound: Floats) -> Floats:
    """Return a copy without the ends that are 45 dB below the loudest 10 ms, at 24 kHz."""
    whole = len(sound) // _BLOCK
    blocks = sound[: whole * _BLOCK].reshape(whole, _BLOCK)
    level = np.sqrt(np.mean(blocks.astype(np.float64) ** 2, axis=1))
    loud = np.flatnonzero(level > _LOUD * level.max())
    first = max(0, int(loud[0]) - _LEAD_BLOCKS) * _BLOCK
    last = min(whole, int(loud[-1]) + 1 + _TRAIL_BLOCKS) * _BLOCK
    trimmed: Floats = sound[first:last].copy()
    return trimmed


def speed_up(sound: Floats, ratio: float) -> Floats:
    """Return a sound `ratio` times as fast. Pitch, formants and speed change by it."""
    played: Floats = soxr.resample(sound, RATE, RATE / ratio, quality="VHQ")
    return played


def revoice(sound: Floats, pitch: float, formant: float) -> Floats:
    """Change pitch and formants independently, at the same speed.

    Parameters
    ----------
    sound : ndarray of float32, shape (n,)
        24 kHz.
    pitch, formant : float
        Factors on the fundamental and on the frequency axis of the spectral envelope.

    Returns
    -------
    ndarray of float32, shape (about n,)

    Notes
    -----
    The WORLD vocoder: M. Morise, F. Yokomori, K. Ozawa, "WORLD: a vocoder-based high-quality
    speech synthesis system for real-time applications", IEICE Trans. E99-D(7), 2016.
    """
    wave = sound.astype(np.float64)
    f0, times = pyworld.harvest(wave, RATE, f0_floor=60.0, f0_ceil=500.0)
    envelope = pyworld.cheaptrick(wave, f0, times, RATE)
    aperiodicity = pyworld.d4c(wave, f0, times, RATE)
    moved = np.exp(_stretch(np.log(envelope), formant))
    spoken = pyworld.synthesize(f0 * pitch, moved, _stretch(aperiodicity, formant), RATE)
    return np.asarray(spoken, np.float32)


def _stretch(rows: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Read each row (one frame's bins) at 1/factor of the bin, by linear interpolation."""
    last = rows.shape[1] - 1
    place = np.clip(np.arange(last + 1) / factor, 0, last)
    low = np.floor(place).astype(np.intp)
    high = np.minimum(low + 1, last)
    share = place - low
    return np.ascontiguousarray((1 - share) * rows[:, low] + share * rows[:, high])
