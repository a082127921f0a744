"""Metrics of coded speech that need no package but NumPy: delay, bands, tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import soxr
from numpy.typing import NDArray

F32: TypeAlias = NDArray[np.float32]
F64: TypeAlias = NDArray[np.float64]
Scores: TypeAlias = dict[str, float | None]

RATE = 16000
"""Samples a second of the audio that is scored."""

MAX_DELAY = 1600
"""Largest delay that is searched, early or late, in samples at `RATE`."""

FLOOR_DB = -80.0
"""Lowest band energy."""

BAND_HZ = (8000.0, 12000.0)
BAND_RATE = 24000
"""A sound of this many samples a second, or more, has that band."""

_ENVELOPE_HOP, _ENVELOPE_WINDOW, _ENVELOPE_BANDS, _BAND_BINS = 16, 400, 13, 6
_SAME_WAVEFORM = 0.5
_FRAME_SECONDS = 0.025


class Metric(NamedTuple):
    """A metric of a clip.

    Attributes
    ----------
    key, heading : str
        Its name in results and in tables.
    better : int
        1 where more is better, -1 where less is better, otherwise 0.
    digits : int
        Decimal places shown.
    span : tuple of float
        Range of a panel. Its end is NaN where the values set it.
    """

    key: str
    heading: str
    better: int
    digits: int
    span: tuple[float, float]


SCORES = (
    Metric("wer", "WER", -1, 2, (0, np.nan)),
    Metric("stoi", "STOI", 1, 3, (0, 1)),
    Metric("estoi", "ESTOI", 1, 3, (0, 1)),
    Metric("pesq", "PESQ", 1, 2, (1, np.nan)),
    Metric("mos", "DistillMOS", 1, 2, (1, 5)),
    Metric("speaker", "speaker", 1, 3, (0, 1)),
    Metric("band_gain", "8-12 kHz, dB re original", 0, 1, (FLOOR_DB, np.nan)),
    Metric("band_level", "8-12 kHz, dB re 0-8", 0, 1, (FLOOR_DB, np.nan)),
)
"""The metrics of intelligibility, quality and the highest band."""


def envelopes(signal: F32) -> F64:
    """Return the log magnitude of bands up to 3.2 kHz, each with a mean of 0, every millisecond.

    Parameters
    ----------
    signal : ndarray of float32, shape (samples,)
        Sound at `RATE`.

    Returns
    -------
    ndarray of float64, shape (milliseconds, bands)
    """
    padded = np.pad(signal, _ENVELOPE_WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _ENVELOPE_WINDOW)[::_ENVELOPE_HOP]
    bins = np.abs(np.fft.rfft(frames * np.hanning(_ENVELOPE_WINDOW)))
    bins = bins[:, 3 : 3 + _ENVELOPE_BANDS * _BAND_BINS]
    bands = bins.reshape(len(bins), _ENVELOPE_BANDS, _BAND_BINS).sum(axis=2)
    levels = np.log(bands + 1e-3 * bands.max() + 1e-12)
    levels -= levels.mean(axis=0)
    return np.asarray(levels)


def delay(clean: Iterable[F32], coded: Iterable[F32]) -> int:
    """Return the delay of a codec, which is the same for all clips.

    A codec that sends no waveform does not retain its phase. So envelopes of bands are correlated,
    summed over clips. Where waveforms correlate too, their peak within 2 ms refines the result.

    Parameters
    ----------
    clean, coded : iterable of ndarray of float32, shape (samples,)
        Clips at `RATE`, uncoded and coded.

    Returns
    -------
    int
        Samples at `RATE`, positive where the coded sound is late, at most `MAX_DELAY`.
    """
    pairs = list(zip(clean, coded, strict=True))
    power = sum(float(np.linalg.norm(x) * np.linalg.norm(y)) for x, y in pairs)
    if not power:
        return 0
    most = MAX_DELAY // _ENVELOPE_HOP
    total = sum(_correlation(envelopes(x), envelopes(y), most) for x, y in pairs)
    coarse = (int(np.argmax(total)) - most) * _ENVELOPE_HOP
    waves = sum(_correlation(x[:, None], y[:, None], MAX_DELAY) for x, y in pairs)
    lags = np.arange(-2 * _ENVELOPE_HOP, 2 * _ENVELOPE_HOP + 1) + coarse
    lags = lags[np.abs(lags) <= MAX_DELAY]
    peak = np.asarray(waves)[lags + MAX_DELAY]
    return int(lags[np.argmax(peak)]) if peak.max() > _SAME_WAVEFORM * power else coarse


def align(clean: F32, coded: F32, lag: int) -> tuple[F32, F32]:
    """Cut two sounds, one `lag` samples late, to their overlap, (samples,) both."""
    clean, coded = clean[max(0, -lag) :], coded[max(0, lag) :]
    n = min(clean.size, coded.size)
    return clean[:n], coded[:n]


def power_spectrum(signal: F32, rate: int) -> tuple[F64, F64]:
    """Return the mean spectrum of a sound, by Welch's method with frames of 25 ms.

    Parameters
    ----------
    signal : ndarray of float32, shape (samples,)
    rate : int
        Its samples a second.

    Returns
    -------
    hertz, power : ndarray of float64, shape (bins,)
        Frequencies; what each adds to the sound's mean square.
    """
    n = round(_FRAME_SECONDS * rate)
    padded = np.pad(signal, (0, max(0, n - signal.size)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, n)[:: n // 2]
    window = np.hanning(n)
    power = (np.abs(np.fft.rfft(frames * window)) ** 2).mean(axis=0)
    scale = 2 / (n * float(np.square(window).sum()))
    hertz = np.asarray(np.fft.rfftfreq(n, 1 / rate), np.float64)
    return hertz, np.asarray(power * scale, np.float64)


def band_power(signal: F32, rate: int, low: float, high: float) -> float:
    """Return the mean square of a sound, (samples,), between two frequencies in Hz."""
    hertz, power = power_spectrum(signal, rate)
    return float(power[(hertz >= low) & (hertz < high)].sum())


def band_energies(original: F32, original_rate: int, coded: F32, rate: int) -> Scores:
    """Return the energy of a coded sound from 8 to 12 kHz, two ways.

    Parameters
    ----------
    original, coded : ndarray of float32, shape (samples,)
    original_rate, rate : int
        Their samples a second.

    Returns
    -------
    dict
        "band_level": dB relative to the coded sound below 8 kHz; None where that sound is the
        original and has no such band. "band_gain": dB relative to the original from 8 to 12 kHz;
        None where that has no such band, or nothing in it.
    """
    of_coded = band_power(coded, rate, *BAND_HZ)
    level = decibels(of_coded, band_power(coded, rate, 0, BAND_HZ[0]))
    gain = None
    if original_rate >= BAND_RATE:
        of_original = band_power(original, original_rate, *BAND_HZ)
        if decibels(of_original, band_power(original, original_rate, 0, BAND_HZ[0])) > FLOOR_DB:
            gain = decibels(of_coded, of_original)
    silent = coded is original and rate < BAND_RATE
    return {"band_gain": gain, "band_level": None if silent else level}


def token_statistics(tokens: NDArray[np.uint16], bits: int) -> dict[str, Any]:
    """Return how evenly a model uses its tokens.

    Parameters
    ----------
    tokens : ndarray of uint16, shape (tokens,)
    bits : int
        Bits a token.

    Returns
    -------
    dict
        "tokens" and "used": how many there were, and how many different ones. "entropy_counted":
        bits, of the frequencies as counted, too low where tokens are few. "entropy": the estimate
        of Chao and Shen (2003), which allows for tokens that did not occur; None where no token
        occurred twice. "balance": how often each bit is 1, lowest bit first. "correlation": mean
        over pairs of bits of the absolute correlation; None for less than two bits that change.
    """
    counts = np.bincount(tokens, minlength=1)
    counts, n = counts[counts > 0], tokens.size
    p = counts / max(1, n)
    once = int((counts == 1).sum())
    estimate = None
    if once < n:
        q = (1 - once / n) * p
        estimate = float(
            -(q * np.log2(q) / -np.expm1(n * np.log1p(-np.minimum(q, 0.999999)))).sum()
        )
    ones = (tokens[:, None] >> np.arange(bits, dtype=np.uint16) & 1).astype(np.float64)
    changing = ones[:, ones.std(axis=0) > 0] if n else ones
    correlation = None
    if n and changing.shape[1] > 1:
        upper = np.triu_indices(changing.shape[1], 1)
        correlation = float(np.abs(np.corrcoef(changing.T)[upper]).mean())
    return {
        "bits": bits,
        "tokens": n,
        "used": counts.size,
        "entropy_counted": float(-(p * np.log2(p)).sum()) + 0.0,
        "entropy": None if estimate is None else min(float(bits), estimate),
        "balance": ones.mean(axis=0).tolist() if n else [],
        "correlation": correlation,
    }


def resample(signal: F32, rate: int, to: int = RATE) -> F32:
    """Return a sound, (samples,) float32, at another rate."""
    if rate == to:
        return signal
    return np.asarray(soxr.resample(signal, rate, to, quality="VHQ"), np.float32)


def _correlation(x: NDArray[Any], y: NDArray[Any], most: int) -> F64:
    """Return the correlation of columns, summed, at lags from -most to most."""
    n = 1 << (max(len(x), len(y)) + most).bit_length()
    spectrum = (np.fft.rfft(y, n, axis=0) * np.conj(np.fft.rfft(x, n, axis=0))).sum(axis=1)
    r = np.fft.irfft(spectrum, n)
    return np.concatenate([r[-most:], r[: most + 1]])


def decibels(power: float, reference: float) -> float:
    """Return a ratio of powers in dB, `FLOOR_DB` at least."""
    return max(FLOOR_DB, 10 * float(np.log10(max(power, 1e-30) / max(reference, 1e-30))))
