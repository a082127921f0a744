"""Who judges the sound, and in what passes are computed."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from train import precision  # noqa: E402
from train.losses.discriminators import Discriminators, PeriodDiscriminator  # noqa: E402


@pytest.mark.parametrize("period", [2, 3, 7])
def test_a_period_is_seen_as_in_rows_and_columns(period: int) -> None:
    torch.manual_seed(period)
    discriminator = PeriodDiscriminator(period, (4, 8, 6))
    sound = torch.randn(2, 500)
    scores, seen = discriminator(sound)
    rows = 500 // period
    x = sound[:, : rows * period].reshape(2, 1, rows, period)
    for layer, strides, found in zip(discriminator.layers, (3, 3, 1), seen, strict=True):
        x = functional.conv2d(x, layer.weight[..., None], layer.bias, (strides, 1), (2, 0))
        x = functional.leaky_relu(x, 0.1)
        phases = found.reshape(2, period, *found.shape[1:]).permute(0, 2, 3, 1)
        torch.testing.assert_close(phases, x)
    last = discriminator.last
    x = functional.conv2d(x, last.weight[..., None], last.bias, (1, 1), (1, 0))
    torch.testing.assert_close(scores.reshape(2, period, 1, -1).permute(0, 2, 3, 1), x)


def test_what_is_real_is_not_asked_to_be_otherwise() -> None:
    torch.manual_seed(1)
    judges = Discriminators([2, 3], [128], [4, 8], 4)
    real, made = (torch.randn(3, 900, requires_grad=True) for _ in range(2))
    of_judges, of_maker = judges.judge(real, made, [0, 1, 2])
    for name in ("adversarial", "matching"):
        gradients = torch.autograd.grad(
            of_maker[name], (real, made), retain_graph=True, allow_unused=True
        )
        assert gradients[0] is None
        assert gradients[1].abs().sum() > 0
    # A bias of scores moves what is real and what is made alike.
    asked = [p for name, p in judges.named_parameters() if not name.endswith("last.bias")]
    learnt = torch.autograd.grad(of_judges, asked)
    assert all(gradient.abs().sum() > 0 for gradient in learnt)


def test_what_is_the_same_is_matched_and_told_apart_from_nothing() -> None:
    torch.manual_seed(2)
    judges = Discriminators([2, 5], [128], [4, 8], 4)
    sound = torch.randn(2, 900)
    of_judges, of_maker = judges.judge(sound, sound, [0, 2])
    assert of_maker["matching"].item() == 0
    assert of_judges.item() >= 2


@pytest.mark.parametrize(
    ("device", "capability", "wanted"),
    [
        ("cpu", "AVX512", torch.bfloat16),
        ("cpu", "AVX2", torch.float32),
        ("cpu", "DEFAULT", torch.float32),
        ("cuda", "AVX2", torch.bfloat16),
    ],
)
def test_products_are_in_what_is_fast(
    device: str, capability: str, wanted: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert precision.fast(torch.device(device)) == wanted
    if device == "cpu":
        x = torch.ones(2, 2)
        with precision.autocast(torch.device(device)):
            assert (x @ x).dtype == wanted
