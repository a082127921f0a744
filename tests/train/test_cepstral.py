"""The shape of spectra is compared by concordance: too smooth is as wrong as not alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from helpers import rows_of_power

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from train.data.batches import Batch  # noqa: E402
from train.losses.cepstral import (  # noqa: E402
    FORMANTS,
    SHAPE,
    Cepstra,
    Compare,
    Range,
    concordance_loss,
    cosines,
    formant_loss,
)
from train.losses.spectral import RATE  # noqa: E402
from train.losses.spectrum_probe import SpectrumProbe  # noqa: E402

LEVEL = 0.5


def vowels(seed: int, sharpness: float = 1.0) -> NDArray[np.float32]:
    """Return two sounds of 0.8 s: a buzz under formants that wander, as far above it as is said."""
    random = np.random.default_rng(seed)
    at = np.arange(RATE * 4 // 5) / RATE
    phase = 2 * np.pi * random.uniform(2, 5, (2, 1)) * at + seed
    first, second = 600 + 250 * np.sin(phase), 2000 + 700 * np.cos(2 * phase)
    sound = np.zeros((2, at.size))
    for harmonic in range(1, 50):
        hz = 120.0 * harmonic
        formants = sum(np.exp(-(((hz - f) / 250) ** 2)) for f in (first, second))
        loud = np.exp(3 * sharpness * formants - hz / 3000)
        sound += loud * np.sin(2 * np.pi * hz * at + random.uniform(0, 6))
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def transformed(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the orthonormal DCT-II of rows, by the FFT of them mirrored."""
    n = x.shape[1]
    both = np.fft.rfft(np.concatenate([x, x[:, ::-1]], axis=1), axis=1)[:, :n]
    turned = both * np.exp(-0.5j * np.pi * np.arange(n) / n)
    turned[:, 0] *= np.sqrt(0.5)
    return np.sqrt(1 / (2 * n)) * turned.real


