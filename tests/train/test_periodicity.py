"""The share of energy that repeats at a row rate, on sounds whose share is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from train.evaluation import periodicity as measure
from train.evaluation.metrics import RATE

F32 = NDArray[np.float32]
SECONDS = 20


def noise(samples: int, seed: int = 0) -> F32:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def share(sound: F32, band: tuple[int, int], milliseconds: float) -> float | None:
    return measure.periodicity(sound)[measure.key(band, milliseconds)]


def test_noise_repeats_by_chance() -> None:
    found = measure.periodicity(noise(SECONDS * RATE))
    assert len(found) == len(measure.SHARES)
    for value in found.values():
        assert value == pytest.approx(1 / measure.PERIODS, abs=0.02)


def test_a_repeated_block_repeats_in_each_band_and_not_at_the_control() -> None:
    spectrum = np.fft.rfft(noise(RATE // 100))
    for harmonic in (20, 40, 60):  # 2, 4 and 6 kHz repeat every 10.5 ms too, and what is near.
        spectrum[harmonic - 1 : harmonic + 2] = 0
    found = measure.periodicity(np.tile(np.fft.irfft(spectrum), 100 * SECONDS).astype(np.float32))
    for band in (measure.TARGET, *measure.BANDS):
        row, control, twice = (
            found[measure.key(band, ms)]
            for ms in (measure.ROW_MS, measure.CONTROL_MS, measure.TWICE_MS)
        )
        assert row == pytest.approx(1, abs=1e-3)
        assert twice == pytest.approx(1, abs=1e-3)
        assert control < 0.1


def test_a_block_of_two_rows_is_found_at_twice_the_period_alone() -> None:
    sound = np.tile(noise(RATE // 50), 50 * SECONDS)
    assert share(sound, measure.TARGET, measure.TWICE_MS) == pytest.approx(1, abs=1e-3)
    # Half of the harmonics of 50 Hz are harmonics of 100 Hz.
    assert share(sound, measure.TARGET, measure.ROW_MS) == pytest.approx(0.5, abs=0.1)


def test_a_mix_has_the_share_of_its_parts() -> None:
    repeated = np.tile(noise(RATE // 100), 100 * SECONDS)
    mixed = np.sqrt(0.3) * repeated + np.sqrt(0.7) * noise(SECONDS * RATE, 1)
    found = share(mixed.astype(np.float32), (1000, 2000), measure.ROW_MS)
    # 10 % of the noise repeats by chance. A block has not the same power in each band.
    power = np.square(np.abs(np.fft.rfft(repeated[: RATE // 100])))
    own = 0.3 * power[10:20].sum() / (0.1**2 * 160 * 10)
    assert found == pytest.approx((own + 0.07) / (own + 0.7), abs=0.03)


def test_a_band_without_energy_has_no_share() -> None:
    spectrum = np.fft.rfft(noise(4 * RATE))
    spectrum[np.fft.rfftfreq(4 * RATE, 1 / RATE) >= 4000] = 0
    found = measure.periodicity(np.fft.irfft(spectrum).astype(np.float32))
    for band in measure.BANDS:
        assert (found[measure.key(band, measure.ROW_MS)] is None) == (band[0] >= 4000)


@pytest.mark.parametrize("samples", [0, 1, 1599])
def test_short_and_silent_sounds_have_no_share(samples: int) -> None:
    assert set(measure.periodicity(noise(samples)).values()) == {None}
    assert set(measure.periodicity(np.zeros(RATE, np.float32)).values()) == {None}


def test_quiet_windows_do_not_count() -> None:
    repeated, quiet = np.tile(noise(160), 100), 1e-4 * noise(3 * RATE)
    found = share(np.concatenate([repeated, quiet]), measure.TARGET, measure.ROW_MS)
    assert found == pytest.approx(1, abs=0.01)
