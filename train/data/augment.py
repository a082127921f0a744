"""Augmentation of crops: microphone, room, noise, band limits and formants."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from numpy.typing import NDArray

from train.config import AugmentationConfig
from train.data.fft import fast_length

F32 = NDArray[np.float32]

_POINTS = 10
"""Points of a random microphone's frequency response, evenly spaced in octaves."""
_LOWEST, _HIGHEST = 60.0, 12000.0
_ROOM_BAND = 7600.0
_EARLY = 48
_SIZE, _HOP = 1024, 256
_COEFFICIENTS = 28
"""Coefficients of the cepstrum, 1.2 ms. Detail narrower than 860 Hz belongs to the pitch."""
_FRAMES, _LAGS = 9, 200
"""Frames over which spectra are smoothed, and the longest lag in one, in samples."""
_MAX_GAIN_DB = 24.0


class Acoustics:
    """Room responses and noise of a corpus.

    Parameters
    ----------
    folder : Path
        It may hold ``rooms.npz`` (``rooms``: (n, samples) responses at 16 kHz) and ``noise.npy``.
        Without these files no crop gets a room, and the noise is white.
    """

    def __init__(self, folder: Path) -> None:
        rooms, noise = folder / "rooms.npz", folder / "noise.npy"
        self.rooms: list[tuple[F32, F32]] = []
        if rooms.exists():
            with np.load(rooms) as file:
                responses = file["rooms"].astype(np.float32)
            responses /= np.sqrt(np.square(responses).sum(1, keepdims=True))
            self.rooms = [(r, _at_24k(r)) for r in responses]
        self.noise: NDArray[np.int16] | None = (
            np.load(noise, mmap_mode="r") if noise.exists() else None
        )

    def noise_like(self, signal: F32, random: np.random.Generator) -> F32:
        """Return noise of a signal's length with an RMS of 1."""
        n = signal.size
        noise = random.standard_normal(n, dtype=np.float32)
        if self.noise is not None and random.random() < 0.7:
            at = int(random.integers(0, len(self.noise) - n))
            noise = self.noise[at : at + n].astype(np.float32)
        rms = np.sqrt(np.mean(np.square(noise), dtype=np.float64))
        return noise / np.float32(max(rms, 1e-9))


