"""Discriminators, and the number type of products."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from train import precision  # noqa: E402
from train.losses.discriminators import Discriminators, PeriodDiscriminator  # noqa: E402


@pytest.mark.parametrize("period", [2, 3, 7])
def test_a_period_is_a_row_of_two_dimensions(period: int) -> None:
    torch.manual_seed(period)
    discriminator = PeriodDiscriminator(period, (4, 8, 6))
    sound = torch.randn(2, 500)
    scores, activations = discriminator(sound)
    rows = 500 // period
    x = sound[:, : rows * period].reshape(2, 1, rows, period)
    for layer, strides, output in zip(discriminator.layers, (3, 3, 1), activations, strict=True):
        x = functional.conv2d(x, layer.weight[..., None], layer.bias, (strides, 1), (2, 0))
        x = functional.leaky_relu(x, 0.1)
        phases = output.reshape(2, period, *output.shape[1:]).permute(0, 2, 3, 1)
        torch.testing.assert_close(phases, x)
    last = discriminator.last
    x = functional.conv2d(x, last.weight[..., None], last.bias, (1, 1), (1, 0))
    torch.testing.assert_close(scores.reshape(2, period, 1, -1).permute(0, 2, 3, 1), x)


def test_gradients_of_the_generator_do_not_reach_the_target() -> None:
    torch.manual_seed(1)
    networks = Discriminators([2, 3], [128], [4, 8], 4)
    real, output = (torch.randn(3, 900, requires_grad=True) for _ in range(2))
    of_discriminators, of_generator = networks.losses(real, output, [0, 1, 2])
    for name in ("adversarial", "feature_matching"):
        gradients = torch.autograd.grad(
            of_generator[name], (real, output), retain_graph=True, allow_unused=True
        )
        assert gradients[0] is None
        assert gradients[1].abs().sum() > 0
    # The bias of scores cancels between target and output.
    parameters = [p for name, p in networks.named_parameters() if not name.endswith("last.bias")]
    learnt = torch.autograd.grad(of_discriminators, parameters)
    assert all(gradient.abs().sum() > 0 for gradient in learnt)


def test_equal_sounds_match() -> None:
    torch.manual_seed(2)
    networks = Discriminators([2, 5], [128], [4, 8], 4)
    sound = torch.randn(2, 900)
    of_discriminators, of_generator = networks.losses(sound, sound, [0, 2])
    assert of_generator["feature_matching"].item() == 0
    assert of_discriminators.item() >= 2


@pytest.mark.parametrize(
    ("device", "capability", "expected"),
    [
        ("cpu", "AVX512", torch.bfloat16),
        ("cpu", "AVX2", torch.float32),
        ("cpu", "DEFAULT", torch.float32),
        ("cuda", "AVX2", torch.bfloat16),
    ],
)
def test_products_are_in_what_is_fast(
    device: str, capability: str, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert precision.fast(torch.device(device)) == expected
    if device == "cpu":
        x = torch.ones(2, 2)
        with precision.autocast(torch.device(device)):
            assert (x @ x).dtype == expected
