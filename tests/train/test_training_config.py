"""A stage's file is checked where it is read, against one table of keys and one of losses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("tomli")
torch = pytest.importorskip("torch")
pytest.importorskip("av")

from click.testing import CliRunner  # noqa: E402

from train import config  # noqa: E402
from train.engine import perceptual_losses  # noqa: E402
from train.engine.trainer import TrainingModel  # noqa: E402
from train.losses import schema  # noqa: E402
from train.losses.schema import LOSSES, Kind, of_kind  # noqa: E402
from training_runs import ROOT, run, write_stage  # noqa: E402


def refusal(path: Path, old: str, new: str) -> str:
    """Return the message for a stage in which `new` replaces `old`, without the file's name."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=r".") as caught:
        config.read(path)
    path.write_text(text)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("warmup = 2", "warmpu = 2", "warmpu: unknown key; did you mean warmup?"),
        (
            "distill_encoder = 1.0",
            "heerd = 0.5",
            "losses.heerd: unknown key; did you mean distill_encoder?",
        ),
        (
            "predict_mel = 1.0",
            "predict_mell = 1.0",
            "losses.predict_mell: unknown key; did you mean predict_mel?",
        ),
        ("batch = 2", "batches = 2", "data.batches: unknown key; did you mean batch?"),
        (
            "batch = 2",
            "batch = 2\n[data.augmentation]\nnoize_share = 0.5",
            "data.augmentation.noize_share: unknown key; did you mean noise_share?",
        ),
        (
            "per_step = 2",
            "per_stap = 2",
            "discriminators.per_stap: unknown key; did you mean per_step?",
        ),
        ("crops = 1", "crop = 1", "recogniser.crop: unknown key; did you mean crops?"),
    ],
)
def test_an_unknown_key_gets_the_nearest_one(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert refusal(write_stage(tmp_path, "recognised"), old, new) == message


RENAMED = [
    (table, old, new) for table, names in config.RENAMED.items() for old, new in names.items()
]


@pytest.mark.parametrize(("table", "old", "new"), RENAMED)
def test_a_renamed_key_gets_its_new_name(tmp_path: Path, table: str, old: str, new: str) -> None:
    path = write_stage(tmp_path, "recognised")
    line = f"{old} = 1" if table else ""
    start = "model =" if not table else f"[{table}]"
    if table == "data.augmentation":
        path.write_text(path.read_text() + "[data.augmentation]\n")
    replacement = f"{start}\n{line}" if table else f"{old} = 1\n{start}"
    key = f"{table}.{old}" if table else old
    assert refusal(path, start, replacement) == f"{key}: renamed, write {new}"
    # The new name is a key of the same table, and the old one is not.
    fields = {f.name for f in dataclasses.fields(config.TABLES[table])} if table != "losses" else {}
    known = set(LOSSES) if table == "losses" else set(fields)
    assert new in known
    assert old not in known


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 8", "", "steps: missing"),
        ("per_step = 2", "", "discriminators.per_step: missing"),
        ("batch = 2", "", "data.batch: missing"),
        ("layers = 2", "", "recogniser.layers: missing"),
        ("steps = 8", 'steps = "8"', "steps: must be an integer, not '8'"),
        ("steps = 8", "steps = 8.5", "steps: must be an integer, not 8.5"),
        ("warmup = 2", "warmup = true", "warmup: must be an integer, not True"),
        ("warmup = 2", "whiten = 1", "whiten: must be true or false, not 1"),
        ("mel = 1.0", 'mel = "much"', "losses.predict_mel: must be a number, not 'much'"),
        ("periods = [2, 3]", "periods = 2", "discriminators.periods: must be a list, not 2"),
        (
            "periods = [2, 3]",
            "periods = [2.5]",
            "discriminators.periods: must be an integer, not 2.5",
        ),
        (
            "batch = 2",
            "batch = 2\n[data.augmentation]\nspeed = [0.8]",
            "data.augmentation.speed: must be two numbers, not [0.8]",
        ),
        (
            "batch = 2",
            "batch = 2\n[data.augmentation]\nspeed = [1.2, 0.8]",
            "data.augmentation.speed: must be a range, lowest first",
        ),
        (
            "batch = 2",
            "batch = 2\n[data.augmentation]\nroom_share = 25",
            "data.augmentation.room_share: must be from 0 to 1, not 25.0",
        ),
        ("frames = 20", "frames = 21", "data.frames: must be a multiple of "),
        ('"muon"', '"muoon"', "optimizer: 'muoon' is unknown; did you mean 'muon'?"),
        ('"sound"', '"sounds"', "objective: 'sounds' is unknown; did you mean 'sound'?"),
        ('"encoder",', '"encodr",', "parts: 'encodr' is unknown; did you mean 'encoder'?"),
        ('"encoder",', '"search",', "parts: 'search' needs a model with search_config"),
    ],
)
def test_a_wrong_value_names_its_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert refusal(write_stage(tmp_path, "recognised"), old, new).startswith(message)


