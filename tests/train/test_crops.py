"""Crops of the corpus, and their augmentation."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tomli")
pytest.importorskip("av")

from train.config import AugmentationConfig  # noqa: E402
from train.data import codec_degradation  # noqa: E402
from train.data.augment import Acoustics, filter_crop, lowpass, shift_formants  # noqa: E402
from train.data.batches import Crops  # noqa: E402
from train.data.corpus import FRAME_16K, FRAME_24K, read, shares  # noqa: E402
from train.losses.spectral import RATE, lowpassed  # noqa: E402


def test_a_batch_is_its_steps(corpus: Path) -> None:
    shards = read(corpus, "whisper")
    settings = AugmentationConfig(room_share=1.0, noise_share=1.0)
    crops = [
        Crops(shards, shares(shards, 2.0, {}), Acoustics(corpus), settings, 16, 3, (seed,))
        for seed in (0, 0, 1)
    ]
    a, b, c = (crop.at(7) for crop in crops)
    for name, value in vars(a).items():
        torch.testing.assert_close(getattr(b, name), value)
    assert not torch.equal(a.input, c.input)
    assert a.input.shape == (3, 16 * FRAME_16K)
    assert a.target.shape == (3, 16 * FRAME_24K)
    assert a.teacher.shape == (3, 16, 24)
    stream = crops[0].stream(7)
    torch.testing.assert_close(next(stream).input, a.input)


def test_batches_are_the_same_from_processes(corpus: Path) -> None:
    shards = read(corpus, "whisper")
    crops = Crops(
        shards, shares(shards, 2.0, {}), Acoustics(corpus), AugmentationConfig(), 20, 2, (0,)
    )
    drawn = list(itertools.islice(crops.stream(5, loaders=2), 3))
    for step, batch in enumerate(drawn, 5):
        for one, other in zip(vars(batch).values(), vars(crops.at(step)).values(), strict=True):
            assert torch.equal(one, other)


def test_rooms_and_noises(tmp_path: Path) -> None:
    rooms = np.zeros((3, 800), np.float32)
    rooms[:, 0], rooms[:, 400] = 2, 2
    np.savez(tmp_path / "rooms.npz", rooms=rooms, length=np.full(3, 800), rt60=np.ones(3))
    np.save(tmp_path / "noise.npy", np.full(9000, 7, np.int16))
    acoustics = Acoustics(tmp_path)
    assert len(acoustics.rooms) == 3
    settings = AugmentationConfig(microphone_share=0, room_share=1.0)
    low, high = np.zeros(3200, np.float32), np.zeros(4800, np.float32)
    low[1000] = high[1500] = 1
    low_out, high_out, band = filter_crop(low, high, settings, acoustics, np.random.default_rng(0))
    np.testing.assert_allclose(low_out[[1000, 1400]], 0.5**0.5, atol=1e-5)
    # The same frequency response at both rates, up to where the room is known.
    gains = [np.abs(np.fft.rfft(x, 24 * len(x)))[: 24 * 1500] for x in (low_out, high_out)]
    np.testing.assert_allclose(gains[1], gains[0], atol=0.08)
    assert band == 7600
    noise = acoustics.noise_like(low, np.random.default_rng(3))
    assert np.sqrt(np.square(noise).mean()) == pytest.approx(1, abs=1e-3)


def passed(settings: AugmentationConfig, folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Return frequencies, and how a click comes through there, at each rate; there are no rooms."""
    low, high = np.zeros(3200, np.float32), np.zeros(4800, np.float32)
    low[1000] = high[1500] = 1
    acoustics = Acoustics(folder)
    *changed, band = filter_crop(low, high, settings, acoustics, np.random.default_rng(0))
    assert band > 8000
    for sound, rate in zip(changed, (16000, 24000), strict=True):
        gain = np.abs(np.fft.rfft(sound))
        yield np.arange(gain.size) * rate / sound.size, gain


def test_bands_end_and_begin(tmp_path: Path) -> None:
    settings = AugmentationConfig(
        microphone_share=0,
        lowpass_share=1,
        lowpass_hz=(4000, 4000),
        highpass_share=1,
        highpass_hz=(300, 300),
    )
    for hz, gain in passed(settings, tmp_path):
        np.testing.assert_allclose(gain[(hz > 350) & (hz < 3750)], 1, atol=1e-3)
        np.testing.assert_allclose(gain[(hz < 250) | (hz > 4250)], 0, atol=1e-3)


