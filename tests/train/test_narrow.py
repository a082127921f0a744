"""The edge of a narrow band is found, and what a codec adds above it is measured."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from train.evaluation import narrow
from train.evaluation.metrics import FLOOR_DB, RATE, resample

F32 = NDArray[np.float32]


def shaped(gain_db: list[tuple[float, float]], rate: int = RATE, seconds: int = 3) -> F32:
    """Noise whose spectrum has these gains at these frequencies, linear between them."""
    size = seconds * rate
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(size))
    hertz, gains = zip(*gain_db, strict=True)
    decibels = np.interp(np.fft.rfftfreq(size, 1 / rate), hertz, gains)
    return (0.05 * np.fft.irfft(spectrum * 10 ** (decibels / 20))).astype(np.float32)


SPEECH = [(0.0, 0.0), (500.0, 0.0), (4000.0, -25.0)]
"""Falls as the spectrum of speech does."""


@pytest.mark.parametrize("edge", [3500, 4000, 5512])
@pytest.mark.parametrize("rate", [RATE, 24000])
def test_an_abrupt_edge_is_found(edge: float, rate: int) -> None:
    level = float(np.interp(edge, *zip(*SPEECH, strict=True)))
    sound = shaped([*SPEECH[:2], (edge, level), (edge + 1, -110)], rate)
    assert narrow.band_edge(sound, rate) == pytest.approx(edge, abs=60)


def test_a_gradual_edge_is_within_it() -> None:
    sound = shaped([(0, 0), (500, 0), (3500, -20), (5500, -80)])
    assert 4000 < narrow.band_edge(sound, RATE) < 5000


def test_a_sound_of_11025_hz_ends_at_its_nyquist_frequency() -> None:
    white = shaped([(0, 0), (5512, 0)], 11025)
    edge = narrow.band_edge(resample(white, 11025), RATE)
    assert edge == pytest.approx(5400, abs=80)  # soxr ends there
    assert narrow.band_edge(white, 11025) == pytest.approx(5512, abs=60)


def test_noise_of_16_bits_does_not_hide_an_edge_and_loud_noise_does() -> None:
    sound = shaped([*SPEECH, (4001, -120)])
    rounded = (np.rint(sound * 32768) / 32768).astype(np.float32)
    assert narrow.band_edge(rounded, RATE) == pytest.approx(4000, abs=60)
    noise = np.random.default_rng(1).standard_normal(sound.size)
    loud = sound + 10 ** (-35 / 20) * sound.std() * noise
    assert narrow.band_edge(loud.astype(np.float32), RATE) is None


def test_wide_and_silent_sounds_have_no_edge(speech: F32) -> None:
    assert narrow.band_edge(speech[: 4 * RATE], RATE) is None
    assert narrow.band_edge(shaped([(0, 0), (7500, -30), (7600, -110)]), RATE) is None
    assert narrow.band_edge(np.zeros(RATE, np.float32), RATE) is None
    assert narrow.band_edge(np.zeros(0, np.float32), RATE) is None


def test_hiss_is_the_energy_above_the_edge() -> None:
    sound = shaped([(0, 0), (4000, 0), (4001, -30), (8000, -30)])
    edge = 4100  # A bin of 40 Hz blurs what is nearer.
    assert narrow.hiss(sound, RATE, edge)["hiss"] == pytest.approx(-30, abs=0.6)
    # The band from 8 kHz is part of it.
    wide = shaped([(0, 0), (4000, 0), (4001, -30), (12000, -30)], 24000)
    assert narrow.hiss(wide, 24000, edge)["hiss"] == pytest.approx(-27, abs=0.6)
    assert narrow.hiss(resample(sound, RATE, 8000), 8000, edge) == {"hiss": FLOOR_DB}


def test_hiss_has_no_value_for_wide_or_silent_sounds() -> None:
    assert narrow.hiss(shaped([(0, 0)]), RATE, None) == {"hiss": None}
    assert narrow.hiss(np.zeros(RATE, np.float32), RATE, 4000) == {"hiss": None}
    assert narrow.hiss(np.zeros(0, np.float32), RATE, 4000) == {"hiss": None}


def test_a_cut_sound_has_nothing_above_the_edge_and_all_below() -> None:
    sound = shaped([(0, 0), (8000, 0)])
    cut = narrow.low_pass(sound, 4000)
    spectra = [np.fft.rfft(x) for x in (sound, cut)]
    np.testing.assert_allclose(spectra[1][:11999], spectra[0][:11999], atol=1e-3)
    assert np.abs(spectra[1][12001:]).max() < 1e-3
    assert narrow.low_pass(sound, None) is sound
    assert narrow.low_pass(sound[:0], 4000).size == 0
