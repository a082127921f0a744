"""Losses of the code search, and the distillation of bit flips."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tomli")
pytest.importorskip("av")

from fcs_edge.modelfile import config_json  # noqa: E402
from train.data.batches import Batch  # noqa: E402
from train.data.corpus import FRAME_24K  # noqa: E402
from train.losses.code_search import search_losses  # noqa: E402
from train.losses.flip_distillation import FlipDistillation  # noqa: E402
from train.losses.objectives import TokenObjective  # noqa: E402
from train.losses.spectral import RATE  # noqa: E402
from train.model import FocalCodecStream  # noqa: E402
from train.model.codec import Encoding  # noqa: E402
from training_runs import ROOT, SEARCH, run  # noqa: E402


def test_losses_of_the_search() -> None:
    """Codes predict the cepstra of the target, in crops whose band is wide enough."""
    raw = json.loads((ROOT / "tests/data/golden/tiny.json").read_text())["config"]
    codec = FocalCodecStream(config_json.from_dict(raw | {"search_config": SEARCH}))
    assert codec.search is not None
    random = torch.Generator().manual_seed(0)
    sound = torch.randn(20 * FRAME_24K, generator=random)
    target = torch.stack([sound, 0.1 * sound])
    cepstra = codec.search.cepstra(codec.search.log_bands(target, RATE))
    assert cepstra.shape == (2, 20, 6)
    # A tenth of a sound has the same shape; its level counts by half of the energy.
    change = (cepstra[0] - cepstra[1]).reshape(20, 2, 3)
    loudness = torch.full((20, 2), float(np.log(10) * (10 / 2) ** 0.5))
    torch.testing.assert_close(change[..., 0], loudness, atol=0.1, rtol=0)
    assert change[..., 1:].abs().max() < 0.1
    # Both rates give the same bands: the input is at 16 kHz, the target at 24 kHz.
    at = [torch.arange(int(0.4 * rate)) / rate for rate in (16000, RATE)]
    tones = [0.3 * torch.sin(2 * np.pi * 700 * t) * torch.sin(9 * t) for t in at]
    low, high = (
        codec.search.log_bands(tone[None], rate)
        for tone, rate in zip(tones, (16000, RATE), strict=True)
    )
    torch.testing.assert_close(low, high, atol=0.02, rtol=0)

    bands = torch.tensor([12000.0, 5000.0])
    batch = Batch(target, target, torch.zeros(2, 20, 24), bands, torch.ones(2))
    bits = codec.config.bits_per_token
    latents = torch.nn.functional.normalize(torch.randn(2, 20, bits, generator=random), dim=2)
    codes = torch.sign(latents) * bits**-0.5
    prediction = codec.search(codes).detach()

    def losses_of(wrong: torch.Tensor, sign: float = 1) -> dict[str, float]:
        losses = search_losses(
            codec, Encoding(latents, latents, sign * codes, cepstra + wrong), batch
        )
        return {name: float(loss.detach()) for name, loss in losses.items()}

    wrong = torch.zeros(2, 20, 6)
    assert losses_of(wrong)["search_target"] == 0
    assert losses_of(wrong)["search_prediction"] == pytest.approx(
        float((prediction - cepstra)[0].square().mean()) * 0.03
    )
    wrong[1] = 10
    assert losses_of(wrong)["search_target"] == 0
    wrong[0] = 10
    assert losses_of(wrong)["search_target"] == pytest.approx(3)
    assert (
        losses_of(wrong)["latent_commitment"]
        < np.log(2)
        < losses_of(wrong, sign=-1)["latent_commitment"]
    )


def test_the_search_learns_from_flips() -> None:
    """Its network follows a probe of decoded features, and nothing else learns from that."""
    raw = json.loads((ROOT / "tests/data/golden/tiny.json").read_text())["config"]
    codec = FocalCodecStream(config_json.from_dict(raw | {"search_config": SEARCH}))
    assert codec.search is not None
    torch.manual_seed(0)
    sound = torch.randn(2, 20 * FRAME_24K)
    bands = torch.tensor([12000.0, 5000.0])
    batch = Batch(sound, sound, torch.zeros(2, 20, 24), bands, torch.ones(2))
    bits = codec.config.bits_per_token
    latents = torch.nn.functional.normalize(torch.randn(2, 20, bits), dim=2)
    codes = (torch.sign(latents) * bits**-0.5).requires_grad_()
    encoding = Encoding(latents, latents, codes)
    rows = codec.decompressor(codes).float().reshape(2, 20, -1)
    flips = FlipDistillation.of(codec.config, rows.shape[2])
    assert flips is not None
    assert FlipDistillation.of(config_json.from_dict(raw), rows.shape[2]) is None

    optimizer = torch.optim.Adam([*flips.parameters(), *codec.search.parameters()], 0.01)
    history = []
    for _ in range(120):
        losses = flips(codec, encoding, batch, rows)
        history.append({name: float(loss.detach()) for name, loss in losses.items()})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert history[-1]["flip_teacher"] < 0.5 * history[0]["flip_teacher"]
    assert history[-1]["flip_student"] < 0.2 * max(each["flip_student"] for each in history)
    assert codes.grad is None
    assert all(p.grad is None for p in codec.decompressor.parameters())

    # Audio above a crop's band changes nothing.
    torch.manual_seed(1)
    before = flips(codec, encoding, batch, rows)
    louder = torch.stack([sound[0], 9 * sound[1]])
    torch.manual_seed(1)
    other = dataclasses.replace(batch, target=louder)
    after = flips(codec, encoding, other, rows)
    assert before == after


def test_flips_are_computed_where_a_stage_weights_them(
    stage: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    path = stage("searched")
    before = run(path, corpus, tmp_path / "before", 1)
    assert before.model.objective.tokens.flips is None
    more = "bit_redundancy = 1.0\nflip_teacher = 1.0\nflip_student = 1.0"
    path.write_text(path.read_text().replace("bit_redundancy = 1.0", more))
    trainer = run(path, corpus, tmp_path / "flips", 1)
    batch = trainer.crops.at(1)
    flips = trainer.model.objective.tokens.flips
    assert flips is not None
    first = flips.probe.layers[1].weight.detach().clone()
    trainer.train_step(batch)
    assert not torch.equal(first, flips.probe.layers[1].weight)
    tokens_alone = TokenObjective(trainer.stage.model, batch.teacher.shape[2], flips=True)
    for objective in (trainer.model.objective, tokens_alone):
        losses = (
            objective(trainer.model.codec, batch, 1.0)
            if isinstance(objective, TokenObjective)
            else objective(trainer.model.codec, batch)[0]
        )
        assert {"search_prediction", "flip_teacher", "flip_student"} <= losses.keys()
