"""Errors of pitch, voicing and level, on tracks and tones whose errors are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from train.evaluation import pitch
from train.evaluation.metrics import RATE

F32 = NDArray[np.float32]
FRAMES = 100
NONE = {"voicing": None, "gross": None, "cents": None, "level": None, "level_sd": None}


def sound(frames: int = FRAMES) -> F32:
    return np.resize([0.1, -0.1], frames * pitch.HOP).astype(np.float32)


def track(hertz: float = 120.0, frames: int = FRAMES) -> NDArray[np.float64]:
    return np.full(frames + 1, hertz)


def vowel(hertz: float, seconds: float = 1.0) -> F32:
    """A tone of harmonics up to 4 kHz, that swells and fades."""
    at = np.arange(round(seconds * RATE)) / RATE
    tones = [np.cos(2 * np.pi * hertz * k * at) / k for k in range(1, int(4000 / hertz))]
    return (0.1 * np.sum(tones, axis=0)).astype(np.float32)


def test_a_sound_has_no_error_against_itself() -> None:
    errors = pitch.compare(sound(), sound(), track(), track())
    expected = {"voicing": 0, "gross": 0, "cents": 0, "level": 0, "level_sd": 0}
    assert pitch.scores(errors) == expected
    assert pitch.counts(errors) == {
        "active_frames": FRAMES,
        "voiced_frames": FRAMES,
        "voicing_errors": 0,
        "gross_errors": 0,
    }


def test_errors_are_counted_by_kind() -> None:
    before, after = track(), track(120 * 2 ** (50 / 1200))
    before[:10], after[5:25] = 0, 0  # 5 frames are unvoiced in both, 5 and 15 in one.
    after[25:40] = 240.0
    found = pitch.scores(pitch.compare(sound(), sound() / 2, before, after))
    assert found["voicing"] == pytest.approx(20)
    assert found["gross"] == pytest.approx(20)
    assert found["cents"] == pytest.approx(50)
    assert found["level"] == pytest.approx(20 * np.log10(0.5), abs=1e-4)
    assert found["level_sd"] == pytest.approx(0, abs=1e-6)


def test_frames_40_db_below_the_loudest_do_not_count() -> None:
    clean = sound()
    clean[: 30 * pitch.HOP] *= 0.0099
    clean[30 * pitch.HOP : 60 * pitch.HOP] *= 0.0101
    after = track()
    after[:30] = 0
    coded = clean.copy()
    coded[: 30 * pitch.HOP] *= 5
    found = pitch.compare(clean, coded, track(), after)
    assert found.level.size == found.voicing.size == 70
    assert pitch.scores(found)["voicing"] == pitch.scores(found)["level"] == 0


def test_pooled_frames_weigh_clips_by_length() -> None:
    short = pitch.compare(sound(10), 2 * sound(10), track(frames=10), track(130, 10))
    long = pitch.compare(sound(30), sound(30), track(frames=30), track(frames=30))
    pooled = pitch.scores(pitch.pool([short, long]))
    assert pooled["level"] == pytest.approx(20 * np.log10(2) / 4, abs=1e-4)
    assert pooled["cents"] == 0
    assert pitch.pool([short]).cents.size == 10


def test_silence_and_nothing_have_no_value() -> None:
    silent = np.zeros(RATE, np.float32)
    assert pitch.scores(pitch.compare(silent, sound(), track(0), track())) == NONE
    empty = silent[:0]
    assert pitch.scores(pitch.compare(empty, empty, track()[:0], track()[:0])) == NONE
    # What is silent once decoded is a large error, and not none.
    lost = pitch.scores(pitch.compare(sound(), silent, track(), track(0)))
    assert lost["voicing"] == 100
    assert lost["gross"] is lost["cents"] is None
    assert lost["level"] == pytest.approx(-100, abs=0.1)


@pytest.mark.parametrize("cents", [-100, 0, 50])
def test_a_shifted_vowel_is_off_by_its_shift(cents: float) -> None:
    pytest.importorskip("pyworld")
    clean, coded = vowel(140), vowel(140 * 2 ** (cents / 1200)) * np.float32(10 ** (-3 / 20))
    found = pitch.scores(pitch.compare(clean, coded, pitch.track(clean), pitch.track(coded)))
    assert found["cents"] == pytest.approx(abs(cents), abs=2)
    assert found["voicing"] == pytest.approx(0, abs=2)
    assert found["level"] == pytest.approx(-3, abs=0.3)
    assert found["gross"] == 0


def test_octave_errors_are_gross_and_noise_is_unvoiced() -> None:
    pytest.importorskip("pyworld")
    clean = vowel(140)
    high = pitch.scores(pitch.compare(clean, clean, pitch.track(clean), pitch.track(vowel(280))))
    assert high["gross"] == pytest.approx(100, abs=5)
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    # Harvest takes some noise for voice.
    assert (pitch.track(noise) > 0).mean() < 0.5
    assert (pitch.track(clean) > 0).mean() > 0.95


@pytest.mark.parametrize("samples", [0, 1, 500, 1600, 1601])
def test_short_and_silent_sounds_are_tracked(samples: int) -> None:
    pytest.importorskip("pyworld")
    found = pitch.track(vowel(140)[:samples])
    assert found.size == samples // pitch.HOP + 1
    assert not pitch.track(np.zeros(samples, np.float32)).any()
