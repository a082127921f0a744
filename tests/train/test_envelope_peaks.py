"""Peaks of the envelope at a decoder's rates, on noise that is gated at known rates."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from train.evaluation import envelope as measure
from train.evaluation.metrics import RATE

F32 = NDArray[np.float32]
SECONDS = 6


def noise(samples: int = SECONDS * RATE, seed: int = 0) -> F32:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def gated(rate: int, open_share: float) -> F32:
    """Noise that is loud in a share of each period and quieter in the rest."""
    place = np.arange(SECONDS * RATE) % (RATE // rate) * rate / RATE
    return (noise() * np.where(place < open_share, 1, 0.5)).astype(np.float32)


def peaks(sound: F32) -> list[float]:
    found = measure.envelope_peaks(sound)
    return [value for rate in measure.RATES if (value := found[measure.key(rate)]) is not None]


def test_noise_has_the_peaks_of_chance() -> None:
    found = np.array([peaks(noise(seed=seed)) for seed in range(10)])
    assert found.shape == (10, 3)
    assert found.min() > 2
    assert found.max() < 11
    # The largest of 2 * 6 + 1 Rayleigh values, relative to their median.
    assert found.mean() == pytest.approx(6.4, abs=0.8)


@pytest.mark.parametrize(
    ("rate", "open_share", "expected"),
    [
        (50, 0.5, (True, False, False)),  # Half open: odd harmonics alone.
        (50, 0.25, (True, True, False)),  # A quarter open: not the fourth harmonic.
        (100, 0.5, (False, True, False)),
        (100, 0.25, (False, True, True)),
        (200, 0.5, (False, False, True)),
        (60, 0.5, (False, False, False)),
    ],
)
def test_gated_noise_has_peaks_at_the_rates_of_its_gate(
    rate: int, open_share: float, expected: tuple[bool, ...]
) -> None:
    found = peaks(gated(rate, open_share))
    assert tuple(value > 20 for value in found) == expected
    assert all(value < 11 for value, is_there in zip(found, expected, strict=True) if not is_there)


def test_a_peak_is_relative_to_the_median() -> None:
    """Twice the depth is 6 dB more, at any loudness."""
    at = np.arange(SECONDS * RATE) / RATE
    shallow, deep = (
        peaks((noise() * (1 + depth * np.cos(200 * np.pi * at))).astype(np.float32))[1]
        for depth in (0.2, 0.4)
    )
    assert deep - shallow == pytest.approx(6, abs=1)
    louder = (2 * noise() * (1 + 0.2 * np.cos(200 * np.pi * at))).astype(np.float32)
    assert peaks(louder)[1] == pytest.approx(shallow, abs=1e-3)


def test_what_other_bands_do_does_not_count() -> None:
    """A gate below the band, and within 1.5 Hz of a rate."""
    spectra = [np.fft.rfft(x) for x in (gated(100, 0.5), noise(seed=1))]
    is_low = np.fft.rfftfreq(SECONDS * RATE, 1 / RATE) < 1500
    mixed = np.fft.irfft(np.where(is_low, *spectra)).astype(np.float32)
    assert max(peaks(mixed)) < 11
    at = np.arange(SECONDS * RATE) / RATE
    near = noise() * (1 + 0.5 * np.cos(2 * np.pi * 101.5 * at))
    assert peaks(near.astype(np.float32))[1] < 11
    assert peaks((noise() * (1 + 0.5 * np.cos(2 * np.pi * 100.5 * at))).astype(np.float32))[1] > 20


def test_the_envelope_of_a_tone_is_its_amplitude() -> None:
    at = np.arange(RATE) / RATE
    tone = (0.3 * np.cos(2 * np.pi * 3000 * at)).astype(np.float32)
    envelope = measure.band_envelope(tone, 2000, 4000)
    assert envelope[1000:-1000] == pytest.approx(0.3, abs=1e-3)
    assert measure.band_envelope(tone, 3100, 4000)[1000:-1000].max() < 0.01


@pytest.mark.parametrize("sound", [noise(0), noise(1), noise(RATE - 1), 1e-3 * noise(2 * RATE)])
def test_short_and_quiet_sounds_have_no_peak(sound: F32) -> None:
    assert set(measure.envelope_peaks(sound).values()) == {None}
    assert set(measure.envelope_peaks(np.zeros(2 * RATE, np.float32)).values()) == {None}
    assert len(peaks(noise(RATE))) == 3
