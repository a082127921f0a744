"""Losses of what repeats, of pitch, of level and of hiss, on sounds whose errors are known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from train.losses.autocorrelation import Autocorrelation  # noqa: E402
from train.losses.level import ExcessEnergy, LevelError  # noqa: E402
from train.losses.row_periodicity import RowPeriodicity  # noqa: E402
from train.losses.spectral import RATE  # noqa: E402

LEVEL = 0.5
SAMPLES = 4 * RATE


def noise(seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(2, SAMPLES, generator=random)


def plain_shares(sound: NDArray[np.float64], period: int) -> list[float]:
    """Shares of the bands of one sound by folding its windows, each band cut out beforehand."""
    size, shares = 10 * period, []
    edges = [300, 1000, 2000, 3000, 4000, 5000, 6000, 8000, 11000]
    edges = [round(hz * size / RATE / 10) * 10 for hz in edges]
    for low, high in itertools.pairwise(edges):
        of_windows = []
        for start in range(0, len(sound) - size + 1, size // 2):
            spectrum = np.fft.rfft(sound[start : start + size])
            spectrum[:low] = spectrum[high:] = 0
            window = np.fft.irfft(spectrum).reshape(10, period)
            repeated = 10 * np.square(window.mean(0)).sum()
            of_windows.append(repeated / np.square(window).sum())
        shares.append(float(np.mean(of_windows)))
    return shares


def plain_level_shares(sound: NDArray[np.float64], period: int) -> list[float]:
    """Shares of the levels of bands of 1 kHz from 1 to 11 kHz, in windows of 4 ms each 1 ms."""
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(96) / 96)
    frames = [sound[i : i + 96] * taper for i in range(0, len(sound) - 95, 24)]
    power = np.square(np.abs(np.fft.rfft(frames)))
    size, shares = 10 * period // 24, []
    for band in range(10):
        energy = power[:, 4 + 4 * band : 8 + 4 * band].sum(1)
        levels = np.log(energy + (1e-3 * LEVEL * 96) ** 2)
        of_windows = []
        for start in range(0, len(levels) - size + 1, size // 2):
            lines = np.square(np.abs(np.fft.rfft(levels[start : start + size])))
            hertz = np.arange(len(lines)) * 1000 / size
            repeated = lines[(hertz >= 35) & (np.arange(len(lines)) % 10 == 0)].sum()
            of_windows.append(repeated / (lines[hertz >= 35].sum() + 1e-3))
        shares.append(float(np.mean(of_windows)))
    return shares


def test_shares_are_those_of_folded_windows() -> None:
    sounds = [x[0, : RATE // 2].double() for x in (noise(0), noise(1))]
    sounds[0] = sounds[0] + 0.05 * noise(2)[0, :240].double().repeat(RATE // 480)
    distances = [
        np.abs(np.subtract(*(shares(x.numpy(), period) for x in sounds))).mean()
        for period in (240, 480)
        for shares in (plain_shares, plain_level_shares)
    ]
    expected = np.mean(distances)
    found = RowPeriodicity().distance(*(x[None] for x in sounds), LEVEL)
    assert found.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("period", "largest"),
    [(240, 0.9), (480, 0.65), (250, 0.0)],
)
def test_what_repeats_at_rows_or_tokens_is_far(period: int, largest: float) -> None:
    """A row that repeats does so at both periods, a token at one, any other sound at none."""
    repeated = noise(3)[:, :period].repeat(1, SAMPLES // period + 1)[:, :SAMPLES]
    found = RowPeriodicity().distance(repeated, noise(4), LEVEL).item()
    assert found == pytest.approx(largest, abs=0.13)


@pytest.mark.parametrize(("period", "least", "most"), [(240, 0.25, 0.5), (250, 0.0, 0.12)])
def test_noise_that_fades_with_rows_is_far(period: int, least: float, most: float) -> None:
    gain = 0.6 + 0.4 * torch.cos(2 * math.pi * torch.arange(SAMPLES) / period)
    assert least <= RowPeriodicity().distance(gain * noise(3), noise(4), LEVEL).item() <= most


def test_silent_bands_do_not_count() -> None:
    low = torch.sin(2 * math.pi * 700 / RATE * torch.arange(SAMPLES))[None]
    assert RowPeriodicity().distance(low, noise(5)[:1], LEVEL).item() < 1
    silent = torch.zeros(1, SAMPLES)
    assert RowPeriodicity().distance(silent, noise(5)[:1], LEVEL).item() == 0


def voice(pitch_hz: float, part: int = 0) -> torch.Tensor:
    """Eleven harmonics of a pitch, from 11 times `part` + 1 on."""
    at = torch.arange(SAMPLES) / RATE
    numbers = range(11 * part + 1, 11 * part + 12)
    harmonics = [torch.sin(2 * math.pi * pitch_hz * k * at + k * k) for k in numbers]
    return 0.05 * torch.stack(harmonics).sum(0)[None]


def test_distance_of_pitch_grows_with_cents() -> None:
    measure, target = Autocorrelation(), voice(120)
    distances = [
        measure.distance(voice(120 * 2 ** (cents / 1200)), target, LEVEL).item()
        for cents in (0, 10, 30, 60)
    ]
    assert distances == sorted(distances)
    assert distances[0] < 1e-6
    assert distances[3] > 2 * distances[1] > 0


def above(sound: torch.Tensor, hertz: int) -> torch.Tensor:
    spectrum = torch.fft.rfft(sound)
    spectrum[:, : hertz * SAMPLES // RATE] = 0
    return torch.fft.irfft(spectrum)


def test_harmonics_above_1500_hz_are_those_of_the_voice() -> None:
    """Noise there is nearer than harmonics of another pitch, and both are far."""
    measure, target = Autocorrelation(), sum(voice(120, k) for k in range(5))
    assert isinstance(target, torch.Tensor)
    other = sum(voice(100, k) for k in range(5))
    low = target - above(target, 1500)
    noisy, wrong = (
        measure.distance(low + above(high, 1500), target, LEVEL).item()
        for high in (noise(13)[:1], other)
    )
    assert 0.01 < noisy < wrong


def test_unvoiced_frames_have_no_pitch() -> None:
    measure = Autocorrelation()
    assert measure.distance(voice(120), noise(6)[:1], LEVEL).item() < 1e-3
    assert measure.distance(noise(6)[:1], voice(120), LEVEL).item() > 0.05


@pytest.mark.parametrize("db", [-6.0, -1.0, 3.0])
def test_level_is_the_ratio_of_energies(db: float) -> None:
    target = noise(7)
    found = LevelError().distance(target * 10 ** (db / 20), target, LEVEL)
    assert found.item() == pytest.approx(abs(db) / 10 * math.log(10), rel=1e-3)


def test_errors_of_level_that_cancel_in_a_crop_do_not_count() -> None:
    target = noise(8)
    gains = torch.ones(SAMPLES)
    gains[: SAMPLES // 2], gains[SAMPLES // 2 :] = 2.0, 0.5
    assert LevelError().distance(gains * target, target, LEVEL).item() < 1e-3


def test_energy_above_a_narrow_band_is_an_excess() -> None:
    measure = ExcessEnergy()
    spectrum = torch.fft.rfft(noise(9))
    spectrum[:, spectrum.shape[1] // 3 :] = 0
    target = torch.fft.irfft(spectrum)
    hiss = 1e-3 * noise(10)
    assert measure.distance(target, target, LEVEL).item() == 0
    low, high = (measure.distance(target + k * hiss, target, LEVEL).item() for k in (1.0, 4.0))
    assert 0 < low < high
    assert measure.distance(0.5 * target, target, LEVEL).item() < 1e-3
    assert measure.distance(noise(11), noise(12), LEVEL).item() == 0
