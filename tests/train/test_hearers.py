"""Measures that hear the sound."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from train.cepstra import Cepstra  # noqa: E402
from train.envelopes import Envelopes  # noqa: E402
from train.spectra import RATE  # noqa: E402


@pytest.mark.parametrize("kind", [Envelopes, Cepstra])
def test_silence_asks_for_nothing(kind: type[Envelopes | Cepstra]) -> None:
    made = torch.zeros(2, RATE // 2, requires_grad=True)
    loss = kind().apart(made, torch.zeros(2, RATE // 2), 0.5)
    loss.backward()
    assert loss.item() == 1
    assert made.grad is not None
    torch.testing.assert_close(made.grad, torch.zeros_like(made))
