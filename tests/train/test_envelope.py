"""Envelopes are compared as STOI and ESTOI compare them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from helpers import rows_of_power

torch = pytest.importorskip("torch")

from train.losses.envelope import EnvelopeLoss  # noqa: E402
from train.losses.spectral import RATE  # noqa: E402

LEVEL = 0.5


def speech_like(seed: int) -> NDArray[np.float32]:
    """Two sounds of 0.8 s: noise that comes and goes, as bands of speech do."""
    random = np.random.default_rng(seed)
    n = RATE * 4 // 5
    at = np.arange(n) / RATE
    rate = random.uniform(2, 8, (2, 1))
    loud = np.square(np.sin(np.pi * rate * at))
    return (0.2 * loud * random.standard_normal((2, n))).astype(np.float32)


def normed(x: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    x = x - x.mean()
    normed_x: NDArray[np.float64] = x / np.sqrt(np.sum(x * x) + least)
    return normed_x


def plain(output: NDArray[np.float32], target: NDArray[np.float32]) -> float:
    """Loops over what `EnvelopeLoss.distance` does at once."""
    floor, size, hop = 1e-3 * LEVEL, 768, 240
    centres = 150 * 2 ** (np.arange(15) / 3)
    at = np.arange(size // 2 + 1) * RATE / size
    results, energies = [], []
    for both in zip(output, target, strict=True):
        envelopes = []
        for sound in both:
            power = rows_of_power(sound, size, hop)
            bands = [
                power[:, (at >= c * 2 ** (-1 / 6)) & (at < c * 2 ** (1 / 6))].sum(1)
                for c in centres
            ]
            envelopes.append(np.sqrt(np.array(bands) + floor**2))
        of_one, energy = [], []
        for start in range(0, envelopes[0].shape[1] - 38 + 1, 4):
            segments = [e[:, start : start + 38] for e in envelopes]
            x, y = (np.stack([normed(b, 38 * floor**2) for b in s]) for s in segments)
            by_bands = np.mean([a @ b for a, b in zip(x, y, strict=True)])
            columns = [
                normed(a, 1e-3) @ normed(b, 1e-3) for a, b in zip(x.T, y.T, strict=True)
            ]  # fmt: skip
            of_one.append((by_bands + np.mean(columns)) / 2)
            energy.append(np.sum(segments[1] ** 2))
        results += of_one
        energies += [e > 1e-4 * max(energy) for e in energy]
    return float(1 - np.mean(np.array(results)[energies]))


def test_follows_its_definition() -> None:
    output, target = speech_like(0), speech_like(1)
    target[1, : RATE * 2 // 5] *= 1e-5
    results = EnvelopeLoss().distance(torch.from_numpy(output), torch.from_numpy(target), LEVEL)
    assert results.item() == pytest.approx(plain(output, target), abs=1e-4)


def test_more_noise_is_farther() -> None:
    loss, target = EnvelopeLoss(), torch.from_numpy(speech_like(1))
    noise = 0.1 * torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    results = [
        loss.distance(2 * target + share * noise, target, LEVEL).item() for share in (0.0, 0.3, 1.0)
    ]
    assert results[0] < 0.05 < results[1] < 0.5 * results[2]