def test_the_edge_of_a_band_is_as_wide_as_configured(tmp_path: Path) -> None:
    settings = AugmentationConfig(
        microphone_share=0, lowpass_share=1, lowpass_hz=(4000, 4000), lowpass_edge=(0.5, 0.5)
    )
    for hz, gain in passed(settings, tmp_path):
        np.testing.assert_allclose(gain[hz < 2900], 1, atol=1e-2)
        np.testing.assert_allclose(
            np.interp([3500, 4000, 4500], hz, gain), [0.85, 0.5, 0.15], atol=0.02
        )
        np.testing.assert_allclose(gain[hz > 5100], 0, atol=1e-2)


def test_formants_shift_at_the_same_pitch() -> None:
    rate, pitch = 24000, 120
    hz = np.arange(rate // 2 + 1)

    def vowel_like(formants: np.ndarray) -> np.ndarray:
        peaks = sum(np.exp(-(((hz[pitch::pitch] - f) / (0.2 * f + 150)) ** 2)) for f in formants)
        return np.exp(2 * peaks)

    formants = np.array([700.0, 1700.0, 2900.0])
    line = np.zeros(hz.size)
    line[pitch::pitch] = vowel_like(formants)
    vowel = np.fft.irfft(line * np.exp(1j * hz**1.3)).astype(np.float32) * 100
    np.testing.assert_allclose(shift_formants(vowel, 1.0), vowel, atol=1e-5)
    for factor in (0.87, 1.15):
        shifted = shift_formants(vowel[:-7], factor)
        assert shifted.shape == (rate - 7,)
        magnitude = np.abs(np.fft.rfft(shifted * np.hanning(shifted.size), rate))
        harmonics = magnitude[pitch::pitch][:40]
        assert harmonics.sum() > 50 * magnitude[pitch + pitch // 2 :: pitch][:40].sum()
        error = np.log(harmonics / vowel_like(formants * factor)[:40])[3:]
        assert error.std() < 0.15
        assert np.log(harmonics / vowel_like(formants)[:40])[3:].std() > 0.3


def test_degradation_by_mp3() -> None:
    """It is degraded, aligned and as long; its band ends where the target is cut."""
    random = np.random.default_rng(0)
    sound = (0.1 * random.standard_normal(16000)).astype(np.float32)
    hz = np.arange(8001)
    for rate, kbps, end in codec_degradation.SETTINGS:
        degraded = codec_degradation.through_mp3(sound, rate, kbps)
        assert degraded.shape == sound.shape
        assert degraded.dtype == np.float32
        spectra = [np.fft.rfft(x) for x in (sound, degraded, lowpass(sound, 16000, end))]
        powers = [np.square(np.abs(x)) for x in spectra]
        low, high = (hz > 200) & (hz < 3000), hz > end + 700
        same = np.real(spectra[0] * np.conj(spectra[1]))[low].sum()
        alike = same / np.sqrt(powers[0][low].sum() * powers[1][low].sum())
        assert 0.7 < alike < 0.999, (rate, kbps)
        assert 0.7 < powers[1][low].sum() / powers[0][low].sum() < 1.3, (rate, kbps)
        for power in powers[1:]:
            assert power[high].sum() < 0.02 * powers[0][high].sum(), (rate, kbps)


def test_input_and_target_are_aligned(corpus: Path) -> None:
    """The same tone at both rates, whatever is done to the crop: its phase tells the time."""
    shards = read(corpus, "whisper")
    settings = AugmentationConfig(
        noise_share=0,
        microphone_share=0,
        speed_share=1.0,
        formant_share=0.5,
        codec_degradation_share=0.5,
    )
    crops = Crops(shards, shares(shards, 1.0, {}), Acoustics(corpus), settings, 48, 8, (0,))
    batch = crops.at(0)
    for received, target in zip(batch.input.numpy(), batch.target.numpy(), strict=True):
        middle = len(received) // 2, len(target) // 2
        low = received[middle[0] - 1600 : middle[0] + 1600]
        high = target[middle[1] - 2400 : middle[1] + 2400]
        bins = [np.fft.rfft(x * np.hanning(len(x))) for x in (low, high)]
        top = np.abs(bins[0]).argmax()
        assert abs(np.abs(bins[1]).argmax() - top) <= 1
        lag = np.angle(bins[0][top] / bins[1][top]) / (2 * np.pi * top * 5)
        assert abs(lag) < 2e-4


def test_frequencies_above_the_band_are_removed() -> None:
    at = torch.arange(2400) / RATE
    tones = torch.sin(2 * torch.pi * 1000 * at) + torch.sin(2 * torch.pi * 6000 * at)
    low, full = lowpassed(torch.stack([tones, tones]), torch.tensor([4000.0, 12000.0]))
    torch.testing.assert_close(low, torch.sin(2 * torch.pi * 1000 * at), rtol=0, atol=1e-3)
    torch.testing.assert_close(full, tones, rtol=0, atol=1e-3)
