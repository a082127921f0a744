"""Measures that hear the sound."""

from __future__ import annotations

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from train.losses.cepstral import FORMANTS, SHAPE, Cepstra, formant_discord  # noqa: E402
from train.losses.envelope import Envelopes  # noqa: E402
from train.losses.spectral import RATE  # noqa: E402

MEASURES = {
    "envelope": Envelopes,
    "cepstra": lambda: Cepstra(*SHAPE),
    "formants": lambda: Cepstra(*FORMANTS, compare=formant_discord),
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_silence_asks_for_nothing(measure: Callable[[], Envelopes | Cepstra]) -> None:
    made = torch.zeros(2, RATE // 2, requires_grad=True)
    loss = measure().apart(made, torch.zeros(2, RATE // 2), 0.5)
    loss.backward()
    assert loss.item() == 1
    assert made.grad is not None
    torch.testing.assert_close(made.grad, torch.zeros_like(made))
