"""What happens to sound between a mouth and a codec: level, microphone, room, noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from numpy.typing import NDArray

F32 = NDArray[np.float32]

_POINTS = 10
"""Of a random microphone's frequency response, evenly spaced in octaves."""
_LOWEST, _HIGHEST = 60.0, 12000.0
_ROOM_BAND = 7600.0
_EARLY = 48
_SIZE, _HOP = 1024, 256
_COEFFICIENTS = 28
"""Of the cepstrum, 1.2 ms: what changes within less than 860 Hz is pitch."""
_FRAMES, _LAGS = 9, 200
"""Over how many frames spectra are smoothed, and the longest lag left in one, in samples."""
_MOST_DB = 24.0


@dataclass(frozen=True)
class Augmentation:
    """How often and how far; the keys of ``[data.augmentation]``."""

    level_db: tuple[float, float] = (-24.0, 0.0)
    quiet_share: float = 0.1
    quiet_db: float = -16.0
    """Added to the level of so many crops."""
    microphone_share: float = 0.35
    microphone_db: float = 5.0
    room_share: float = 0.25
    noise_share: float = 0.4
    noise_snr_db: tuple[float, float] = (8.0, 35.0)
    rate_share: float = 0.5
    """For other speakers: played faster or slower."""
    rate: tuple[float, float] = (0.84, 1.2)
    mouth_share: float = 0.0
    """For other speakers still: formants moved, and pitch not."""
    mouth: tuple[float, float] = (0.85, 1.18)
    """By what formants are multiplied."""
    narrow_share: float = 0.0
    narrow_hz: tuple[float, float] = (3400.0, 7500.0)
    """Where the band of so many crops ends."""
    narrow_edge: tuple[float, float] = (0.1, 0.1)
    """How wide its edge is, of that frequency."""
    thin_share: float = 0.0
    thin_hz: tuple[float, float] = (80.0, 350.0)
    """Where the band of so many begins."""
    spoilt_share: float = 0.0
    """So many are heard as MP3 of a low rate left them (`spoilt.py`)."""


