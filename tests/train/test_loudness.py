"""The distance of loudness follows PESQ, but for its tables and its time alignment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from train.losses.loudness import Loudness, band_edges, bark  # noqa: E402
from train.losses.spectral import RATE  # noqa: E402

CLIP = Path(__file__).parents[1] / "data" / "251-118436-0003.flac"


def speech() -> NDArray[np.float32]:
    """Return 3.84 s of speech at 24 kHz."""
    sound, rate = soundfile.read(CLIP, dtype="float32")
    resampled = soxr.resample(sound, rate, RATE)
    return np.ascontiguousarray(resampled[RATE // 2 :][: 384 * 240], np.float32)


def distance(output: NDArray[np.float32], target: NDArray[np.float32]) -> float:
    of_both = (torch.from_numpy(x)[None] for x in (output, target))
    return float(Loudness().distance(*of_both, 0.5))


def degraded(clean: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return a sound with noise, without what is high, clipped, and with what rings after it."""
    random = np.random.default_rng(3)
    rms = np.sqrt(np.mean(clean**2))
    out = {}
    for db in (40, 30, 20, 10, 0):
        noise = random.standard_normal(clean.size) * rms * 10 ** (-db / 20)
        out[f"noise {db}"] = (clean + noise).astype(np.float32)
    for rate in (4000, 8000):
        out[f"narrow {rate}"] = soxr.resample(soxr.resample(clean, RATE, rate), rate, RATE)
    for times in (0.5, 2.0):
        out[f"clipped {times}"] = np.clip(clean, -times * rms, times * rms)
    tail = random.standard_normal(4000) * np.exp(-np.arange(4000) / 1000) * 0.1
    out["room"] = np.convolve(clean, np.r_[1.0, tail])[: clean.size].astype(np.float32)
    return {name: x[: clean.size] for name, x in out.items()}


def test_it_ranks_as_pesq_does() -> None:
    pesq = pytest.importorskip("pesq").pesq
    clean = speech()
    at_16k = soxr.resample(clean, RATE, 16000)
    results, scores = [], []
    for sound in degraded(clean).values():
        results.append(4.5 - distance(sound, clean))
        scores.append(pesq(16000, at_16k, soxr.resample(sound, RATE, 16000), "wb"))
    # PESQ's score before it is put on the scale of listeners (P.862.2).
    raw = (3.8224 - np.log(4 / (np.array(scores) - 0.999) - 1)) / 1.3669
    assert np.corrcoef(raw, results)[0, 1] > 0.9
    assert np.abs(raw - results).mean() < 0.8


def test_bands() -> None:
    edges = band_edges(257, 31.25)
    assert edges[0] == 0
    assert edges[-1] == 257
    assert np.all(np.diff(edges) > 0)
    z = bark((edges - 0.5).clip(0) * 31.25)
    single = np.diff(edges) == 1
    assert np.all(np.diff(z)[~single] <= 0.55)
    assert 45 < len(edges) - 1 < 55
    # A bin is in one band alone.
    assert torch.equal((Loudness().bands > 0).sum(0), torch.ones(257, dtype=torch.int64))


def test_inaudible_changes_do_not_count() -> None:
    clean = speech()
    nothing = distance(clean, clean)
    assert nothing < 0.02
    # Loudness as a whole, and what is below the threshold, do not count; what is added counts more
    # than what lacks.
    assert distance(0.25 * clean, clean) == pytest.approx(nothing, abs=2e-2)
    random = np.random.default_rng(1).standard_normal(clean.size).astype(np.float32)
    assert distance(clean + 1e-6 * random, clean) == pytest.approx(nothing, abs=1e-2)
    narrow = degraded(clean)["narrow 8000"]
    assert distance(clean, narrow) > distance(narrow, clean) > 0.2


def test_gradients_are_numbers_in_silence_too() -> None:
    clean = torch.from_numpy(speech())
    target = torch.stack([clean, torch.zeros_like(clean), clean])
    output = torch.stack([0.5 * clean, 0.01 * clean, torch.zeros_like(clean)]).requires_grad_()
    Loudness().distance(output, target, 0.5).backward()
    assert bool(torch.isfinite(output.grad).all())


def test_descent_on_it_is_descent() -> None:
    """A step against the gradient makes it less: noise in a clip is taken back."""
    clean = torch.from_numpy(speech())[None]
    torch.manual_seed(2)
    output = (clean + 0.01 * torch.randn_like(clean)).requires_grad_()
    loss = Loudness()
    before = loss.distance(output, clean, 0.5)
    (gradient,) = torch.autograd.grad(before, output)
    with torch.no_grad():
        moved = output - 1e-2 * gradient / gradient.norm()
        after = loss.distance(moved, clean, 0.5)
    assert float(after) < float(before.detach())