def plain_concordance_loss(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[float]:
    """Return what `concordance_loss` averages, of (coefficients, rows), rows that count alone."""
    results = []
    for a, b in zip(x, y, strict=True):
        both = np.mean((a - a.mean()) * (b - b.mean()))
        results.append(1 - 2 * both / (a.var() + b.var() + (a.mean() - b.mean()) ** 2 + 1e-2))
    return results


def plain_formants(x: NDArray[np.float64], y: NDArray[np.float64], counts: Any) -> float:
    """Return what `formant_loss` makes of (coefficients, rows)."""
    x = np.where(counts, x, y)
    window = np.hanning(15)[1:-1] / np.hanning(15).sum()
    results = []
    for smooth in (False, True):
        if smooth:
            x, y = (
                np.stack([np.convolve(np.pad(r, 6, "edge"), window, "valid") for r in z])
                for z in (x, y)
            )
        a, b = x[:, counts], y[:, counts]
        both = sum(np.cov(p, q, bias=True)[0, 1] for p, q in zip(a, b, strict=True))
        difference = ((a.mean(1) - b.mean(1)) ** 2).sum()
        results.append(1 - 2 * both / (a.var(1).sum() + b.var(1).sum() + difference + 1e-2))
    return float(np.mean(results))


def plain(
    output: NDArray[np.float32], target: NDArray[np.float32], ranges: tuple[Range, ...]
) -> float:
    """Loops over what `Cepstra.distance` does at once."""
    size, hop, floor = 768, 240, (1e-3 * LEVEL) ** 2
    at = np.arange(size // 2 + 1) * RATE / size
    results = []
    for both in zip(output, target, strict=True):
        of_one: list[list[NDArray[np.float64]]] = [[], []]
        for part in ranges:
            bands, ends = part.bands, np.array([part.low_hz, part.high_hz])
            mel = np.linspace(*(2595 * np.log10(1 + ends / 700)), bands + 2)
            edges = 700 * (10 ** (mel / 2595) - 1)
            for sound, cepstra in zip(both, of_one, strict=True):
                filters = [np.interp(at, edges[j : j + 3], [0, 1, 0]) for j in range(bands)]
                power = rows_of_power(sound, size, hop) @ np.array(filters).T
                energy = power.sum(1)
                log = 0.5 * np.log(power + floor)
                cepstra.append(transformed(log)[:, part.first : part.last + 1].T)
        counts = (energy > 1e-4 * energy.max()) & (energy > floor)
        x, y = (np.concatenate(cepstra) for cepstra in of_one)
        if ranges == FORMANTS:
            results.append(plain_formants(x, y, counts))
        else:
            results += plain_concordance_loss(x[:, counts], y[:, counts])
    return float(np.mean(results))


def distance(output: NDArray[np.float32], target: NDArray[np.float32], *ranges: Range) -> float:
    compare: Compare = formant_loss if ranges == FORMANTS else concordance_loss
    measure = Cepstra(*(ranges or SHAPE), compare=compare)
    return float(measure.distance(torch.from_numpy(output), torch.from_numpy(target), LEVEL))


@pytest.mark.parametrize("ranges", [SHAPE, FORMANTS])
def test_follows_its_definition(ranges: tuple[Range, ...]) -> None:
    output, target = vowels(0), vowels(1)
    target[0, : RATE // 5] *= 0.02  # -34 dB counts,
    target[0, -RATE // 5 :] *= 0.005  # -46 dB does not.
    target[1, : RATE * 2 // 5] *= 1e-4
    results = distance(output, target, *ranges)
    assert results == pytest.approx(plain(output, target, ranges), abs=1e-3)


def test_equal_sounds_have_no_distance() -> None:
    assert distance(vowels(0), vowels(0)) < 0.1 < distance(vowels(0), vowels(1))


def test_a_spectrum_that_is_too_smooth_has_a_distance() -> None:
    target = vowels(0)
    results = [distance(vowels(0, sharpness), target) for sharpness in (1.0, 0.7, 0.4)]
    assert results[0] < 0.5 * results[1] < 0.4 * results[2]


def test_cosines_are_those_of_the_transform() -> None:
    x = np.random.default_rng(0).standard_normal((40, 3))
    target = transformed(x.T).T[:25]
    results = cosines(40, 0, 24) @ torch.from_numpy(x).float()
    np.testing.assert_allclose(results.numpy(), target, atol=1e-5)
    torch.testing.assert_close(cosines(40, 3, 9), cosines(40, 0, 24)[3:10])


def test_formants_count_most_where_words_are() -> None:
    """The same error, as wide in mel, is more in the second formant than above it."""
    target = vowels(0)
    spectrum = np.fft.rfft(target)
    hz = np.fft.rfftfreq(target.shape[1], 1 / RATE)
    results = []
    for low, high in ((1000, 2200), (4300, 7300)):
        louder = np.where((hz > low) & (hz < high), 2.5, 1.0)
        output = np.fft.irfft(spectrum * louder, target.shape[1]).astype(np.float32)
        results.append(distance(output, target, *FORMANTS))
    assert results[0] > 1.3 * results[1] > 0.01


def test_rows_that_do_not_count_change_nothing() -> None:
    random = torch.Generator().manual_seed(0)
    x, y = (torch.randn(2, 5, 30, generator=random) for _ in range(2))
    counts = torch.ones(2, 1, 30)
    counts[:, :, 20:] = 0
    results = concordance_loss(x, y, counts)
    torch.testing.assert_close(
        results, concordance_loss(x[..., :20], y[..., :20], counts[..., :20])
    )
    assert results > 0.5 > concordance_loss(x, x, counts)


def test_what_is_wrong_for_a_phone_counts_more_than_what_is_for_a_row() -> None:
    random = np.random.default_rng(0)
    target = torch.from_numpy(random.standard_normal((1, 10, 300))).float()
    counts = torch.ones(1, 1, 300)
    fast = torch.from_numpy(random.standard_normal((1, 10, 300))).float()
    held = torch.from_numpy(random.standard_normal((1, 10, 30))).float().repeat_interleave(10, 2)
    results = [float(formant_loss(target + 0.5 * x, target, counts)) for x in (fast, held)]
    assert 0.05 < results[0] < 0.7 * results[1]
    counts[..., 100:] = 0
    assert formant_loss(target + fast * (1 - counts), target, counts) < 1e-2


def test_a_predicted_spectrum_has_a_shape() -> None:
    """A prediction that is too smooth has a distance; bands above the crop's band do not count."""
    target = torch.from_numpy(vowels(0))
    rows = target.shape[1] // (2 * RATE // 100)
    level = torch.full((2,), LEVEL)
    probe = SpectrumProbe(8)
    centres = probe.spectra["mel"].centres
    results: dict[str, list[float]] = {"predict_shape": [], "predict_formants": []}
    cases = (
        (0.0, 12e3, None),
        (0.6, 12e3, None),
        (0.0, 4e3, (5e3, 12e3)),
        (0.0, 12e3, (1000, 2200)),
        (0.0, 12e3, (4300, 7300)),
        (0.0, 12e3, (9000, 12000)),
    )
    for smooth, band_hz, wrong in cases:
        logs = [look.log(target, level) for look in probe.spectra.values()]
        logs[0] = torch.lerp(logs[0], logs[0].mean(2, keepdim=True), smooth)
        if wrong is not None:
            logs[0][:, (centres > wrong[0]) & (centres < wrong[1])] += 1
        output = torch.cat(logs, 1).transpose(1, 2).reshape(2, rows, -1)
        probe.probe = nn.Module()
        probe.probe.forward = lambda _, output=output: output  # type: ignore[method-assign]
        batch = Batch(target, target, target, torch.full((2,), band_hz), level)
        losses = probe(torch.zeros(2, rows, 8), batch)
        for name, values in results.items():
            values.append(float(losses[name]))
    for values in results.values():
        assert values[0] < 0.1
        assert values[1] > 3 * values[0]
        assert values[2] == pytest.approx(values[0], abs=0.01)
    *_, second, above, out_of_range = results["predict_formants"]
    assert second > 1.3 * above > 0.01
    assert out_of_range == pytest.approx(results["predict_formants"][0], abs=0.01)