class Surroundings:
    """Rooms and noises of a corpus.

    Parameters
    ----------
    folder : Path
        Where ``rooms.npz`` (``rooms``: (n, samples) responses at 16 kHz) and ``noise.npy`` are;
        without them there are no rooms, and the noise is white.
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
    """Return a response at 24 kHz, `_EARLY` samples late: what rings before its start is kept."""
    later = np.concatenate([np.zeros(_EARLY * 2 // 3, np.float32), response])
    resampled: F32 = soxr.resample(later, 16000, 24000)
    return resampled * np.float32(2 / 3)


def coloured(
    low: F32, high: F32, settings: Augmentation, rooms: Surroundings, random: np.random.Generator
) -> tuple[F32, F32, float]:
    """Pass both rates' sound through one random microphone, room and band.

    Parameters
    ----------
    low, high : numpy.ndarray
        (n,) float32 at 16 kHz and (3n/2,) at 24 kHz.
    settings : Augmentation
        How often.
    rooms : Surroundings
        The rooms.
    random : numpy.random.Generator
        What chooses.

    Returns
    -------
    low, high : numpy.ndarray
        As they were given.
    band_hz : float
        Up to where `high` is to be trusted still: rooms are known up to 7.6 kHz. That nothing is
        above the end of its band is to be learnt as well.
    """
    microphone = random.random() < settings.microphone_share
    gains = random.uniform(-1, 1, _POINTS) * settings.microphone_db
    room = rooms.rooms and random.random() < settings.room_share
    chosen = rooms.rooms[int(random.integers(len(rooms.rooms)))] if room else None
    thin = _between(settings.thin_hz, random) if random.random() < settings.thin_share else 0.0
    narrow = edge = 0.0
    if random.random() < settings.narrow_share:
        narrow, edge = _between(settings.narrow_hz, random), _between(settings.narrow_edge, random)
    if not (microphone or chosen is not None or thin or narrow):
        return low, high, _HIGHEST
    out = []
    for index, (x, rate) in enumerate(((low, 16000), (high, 24000))):
        response = chosen[index] if chosen is not None else np.ones(1, np.float32)
        n = _fast_length(x.size + response.size)
        spectrum = np.fft.rfft(x, n) * np.fft.rfft(response, n)
        if microphone:
            spectrum *= _response(gains, n, rate)
        hz = np.arange(n // 2 + 1) * rate / n
        if thin:
            spectrum *= _rise(hz / thin)
        if narrow:
            spectrum *= 1 - _rise(hz / narrow, edge)
        first = _EARLY if chosen is not None and index == 1 else 0
        out.append(np.fft.irfft(spectrum, n)[first : first + x.size].astype(np.float32))
    return out[0], out[1], _HIGHEST if chosen is None else _ROOM_BAND


def _between(ends: tuple[float, float], random: np.random.Generator) -> float:
    """Return a number between two, as often in each octave."""
    return float(np.exp(random.uniform(*np.log(ends))))


def _rise(x: NDArray[Any], edge: float = 0.1) -> NDArray[Any]:
    """Return 0 up to 1 - edge / 2, 1 from 1 + edge / 2 on, and half a cosine between."""
    rise: NDArray[Any] = 0.5 - 0.5 * np.cos(np.pi * np.clip((x - 1) / edge + 0.5, 0, 1))
    return rise


def as_long(sound: F32, n: int) -> F32:
    """Return `n` samples of a sound, the last of them silence where it has less."""
    return np.pad(sound[:n], (0, max(0, n - sound.size)))


def cut(sound: F32, rate: int, hz: float) -> F32:
    """Return a sound, (n,) at `rate`, without what is above `hz`."""
    n = _fast_length(sound.size)
    spectrum = np.fft.rfft(sound, n) * (1 - _rise(np.arange(n // 2 + 1) * rate / n / hz))
    out: F32 = np.fft.irfft(spectrum, n)[: sound.size].astype(np.float32)
    return out


def other_mouth(sound: F32, factor: float) -> F32:
    """Multiply the frequencies of a sound's formants, and not its pitch.

    Each frame's spectrum X is multiplied by E(f / factor) / E(f), at most 24 dB either way; log E
    is what the first 1.2 ms of the cepstrum hold of log |X|, smoothed over 0.1 s and 120 Hz
    (A. V. Oppenheim, R. W. Schafer, "Homomorphic analysis of speech", IEEE Trans. Audio
    Electroacoust. 16(2), 1968).

    Parameters
    ----------
    sound : numpy.ndarray
        (n,) float32 at 24 kHz.
    factor : float
        On the frequencies of formants.

    Returns
    -------
    numpy.ndarray
        (n,) float32.
    """
    window = torch.hann_window(_SIZE)
    spectra = torch.stft(torch.from_numpy(sound), _SIZE, _HOP, window=window, return_complex=True)
    # Smoothed over neighbours first: harmonics are too sharp for these bins, and would ripple.
    lag = torch.arange(_SIZE)
    ramp = (1 - torch.minimum(lag, _SIZE - lag) / _LAGS).clamp(min=0)
    lags = torch.fft.irfft(spectra.abs().square(), dim=0) * ramp[:, None]
    near = torch.hann_window(_FRAMES + 1)[1:]
    power = torch.nn.functional.conv1d(
        torch.fft.rfft(lags, dim=0).real[:, None], near[None, None] / near.sum(), padding="same"
    )[:, 0]
    cepstra = torch.fft.irfft(0.5 * torch.log(power.clamp(min=0) + 1e-10), dim=0)
    cepstra[_COEFFICIENTS : 1 - _COEFFICIENTS] = 0
    envelope = torch.fft.rfft(cepstra, dim=0).real
    place = (torch.arange(_SIZE // 2 + 1) / factor).clamp(max=_SIZE // 2 - 1e-3)
    before = place.long()
    moved = torch.lerp(envelope[before], envelope[before + 1], (place - before)[:, None])
    most = _MOST_DB / 20 * math.log(10)
    changed = spectra * torch.exp((moved - envelope).clamp(-most, most))
    out: F32 = torch.istft(changed, _SIZE, _HOP, window=window, length=sound.size).numpy()
    return out


def _fast_length(n: int) -> int:
    """Return the smallest 2^a 3^b that is at least n: FFTs of other lengths are slow."""
    powers = (3**b * 2 ** max(0, math.ceil(math.log2(n / 3**b))) for b in range(6))
    return min(powers)


def _response(gains: NDArray[Any], n: int, rate: int) -> NDArray[Any]:
    """Return a zero-phase response at the bins of a real FFT, mean gain 0 dB."""
    octaves = np.log2(np.clip(np.arange(n // 2 + 1) * rate / n, _LOWEST, _HIGHEST))
    points = np.linspace(np.log2(_LOWEST), np.log2(_HIGHEST), _POINTS)
    response: NDArray[Any] = 10 ** (np.interp(octaves, points, gains - gains.mean()) / 20)
    return response
