"""All eleven perceptual distances on sounds like speech and on silence, and their balance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from train.engine.perceptual_losses import DISTANCES  # noqa: E402
from train.losses import whisper_features  # noqa: E402
from train.losses.discriminators import Discriminators  # noqa: E402
from train.losses.gradient_balance import GradientBalance  # noqa: E402
from train.losses.schema import Kind, of_kind  # noqa: E402
from train.losses.spectral import RATE  # noqa: E402
from train.losses.whisper_features import WhisperEncoder  # noqa: E402
from train.losses.whisper_tokens import WhisperDecoder  # noqa: E402

LEVEL = 0.5
SAMPLES = 384 * 60
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
NAMES = [name for name in of_kind(Kind.PERCEPTUAL) if name != "adversarial"]
"""Eleven distances. The adversarial loss compares nothing with the target; it is tested alone."""


def speech_like(seed: int) -> torch.Tensor:
    """Return two sounds of 0.96 s: harmonics under moving formants, in syllables, with noise."""
    random = np.random.default_rng(seed)
    at = np.arange(SAMPLES) / RATE
    pitch = 2 * np.pi * np.cumsum(110 + 20 * np.sin(2 * np.pi * random.uniform(1, 4) * at)) / RATE
    sounds = []
    for _ in range(2):
        formants = [
            middle + spread * np.sin(2 * np.pi * random.uniform(1, 4) * at + random.uniform(0, 6))
            for middle, spread in ((600, 250), (1700, 500))
        ]
        sound = np.zeros(SAMPLES)
        for harmonic in range(1, 60):
            gain = sum(np.exp(-(((110 * harmonic - f) / 200) ** 2)) for f in formants)
            sound += (0.01 + gain) * np.sin(harmonic * pitch + random.uniform(0, 6))
        syllables = np.square(np.sin(2 * np.pi * random.uniform(1, 3) * at))
        sound = sound * syllables / np.abs(sound).max()
        sounds.append(LEVEL * sound + 0.01 * random.standard_normal(SAMPLES))
    return torch.from_numpy(np.array(sounds, np.float32))


@pytest.fixture
def loss(request: pytest.FixtureRequest, tiny_whisper: Path) -> Loss:
    """Return the loss of a name, as a function of output and target."""
    name = request.param
    if name in DISTANCES:
        measure = DISTANCES[name]()
        return lambda output, target: measure.distance(output, target, LEVEL)
    if name == "feature_matching":
        torch.manual_seed(0)
        networks = Discriminators([2, 3], [256], [4, 8], 4)
        return lambda output, target: networks.losses(target, output, [0, 1, 2])[1][name]
    encoder = WhisperEncoder(tiny_whisper / "model.bin", 2)
    if name == "whisper_features":
        return lambda output, target: whisper_features.distance(encoder(output), encoder(target))
    decoder = WhisperDecoder(tiny_whisper / "model.bin", 4)
    return lambda output, target: decoder.distance(encoder(output)[-1], encoder(target)[-1])


EACH = pytest.mark.parametrize("loss", [name for name in NAMES if name != "excess"], indirect=True)
"""The sounds have no empty band, which `excess` looks at: see test_sound_errors."""


def test_there_are_eleven() -> None:
    assert len(NAMES) == 11
    assert set(DISTANCES) < set(NAMES)


@EACH
def test_equal_sounds_have_no_distance(loss: Loss) -> None:
    target = speech_like(0)
    same, other = loss(target, target).item(), loss(speech_like(1), target).item()
    # Concordance and loudness add a constant to variances and to a norm.
    assert abs(same) < 0.06 * other
    assert abs(same) < 0.05


@EACH
def test_gradients_are_finite_and_lead_to_the_target(loss: Loss) -> None:
    target = speech_like(0)
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    output = (target + 0.05 * noise).requires_grad_()
    before = loss(output, target)
    (gradient,) = torch.autograd.grad(before, output)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0
    for size in (0.1, 0.01, 1e-3, 1e-4):
        with torch.no_grad():
            after = loss(output - size * gradient / gradient.norm(), target)
        if after < before:
            return
    pytest.fail(f"no step against the gradient is less than {before.item()}")


@EACH
def test_gradients_are_finite_in_silence(loss: Loss) -> None:
    target = speech_like(0)
    target[1] = 0
    output = torch.stack([torch.zeros(SAMPLES), 0.01 * speech_like(1)[0]]).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(output, target), output)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["envelope", "cepstra", "formants"])
def test_silence_has_no_gradient(name: str) -> None:
    output = torch.zeros(2, RATE // 2, requires_grad=True)
    value = DISTANCES[name]().distance(output, torch.zeros(2, RATE // 2), LEVEL)
    value.backward()
    assert value.item() == 1
    assert output.grad is not None
    torch.testing.assert_close(output.grad, torch.zeros_like(output))


def test_balance() -> None:
    """A gradient gets its share of the spectral gradient, whatever its scale."""
    random = torch.Generator().manual_seed(0)
    level = torch.tensor([1.0, 0.1, 0.01])
    shapes = torch.randn(200, 3, 3, 50, generator=random) / level[:, None]
    balance = GradientBalance()
    for spectra, small, large in shapes:
        others = {"small": 1e-3 * small, "large": 1e3 * large}
        total, factors = balance.add(spectra, others, {"small": 0.5, "large": 2.0}, level)
    assert factors["small"] == pytest.approx(500, rel=0.1)
    assert factors["large"] == pytest.approx(2e-3, rel=0.1)
    expected = spectra + factors["small"] * 1e-3 * small + factors["large"] * 1e3 * large
    torch.testing.assert_close(total, expected)
    none = {"none": torch.zeros_like(spectra)}
    quiet, _ = GradientBalance().add(spectra, none, {"none": 1.0}, level)
    torch.testing.assert_close(quiet, spectra)
