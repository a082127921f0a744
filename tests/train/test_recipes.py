"""The recipes are valid, and run one after another with small sizes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tomli")
pytest.importorskip("av")

from fcs_edge.modelfile import config_json  # noqa: E402
from train import config  # noqa: E402
from train.engine import initialise, perceptual_losses  # noqa: E402
from train.engine.trainer import Trainer, TrainingModel  # noqa: E402
from training_runs import ROOT, SEARCH  # noqa: E402

RECIPES = sorted((ROOT / "train/recipes").glob("*.toml"))


def small(stage: config.TrainingStage) -> config.TrainingStage:
    """Return a recipe with small sizes, and its own losses."""
    raw = json.loads((ROOT / "tests/data/golden/tiny.json").read_text())["config"]
    raw["decoder_config"]["hop_length"] = 480
    if stage.model.search is not None:
        raw["search_config"] = SEARCH
    networks, recogniser = stage.discriminators, stage.recogniser
    if networks is not None:
        sizes = {"periods": [2], "windows": [256], "period_channels": [4], "spectrum_channels": 4}
        networks = dataclasses.replace(networks, **sizes, crop_samples=3000)
    if recogniser is not None:
        recogniser = dataclasses.replace(recogniser, layers=2, crops=1)
    return dataclasses.replace(
        stage,
        model=config_json.from_dict(raw),
        data=dataclasses.replace(stage.data, frames=20, batch=2),
        codec_start=min(1, stage.codec_start),
        discriminators=networks,
        recogniser=recogniser,
    )


def test_there_are_five() -> None:
    assert [path.name[:2] for path in RECIPES] == ["1-", "2-", "3-", "4-", "5-"]
    for path in RECIPES:
        assert config.read(path).data.frames % 8 == 0
        assert f"train/recipes/{path.name}" in path.read_text()


def test_they_run_one_after_another(
    corpus: Path, tmp_path: Path, tiny_whisper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perceptual_losses, "tiny_english", lambda: tiny_whisper)
    start: tuple[Path, ...] = ()
    for path in RECIPES:
        stage = small(config.read(path))
        folder = tmp_path / path.stem
        folder.mkdir()
        trainer = Trainer(stage, corpus, folder, start)
        before = {n: p.detach().clone() for n, p in trainer.model.codec.named_parameters()}
        for _ in range(2):
            trainer.train_step(trainer.crops.at(trainer.step))
        trainer._evaluate()
        changed = {
            name.split(".")[0]
            for name, p in trainer.model.codec.named_parameters()
            if not torch.equal(p, before[name])
        }
        assert changed == set(stage.parts), path.name
        start = (folder / "average.pt",)


def test_the_warm_start_fits_the_wide_recipe() -> None:
    """Former names of tensors in the file are mapped: all its tensors are taken over."""
    weights = ROOT / "train/weights/edge-65k-28-narrow.safetensors"
    parts = initialise.read_all((weights,), torch.device("cpu"))
    stage = config.read(ROOT / "train/recipes/4-wide.toml")
    model = TrainingModel(stage, 512)
    assert initialise.take_over(parts, model) == 250
    assert "search.told_in.weight" in model.codec.state_dict()
    stage = dataclasses.replace(stage, recogniser=None)
    losses = perceptual_losses.PerceptualLosses(stage, torch.device("cpu"))
    assert losses.take_over(parts["perceptual"]) == 129


def test_former_names_of_probes_are_mapped() -> None:
    names = {
        "objective.heard.weight": "tokens.distillation.encoder.weight",
        "objective.kept.layers.1.bias": "tokens.distillation.decoded.layers.1.bias",
        "objective.told.reader.layers.3.bias": "tokens.spectrum.probe.layers.3.bias",
        "objective.told.looks.mel.window": "tokens.spectrum.spectra.mel.window",
        "objective.echo.reader.layers.0.weight": "tokens.flips.probe.layers.0.weight",
        "objective.looks.0.window": "spectra.spectra.0.window",
        "objective.pitch.window": "spectra.pitch.window",
    }
    parts = initialise.by_part({name: torch.zeros(1) for name in names})
    assert list(parts["objective"]) == list(names.values())
    stage = config.read(ROOT / "train/recipes/4-wide.toml")
    assert set(names.values()) <= TrainingModel(stage, 512).objective.state_dict().keys()
