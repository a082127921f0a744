"""Redundancy of bits within a token and with earlier tokens."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from train.losses.bit_redundancy import redundancy  # noqa: E402
from train.model.quantizer import quantize  # noqa: E402

HOP = 320


def loud(batch: int, tokens: int) -> torch.Tensor:
    return torch.ones(batch, tokens * HOP)


@pytest.mark.parametrize(("batch", "tokens", "bits"), [(1, 30, 3), (2, 13, 4), (3, 40, 16)])
def test_against_plain_loops(batch: int, tokens: int, bits: int) -> None:
    random = np.random.default_rng(bits)
    b = np.where(random.normal(size=(batch, tokens, bits)) > 0.3, 1.0, -1.0)
    audible = random.random((batch, tokens)) > 0.3
    audible[:, 0] = True
    samples = np.repeat(np.where(audible, 1.0, 0.01), HOP, 1)
    mean = np.array([b[audible][:, i].mean() for i in range(bits)])
    spread = np.sqrt(np.array([b[audible][:, i].var() for i in range(bits)]) + 1e-6)
    expected = 0.0
    for lag in range(4):
        for i in range(bits):
            for j in range(bits):
                products = [
                    (b[n, t, i] - mean[i]) * (b[n, t - lag, j] - mean[j]) / spread[i] / spread[j]
                    for n in range(batch)
                    for t in range(lag, tokens)
                    if audible[n, t] and audible[n, t - lag]
                ]
                if lag or i != j:
                    expected += np.mean(products) ** 2 / bits
    codes = torch.tensor(b * bits**-0.5)
    result = redundancy(codes, torch.tensor(samples))
    assert result.item() == pytest.approx(expected, rel=1e-4)


def test_independent_bits_have_none() -> None:
    random = torch.Generator().manual_seed(0)
    codes = quantize(torch.randn(8, 2000, 16, generator=random))
    assert redundancy(codes, loud(8, 2000)) < 0.01


def test_what_repeats_counts() -> None:
    """One bit twice, or a bit of the token before again: two pairs, and one, have all in common."""
    random = torch.Generator().manual_seed(0)
    latents = torch.randn(8, 2001, 4, generator=random)
    twice, again = latents.clone(), latents.clone()
    twice[..., 1] = twice[..., 0]
    again[:, 1:, 1] = latents[:, :-1, 0]
    found = [redundancy(quantize(x), loud(8, 2001)).item() for x in (twice, again)]
    assert found == pytest.approx([2 / 4, 1 / 4], abs=0.02)


def test_silence_does_not_count() -> None:
    """Tokens of silence are all the same, and may be."""
    random = torch.Generator().manual_seed(0)
    latents = torch.randn(4, 2000, 8, generator=random)
    latents[:, 1000:] = 1
    samples = loud(4, 2000)
    samples[:, 1000 * HOP :] = 0.01
    codes = quantize(latents)
    assert redundancy(codes, samples) < 0.02
    assert redundancy(codes, loud(4, 2000)) > 0.5


def test_a_bit_that_never_changes_has_a_slope() -> None:
    latents = torch.randn(2, 50, 4, generator=torch.Generator().manual_seed(0))
    latents[..., 2] = 1
    latents.requires_grad_()
    redundancy(quantize(latents), loud(2, 50)).backward()
    assert latents.grad is not None
    assert torch.isfinite(latents.grad).all()


def test_descent_decorrelates_bits() -> None:
    """Gradients pass the quantiser: latents that hang together are pulled apart by them."""
    random = torch.Generator().manual_seed(0)
    latents = torch.randn(4, 500, 4, generator=random)
    latents[..., 1] = latents[..., 0] + 0.3 * latents[..., 1]
    turn = torch.eye(4, requires_grad=True)
    optimizer = torch.optim.Adam([turn], 0.02)
    found = []
    for _ in range(60):
        loss = redundancy(quantize(latents @ turn), loud(4, 500))
        found.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert found[0] > 0.25
    assert found[-1] < 0.3 * found[0]