def _at_24k(response: F32) -> F32:
    """Return a response at 24 kHz, delayed by `_EARLY` samples, with its pre-ringing."""
    later = np.concatenate([np.zeros(_EARLY * 2 // 3, np.float32), response])
    resampled: F32 = soxr.resample(later, 16000, 24000)
    return resampled * np.float32(2 / 3)


def filter_crop(
    low: F32,
    high: F32,
    settings: AugmentationConfig,
    acoustics: Acoustics,
    random: np.random.Generator,
) -> tuple[F32, F32, float]:
    """Pass both rates of a crop through the same random microphone, room and band limits.

    Parameters
    ----------
    low, high : numpy.ndarray
        (n,) float32 at 16 kHz and (3n/2,) at 24 kHz.
    settings : AugmentationConfig
        Probabilities and ranges.
    acoustics : Acoustics
        The rooms.
    random : numpy.random.Generator
        Source of all draws.

    Returns
    -------
    low, high : numpy.ndarray
        The filtered crop, of the same shapes.
    band_hz : float
        Highest frequency at which `high` is a valid target. Room responses end at 7.6 kHz. A band
        limit does not lower it: a codec learns that nothing is above the limit.
    """
    microphone = random.random() < settings.microphone_share
    gains = random.uniform(-1, 1, _POINTS) * settings.microphone_db
    rooms = acoustics.rooms
    in_room = rooms and random.random() < settings.room_share
    chosen = rooms[int(random.integers(len(rooms)))] if in_room else None
    highpass = lowpass = edge = 0.0
    if random.random() < settings.highpass_share:
        highpass = _log_uniform(settings.highpass_hz, random)
    if random.random() < settings.lowpass_share:
        lowpass = _log_uniform(settings.lowpass_hz, random)
        edge = _log_uniform(settings.lowpass_edge, random)
    if not (microphone or chosen is not None or highpass or lowpass):
        return low, high, _HIGHEST
    out = []
    for index, (x, rate) in enumerate(((low, 16000), (high, 24000))):
        response = chosen[index] if chosen is not None else np.ones(1, np.float32)
        n = fast_length(x.size + response.size)
        spectrum = np.fft.rfft(x, n) * np.fft.rfft(response, n)
        if microphone:
            spectrum *= _response(gains, n, rate)
        hz = np.arange(n // 2 + 1) * rate / n
        if highpass:
            spectrum *= _rise(hz / highpass)
        if lowpass:
            spectrum *= 1 - _rise(hz / lowpass, edge)
        first = _EARLY if chosen is not None and index == 1 else 0
        out.append(np.fft.irfft(spectrum, n)[first : first + x.size].astype(np.float32))
    return out[0], out[1], _HIGHEST if chosen is None else _ROOM_BAND


def _log_uniform(ends: tuple[float, float], random: np.random.Generator) -> float:
    """Return a number between two, uniform in its logarithm."""
    return float(np.exp(random.uniform(*np.log(ends))))


def _rise(x: NDArray[Any], edge: float = 0.1) -> NDArray[Any]:
    """Return 0 up to 1 - edge / 2, 1 from 1 + edge / 2 on, and half a cosine between."""
    rise: NDArray[Any] = 0.5 - 0.5 * np.cos(np.pi * np.clip((x - 1) / edge + 0.5, 0, 1))
    return rise


def fit_length(sound: F32, n: int) -> F32:
    """Return `n` samples of a sound, cut, or padded with zeros at its end."""
    return np.pad(sound[:n], (0, max(0, n - sound.size)))


def lowpass(sound: F32, rate: int, hz: float) -> F32:
    """Return a sound, (n,) at `rate`, without the band above `hz`."""
    n = fast_length(sound.size)
    spectrum = np.fft.rfft(sound, n) * (1 - _rise(np.arange(n // 2 + 1) * rate / n / hz))
    out: F32 = np.fft.irfft(spectrum, n)[: sound.size].astype(np.float32)
    return out


def shift_formants(sound: F32, factor: float) -> F32:
    """Multiply the frequencies of a sound's formants, at the same pitch.

    Each frame's spectrum X is multiplied by E(f / factor) / E(f), at most 24 dB up or down.
    log E is the envelope of log |X|: the first 1.2 ms of its cepstrum, after smoothing over 0.1 s
    and 120 Hz (A. V. Oppenheim, R. W. Schafer, "Homomorphic analysis of speech", IEEE Trans. Audio
    Electroacoust. 16(2), 1968).

    Parameters
    ----------
    sound : numpy.ndarray
        (n,) float32 at 24 kHz.
    factor : float
        Factor on the frequencies of formants.

    Returns
    -------
    numpy.ndarray
        (n,) float32.
    """
    window = torch.hann_window(_SIZE)
    spectra = torch.stft(torch.from_numpy(sound), _SIZE, _HOP, window=window, return_complex=True)
    # Smoothing comes first: harmonics are narrower than the bins, and would ripple.
    lag = torch.arange(_SIZE)
    ramp = (1 - torch.minimum(lag, _SIZE - lag) / _LAGS).clamp(min=0)
    lags = torch.fft.irfft(spectra.abs().square(), dim=0) * ramp[:, None]
    taps = torch.hann_window(_FRAMES + 1)[1:]
    power = torch.nn.functional.conv1d(
        torch.fft.rfft(lags, dim=0).real[:, None], taps[None, None] / taps.sum(), padding="same"
    )[:, 0]
    cepstra = torch.fft.irfft(0.5 * torch.log(power.clamp(min=0) + 1e-10), dim=0)
    cepstra[_COEFFICIENTS : 1 - _COEFFICIENTS] = 0
    envelope = torch.fft.rfft(cepstra, dim=0).real
    position = (torch.arange(_SIZE // 2 + 1) / factor).clamp(max=_SIZE // 2 - 1e-3)
    lower = position.long()
    moved = torch.lerp(envelope[lower], envelope[lower + 1], (position - lower)[:, None])
    limit = _MAX_GAIN_DB / 20 * math.log(10)
    changed = spectra * torch.exp((moved - envelope).clamp(-limit, limit))
    out: F32 = torch.istft(changed, _SIZE, _HOP, window=window, length=sound.size).numpy()
    return out


def _response(gains: NDArray[Any], n: int, rate: int) -> NDArray[Any]:
    """Return a zero-phase response at the bins of a real FFT, mean gain 0 dB."""
    octaves = np.log2(np.clip(np.arange(n // 2 + 1) * rate / n, _LOWEST, _HIGHEST))
    points = np.linspace(np.log2(_LOWEST), np.log2(_HIGHEST), _POINTS)
    response: NDArray[Any] = 10 ** (np.interp(octaves, points, gains - gains.mean()) / 20)
    return response