@pytest.mark.parametrize(
    ("kind", "loss", "needs"),
    [
        ("tokens", "mel", "SOUND"),
        ("tokens", "envelope", "SOUND"),
        ("tokens", "search_target", "SEARCH"),
        ("together", "flip_student", "SEARCH"),
        ("decoder", "distill_encoder", "TRAINED_TOKENS"),
        ("together", "whisper_features", "RECOGNISER"),
    ],
)
def test_a_loss_without_what_it_needs(tmp_path: Path, kind: str, loss: str, needs: str) -> None:
    path = write_stage(tmp_path, kind)
    message = refusal(path, "[losses]", f"[losses]\n{loss} = 0.5")
    assert message == f"losses.{loss}: needs {schema.Needs[needs].value}"


def test_a_network_needs_its_losses(tmp_path: Path) -> None:
    path = write_stage(tmp_path, "recognised")
    for loss in ("adversarial", "feature_matching", "whisper_features", "whisper_tokens"):
        assert refusal(path, f"{loss} = 1.0\n", "").startswith(f"losses.{loss}: missing")
    message = refusal(path, "max_tokens = 3", "max_tokens = 0")
    assert message.startswith("losses.whisper_tokens: needs max_tokens above 0")


def test_the_command_checks_files(tmp_path: Path) -> None:
    path = write_stage(tmp_path, "together")
    done = CliRunner().invoke(config.main, [str(path)])
    assert done.output == f"{path}: valid\n"
    path.write_text(path.read_text().replace("steps = 8", "stepps = 8"))
    done = CliRunner().invoke(config.main, [str(path)])
    assert done.exit_code == 1
    assert done.output == f"Error: {path}: stepps: unknown key; did you mean steps?\n"
    path = write_stage(tmp_path, "together")
    (tmp_path / "model.json").unlink()
    assert "model.json" in CliRunner().invoke(config.main, [str(path)]).output


def test_the_table_has_every_loss_that_is_computed(
    stage: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    path = stage("searched")
    text = path.read_text()
    path.write_text(text.replace("[losses]", "[losses]\nflip_teacher = 1.0\nflip_student = 1.0"))
    trainer = run(path, corpus, tmp_path / "run", 0)
    batch = trainer.crops.at(0)
    losses, _ = trainer._losses(trainer.model, batch)
    assert set(losses) == {*of_kind(Kind.TOKENS), *of_kind(Kind.SPECTRUM)}
    assert isinstance(trainer.model, TrainingModel)
    networks = {"adversarial", "feature_matching", "whisper_features", "whisper_tokens"}
    assert {*perceptual_losses.DISTANCES, *networks} == set(of_kind(Kind.PERCEPTUAL))
    for spec in LOSSES.values():
        assert (ROOT / f"train/losses/{spec.module}.py").exists()


def test_the_reference_is_generated() -> None:
    """docs/training-config.md is what ``python -m train.config --docs`` prints."""
    done = CliRunner().invoke(config.main, ["--docs"])
    assert done.exit_code == 0
    assert (ROOT / "docs/training-config.md").read_text() == done.output
    for kind in config.TABLES.values():
        assert set(config.field_docs(kind)) == {f.name for f in dataclasses.fields(kind)}
