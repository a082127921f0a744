"""Training goes on to the step where it was stopped, and learns."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tomli")
pytest.importorskip("av")

from click.testing import CliRunner  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

import fcs_edge  # noqa: E402
from fcs_edge.convert import convert  # noqa: E402
from fcs_edge.modelfile import config_json  # noqa: E402
from train import config as stages  # noqa: E402
from train import export, merge_weights, workers  # noqa: E402
from train.data import codec_degradation  # noqa: E402
from train.data.augment import Augmentation, Surroundings, coloured, cut, other_mouth  # noqa: E402
from train.data.batches import Batch, Crops  # noqa: E402
from train.data.corpus import FRAME_16K, FRAME_24K, read, shares  # noqa: E402
from train.engine import perceptual_losses  # noqa: E402
from train.engine.initialise import start_well  # noqa: E402
from train.engine.trainer import Trainer  # noqa: E402
from train.losses.gradient_balance import Balance  # noqa: E402
from train.losses.objectives import Echo, TokenObjective, searched, there  # noqa: E402
from train.losses.spectral import RATE, lowpassed  # noqa: E402
from train.losses.whisper_features import save_small  # noqa: E402
from train.model import FocalCodecStream  # noqa: E402
from train.model.codec import Coded  # noqa: E402
from train.model.quantizer import tokens  # noqa: E402

ROOT = Path(__file__).parents[2]
STAGE = """
model = "model.json"
objective = "{objective}"
optimizer = "muon"
teacher = "whisper"
parts = {parts}
steps = 8
learning_rate = 1e-3
warmup = 2
evaluate_every = 4
quantise_by = {quantise_by}
[losses]
heard = 1.0
kept = 1.0
told_mel = 1.0
told_shape = 1.0
told_formants = 1.0
told_short = 1.0
told_long = 1.0
sought = 1.0
found = 1.0
agreed = 1.0
redundancy = 1.0
mel = 1.0
linear = 1.0
pitch = 1.0
adversarial = 1.0
matching = 1.0
listener = 1.0
words = 1.0
{measures}
[data]
frames = 20
batch = 2
"""
PARTS = {
    "tokens": ["encoder", "compressor", "decompressor"],
    "decoder": ["decompressor", "decoder"],
    "together": ["encoder", "compressor", "decompressor", "decoder"],
    "listened": ["encoder", "compressor", "decompressor", "decoder"],
    "searched": ["encoder", "compressor", "search", "decompressor", "decoder"],
}
SEARCH = {"history": 3, "inner": 8, "bands": 10, "orders": 3, "prior": 4.0, "passes": 2}
JUDGES = """
[discriminators]
periods = [2, 3]
sizes = [256]
widths = [4, 4]
width = 4
samples = 3000
learning_rate = 1e-3
a_step = 2
from_step = 2
"""
LISTENER = """
[listener]
layers = 2
crops = 1
words = 3
"""


def write_shard(folder: Path, name: str, seconds: int, seed: int) -> None:
    """A shard of tones in noise; the teacher's features are noise."""
    folder.mkdir(exist_ok=True, parents=True)
    random = np.random.default_rng(seed)
    n = 50 * seconds
    for kind, size in (("16k", FRAME_16K), ("24k", FRAME_24K)):
        at = np.arange(n * size) / (50 * size)
        sound = 0.4 * np.sin(2 * np.pi * 300 * at) + 0.05 * random.standard_normal(n * size)
        np.save(folder / f"{name}.{kind}.npy", (sound * 32767).astype(np.int16))
    teacher = random.standard_normal((n, 24)).astype(np.float16)
    np.save(folder / f"{name}.whisper.npy", teacher)
    facts = {"source": name, "band_hz": 12000, "real": seed % 2 == 0, "voices": ["a"]}
    (folder / f"{name}.json").write_text(json.dumps(facts))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    write_shard(folder, "one", 4, 1)
    write_shard(folder, "two", 3, 2)
    write_shard(folder / "held_out", "three", 4, 3)
    return folder


@pytest.fixture
def stage(
    tmp_path: Path, tiny_whisper: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Return a stage's file by its kind, for a model as small as the golden one."""
    monkeypatch.setattr(perceptual_losses, "tiny_english", lambda: tiny_whisper)

    def write(kind: str) -> Path:
        case = json.loads((ROOT / "tests/data/golden/tiny.json").read_text())
        config = case["config"]
        config["decoder_config"]["hop_length"] = 480
        if kind == "searched":
            config["search_config"] = SEARCH
        (tmp_path / "model.json").write_text(json.dumps(config))
        parts = PARTS[kind]
        objective = "tokens" if kind == "tokens" else "sound"
        text = STAGE.format(
            objective=objective,
            parts=json.dumps(parts),
            quantise_by=6 if kind == "tokens" else 0,
            measures="envelope = 1.0\ncepstra = 1.0\nformants = 1.0" if kind == "listened" else "",
        )
        if objective == "sound":
            text += JUDGES
        if kind == "listened":
            text += LISTENER
        path = tmp_path / f"{kind}.toml"
        path.write_text(text)
        return path

    return write


def run(path: Path, corpus: Path, folder: Path, steps: int, *start: Path) -> Trainer:
    folder.mkdir(exist_ok=True)
    stage = stages.read(path)
    trainer = Trainer(stage, corpus, folder, start)
    while trainer.step < steps:
        trainer.train_step(trainer.crops.at(trainer.step))
    trainer.save()
    return trainer


@pytest.mark.parametrize("whiten", [True, False])
def test_tokens_are_a_crops_own_where_nothing_whitens(
    stage: Callable[[str], Path], corpus: Path, tmp_path: Path, whiten: bool
) -> None:
    path = stage("together")
    path.write_text(f"whiten = {str(whiten).lower()}\n{path.read_text()}")
    trainer = Trainer(stages.read(path), corpus, tmp_path / "run", ())
    codec = trainer.whole.codec.train()
    heard = trainer.crops.at(0).heard
    with torch.no_grad():
        together = tokens(codec.encode(heard).latents)[0]
        alone = tokens(codec.encode(heard[:1]).latents)[0]
        shipped = FocalCodecStream(trainer.stage.model).eval()
        shipped.load_state_dict(codec.folded())
        sent = tokens(shipped.encode(heard).latents)[0]
    assert torch.equal(together, alone) is not whiten
    assert torch.equal(together, sent) is not whiten


@pytest.mark.parametrize("kind", list(PARTS))
def test_goes_on_where_it_was_stopped(
    kind: str, stage: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    path = stage(kind)
    whole = run(path, corpus, tmp_path / "whole", 6)
    run(path, corpus, tmp_path / "parts", 3)
    parts = run(path, corpus, tmp_path / "parts", 6)
    assert parts.step == whole.step == 6
    for trainer in (whole.whole, whole.average):
        assert trainer is not None
    for a, b in ((whole.whole, parts.whole), (whole.average, parts.average)):
        for name, value in a.state_dict().items():
            torch.testing.assert_close(b.state_dict()[name], value, rtol=0, atol=0, msg=name)


def test_stages_follow_each_other(
    stage: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    """The second stage starts from the first one's weights, and leaves the encoder as it is."""
    trainer = run(stage("tokens"), corpus, tmp_path / "first", 2)
    trainer.run(until=float("inf"))
    assert trainer.step == 8
    best = tmp_path / "first/best.pt"
    state = torch.load(best, weights_only=True)["codec"]
    second = run(stage("decoder"), corpus, tmp_path / "second", 4, best)
    found = second.whole.codec.state_dict()
    changed = {name.split(".")[0] for name, x in state.items() if not torch.equal(found[name], x)}
    assert changed == {"decompressor", "decoder"}


def test_a_stage_starts_with_who_heard_before(
    stage: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    path = stage("listened")
    run(path, corpus, tmp_path / "first", 5)
    path.write_text(path.read_text().replace("steps = 8", "steps = 8\nwhiten = false"))
    with pytest.raises(ValueError, match="latents are whitened"):
        Trainer(stages.read(path), corpus, tmp_path / "second", (tmp_path / "first/last.pt",))
    second = run(path, corpus, tmp_path / "second", 5)
    third = Trainer(stages.read(path), corpus, tmp_path / "third", (tmp_path / "second/last.pt",))
    for name, tensor in second.average.codec.state_dict().items():
        assert torch.equal(third.whole.codec.state_dict()[name], tensor)
    assert second.hearers.judges is not None
    assert third.hearers.judges is not None
    heard = second.hearers.judges.state()["judges"]
    for name, tensor in third.hearers.judges.state()["judges"].items():
        assert torch.equal(heard[name], tensor)
    assert third.hearers.state()["balance"] == second.hearers.state()["balance"]
    assert third.step == 0


def test_a_stage_starts_from_each_file_laid_over_those_before(
    stage: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    """Sound from one stage, tokens and who tells of them from another, who hears from the first."""
    listened = stage("listened")
    text = f"whiten = false\n{listened.read_text()}"
    listened.write_text(text)
    sound = run(listened, corpus, tmp_path / "sound", 2)
    tokens = run(stage("tokens"), corpus, tmp_path / "tokens", 2)
    tokens.run(until=float("inf"))
    over = tmp_path / "tokens/average.pt"
    last = run(listened, corpus, tmp_path / "last", 0, tmp_path / "sound/last.pt", over)
    laid = torch.load(over, weights_only=True)
    for name, tensor in last.whole.codec.state_dict().items():
        assert torch.equal(laid["codec"][name], tensor)
    told = {n: t for n, t in last.whole.objective.state_dict().items() if n in laid["objective"]}
    assert told
    assert all(torch.equal(laid["objective"][name], tensor) for name, tensor in told.items())
    assert last.hearers.state()["balance"] == sound.hearers.state()["balance"]


def test_a_stage_may_be_spread_over_a_time(
    stage: Callable[[str], Path],
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rate grows by steps and falls with the clock; at its end there are averaged weights."""
    path, folder = stage("tokens"), tmp_path / "run"
    path.write_text(f"decay_from = 4\n{path.read_text()}")
    trainer = run(path, corpus, folder, 0)
    clock = iter(np.arange(0, 1000, 2.5))
    monkeypatch.setattr(trainer, "_now", lambda: float(next(clock)))
    rates = []
    take = trainer.train_step

    def step(batch: Batch) -> None:
        rates.append(trainer._rate())
        take(batch)

    monkeypatch.setattr(trainer, "train_step", step)
    trainer.run(until=120.0, spread=True)
    # Twice as many steps as the stage has, and as high a rate.
    assert trainer.step == len(rates) > trainer.stage.steps
    assert rates[0] < max(rates) == pytest.approx(1e-3)
    assert rates == [*sorted(rates[:3]), *sorted(rates[3:], reverse=True)]
    assert rates[-1] < 0.2e-3
    kept = torch.load(folder / "average.pt", weights_only=True)
    assert kept["step"] == trainer.step


def test_a_stage_may_ask_nothing_of_tokens(
    stage: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    path = stage("decoder")
    text = path.read_text()
    for name in ("heard", "kept", "told_mel", "told_shape", "told_formants", "told_short"):
        text = text.replace(f"{name} = 1.0\n", "")
    path.write_text(text.replace("mel = 1.0\n", "mel = 1.0\nenvelope = 1.0\n", 1))
    trainer = run(path, corpus, tmp_path / "run", 0)
    before = {n: p.clone() for n, p in trainer.whole.named_parameters()}
    trainer.train_step(trainer.crops.at(0))
    after = dict(trainer.whole.named_parameters())
    changed = {n.rsplit(".", 2)[0] for n, p in before.items() if not torch.equal(p, after[n])}
    assert any(name.startswith("codec.decoder") for name in changed)
    assert not any(name.startswith("objective.kept") for name in changed)
    # At rest there is then nothing to learn but for who hears.
    path.write_text(path.read_text().replace("steps = 8", "steps = 8\ncodec_from = 4"))
    resting = run(path, corpus, tmp_path / "rest", 2)
    for name, p in resting.whole.named_parameters():
        assert torch.equal(p, before[name]), name


def test_training_begins_before_all_of_a_corpus_is_there(
    stage: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    files = [f for f in corpus.rglob("*") if f.is_file()]
    late = [f for f in files if f.name.startswith("two")]

    def bring(found: list[Path]) -> None:
        for file in sorted(found, key=lambda f: f.suffix == ".json"):
            (there / file.relative_to(corpus)).parent.mkdir(exist_ok=True)
            shutil.copy(file, there / file.relative_to(corpus))

    threading.Timer(0.5, bring, [[f for f in files if f not in late]]).start()
    trainer = Trainer(stages.read(stage("tokens")), there, tmp_path, (), growing=True)
    trainer.train_step(trainer.crops.at(0))
    assert [s.name for s in trainer.crops.shards] == ["one"]
    bring(late)
    trainer.train_step(trainer.crops.at(1))
    assert [s.name for s in trainer.crops.shards] == ["one", "two"]


def test_who_listens_may_lie_beside_the_corpus(
    stage: Callable[[str], Path],
    corpus: Path,
    tiny_whisper: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = stage("listened")
    path.write_text(path.read_text().replace("words = 3", "words = 0"))
    settings, device = stages.read(path), torch.device("cpu")
    save_small(tiny_whisper / "model.bin", corpus / "listener.safetensors")
    packaged = perceptual_losses.Hearers(settings, device, corpus.parent)
    monkeypatch.setattr(perceptual_losses, "tiny_english", lambda: tmp_path / "nowhere")
    carried = perceptual_losses.Hearers(settings, device, corpus)
    sound = torch.randn(1, 9600, generator=torch.Generator().manual_seed(1))
    assert packaged.listener is not None
    assert carried.listener is not None
    seen = [each.listener.listener(sound)[-1].flatten() for each in (packaged, carried)]
    assert torch.corrcoef(torch.stack(seen))[0, 1] > 0.99


def test_a_stage_that_goes_on_in_a_folder_has_its_own_best(
    stage: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    """Held-out totals of other losses do not compare; those of the same ones do."""
    path, folder = stage("tokens"), tmp_path / "run"
    run(path, corpus, folder, 3).run(until=float("inf"))
    first = torch.load(folder / "best.pt", weights_only=True)["step"]
    path.write_text(path.read_text().replace("steps = 8", "steps = 12"))
    again = run(path, corpus, folder, 8)
    assert again.best < float("inf")
    path.write_text(path.read_text().replace("told_mel = 1.0", "told_mel = 1000.0"))
    run(path, corpus, folder, 8).run(until=float("inf"))
    assert torch.load(folder / "best.pt", weights_only=True)["step"] == 12 > first


def test_the_codec_rests(stage: Callable[[str], Path], corpus: Path, tmp_path: Path) -> None:
    """Until it learns, what is new beside it learns alone; then it starts slowly."""
    path = stage("listened")
    path.write_text(path.read_text().replace("steps = 8", "steps = 8\ncodec_from = 4"))
    trainer = run(path, corpus, tmp_path / "run", 0)

    def now() -> dict[str, dict[str, torch.Tensor]]:
        judges = trainer.hearers.judges
        assert judges is not None
        parts = {"codec": trainer.whole.codec, "readers": trainer.whole.objective}
        parts["judges"] = judges.discriminators
        return {part: deepcopy(dict(m.named_parameters())) for part, m in parts.items()}

    states = [now()]
    for stop in (4, 5):
        while trainer.step < stop:
            trainer.train_step(trainer.crops.at(trainer.step))
        states.append(now())
    moved = [
        {part for part in a if any(not torch.equal(a[part][n], b[part][n]) for n in a[part])}
        for a, b in itertools.pairwise(states)
    ]
    assert moved == [{"readers", "judges"}, {"codec", "readers", "judges"}]
    rates = [trainer.stage.rate_at(step) for step in (0, 1, 3, 4, 5)]
    assert rates == [5e-4, 1e-3, 1e-3, 5e-4, 1e-3]
    run(path, corpus, tmp_path / "again", 2)
    again = run(path, corpus, tmp_path / "again", 5)
    for name, value in trainer.whole.state_dict().items():
        torch.testing.assert_close(again.whole.state_dict()[name], value, rtol=0, atol=0, msg=name)


def test_samples_are_not_shaken(stage: Callable[[str], Path], corpus: Path, tmp_path: Path) -> None:
    """The layer whose outputs are samples takes smaller steps than all others."""
    trainer = run(stage("together"), corpus, tmp_path / "run", 3)
    rates = {
        id(p): group["lr"]
        for optimizer in trainer.optimizers.all
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert len(rates) == len(trainer.parameters)
    found: dict[bool, set[float]] = {True: set(), False: set()}
    for name, p in trainer.whole.named_parameters():
        if id(p) in rates:
            found["decoder.head" in name].add(rates[id(p)])
    assert len(found[True]) == len(found[False]) == 1
    assert found[True].pop() < 0.1 * found[False].pop()


def test_export(stage: Callable[[str], Path], corpus: Path, tmp_path: Path) -> None:
    """What is exported is what the runtime runs, and what training begins with."""
    path = stage("tokens")
    run(path, corpus, tmp_path / "run", 2).run(until=float("inf"))
    best, out = tmp_path / "run/best.pt", tmp_path / "checkpoint"
    call = CliRunner().invoke
    assert call(export.main, [str(best), str(path), str(out)]).exit_code == 0
    convert(out, tmp_path / "model.safetensors", "model", "f32")
    codec = fcs_edge.load(tmp_path / "model.safetensors")
    state = torch.load(best, weights_only=True)["codec"]
    model = FocalCodecStream(stages.read(path).model).eval()
    model.load_state_dict(state)
    signal = 0.1 * np.random.default_rng(0).standard_normal(4 * codec.chunk_size)
    with torch.no_grad():
        coded = model.encode(torch.from_numpy(signal.astype(np.float32))[None])
    wanted = tokens(coded.latents)[0].numpy()
    np.testing.assert_array_equal(codec.encode(signal.astype(np.float32)), wanted)
    half = tmp_path / "start.safetensors"
    assert call(export.main, [str(best), str(path), str(half)]).exit_code == 0
    started = run(path, corpus, tmp_path / "again", 0, half).whole.codec.state_dict()
    for name, tensor in load_file(half).items():
        assert name.split(".")[0] in ("encoder", "compressor", "decompressor")
        torch.testing.assert_close(started[name], tensor.float(), rtol=0, atol=0)
        torch.testing.assert_close(started[name], state[name], rtol=1e-3, atol=1e-6)


def test_export_of_what_learns_beside(
    stage: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    """Readers and discriminators go on from a file; discriminators of other sizes are new."""
    path, out = stage("listened"), tmp_path / "start.safetensors"
    first = run(path, corpus, tmp_path / "run", 4)
    first.run(until=float("inf"))
    given = [str(tmp_path / f"run/{name}.pt") for name in ("average", "last")]
    arguments = [given[0], str(path), str(out), "--beside", given[1]]
    assert CliRunner().invoke(export.main, arguments).exit_code == 0
    second = run(path, corpus, tmp_path / "second", 0, out)
    assert first.hearers.judges is not None
    assert second.hearers.judges is not None
    heard = first.hearers.judges.state()["judges"]
    for name, tensor in second.hearers.judges.state()["judges"].items():
        torch.testing.assert_close(tensor, heard[name], rtol=1e-3, atol=1e-6, msg=name)
    told = first.average.objective.state_dict()
    for name, tensor in second.whole.objective.state_dict().items():
        torch.testing.assert_close(tensor, told[name], rtol=1e-3, atol=1e-6, msg=name)
    codec = run(path, corpus, tmp_path / "third", 0, Path(given[0])).whole.codec.state_dict()
    for name, tensor in second.whole.codec.state_dict().items():
        torch.testing.assert_close(tensor, codec[name], rtol=1e-3, atol=1e-6, msg=name)
    path.write_text(path.read_text().replace("periods = [2, 3]", "periods = [2, 5]"))
    same_sizes = run(path, corpus, tmp_path / "fourth", 0, out)
    path.write_text(path.read_text().replace("periods = [2, 5]", "periods = [2]"))
    fewer = run(path, corpus, tmp_path / "fifth", 0, out)
    for trainer, known in ((same_sizes, True), (fewer, False)):
        assert trainer.hearers.judges is not None
        new = trainer.hearers.judges.state()["judges"]
        name = "all.0.last.bias"
        assert torch.equal(new[name], heard[name].half().float()) is known
        trainer.train_step(trainer.crops.at(0))
    refused = CliRunner().invoke(export.main, [*arguments[:2], str(tmp_path), *arguments[3:]])
    assert refused.exit_code == 1
    assert "has no readers" in refused.output


def test_export_half_way(stage: Callable[[str], Path], corpus: Path, tmp_path: Path) -> None:
    """Half way from averaged weights to a run's last ones is their mean, if none is whitened."""
    call, out = CliRunner().invoke, tmp_path / "checkpoint"
    path = stage("tokens")
    text = path.read_text()
    for whiten in ("true", "false"):
        path.write_text(f"whiten = {whiten}\n{text}")
        folder = tmp_path / f"whiten-{whiten}"
        trainer = run(path, corpus, folder, 2)
        trainer.run(until=float("inf"))
        paths = [str(folder / "average.pt"), str(path), str(out), "--half-way"]
        done = call(export.main, [*paths, str(folder / "last.pt")])
        assert done.exit_code == (whiten == "true"), done.output
        assert ("whitens" in done.output) == (whiten == "true")
    found = load_file(out / "model.safetensors")
    last, average = trainer.whole.codec.state_dict(), trainer.average.codec.state_dict()
    assert any(not torch.equal(last[name], average[name]) for name in found)
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, (last[name] + average[name]) / 2)
    first = tmp_path / "first.safetensors"
    assert call(export.main, [str(folder / "best.pt"), str(path), str(first)]).exit_code == 0
    done = call(export.main, [*paths[:3], "--half-way", str(first)])
    assert done.exit_code == 1
    assert "not of the same model" in done.output
    save_file({name: tensor.half() for name, tensor in last.items()}, first)
    assert call(export.main, [*paths[:3], "--half-way", str(first)]).exit_code == 0
    for name, tensor in load_file(out / "model.safetensors").items():
        wanted = (last[name].half().float() + average[name]) / 2
        torch.testing.assert_close(tensor, wanted)
    most = call(export.main, [*paths[:3], "--half-way", str(first), "--share", "0.7"])
    assert most.exit_code == 0, most.output
    for name, tensor in load_file(out / "model.safetensors").items():
        wanted = 0.3 * last[name].half().float() + 0.7 * average[name]
        torch.testing.assert_close(tensor, wanted)


def steady(path: Path) -> Path:
    """Return a stage's file, whitening taken out of it."""
    path.write_text(f"whiten = false\n{path.read_text()}")
    return path


def test_graft(stage: Callable[[str], Path], corpus: Path, tmp_path: Path) -> None:
    """A run goes on with tokens trained apart, and with all else as it was."""
    run(steady(stage("tokens")), corpus, tmp_path / "apart", 2).run(until=float("inf"))
    weights = torch.load(tmp_path / "apart/average.pt", weights_only=True)
    path = steady(stage("together"))
    before = run(path, corpus, tmp_path / "run", 2)
    before.save()
    paths = [str(tmp_path / part) for part in ("run/last.pt", "apart/average.pt", "new")]
    done = CliRunner().invoke(merge_weights.main, paths)
    assert done.exit_code == 0, done.output
    assert "over step 2" in done.output
    again = CliRunner().invoke(merge_weights.main, paths)
    assert again.exit_code == 1
    assert "name a new folder" in again.output
    after = run(path, corpus, tmp_path / "new", 2)
    laid = {f"codec.{n}": t for n, t in weights["codec"].items()}
    laid |= {f"objective.{n}": t for n, t in weights["objective"].items()}
    for part in ("whole", "average"):
        own = getattr(before, part).state_dict()
        assert any(not torch.equal(own[name], laid[name]) for name in own if name in laid)
        for name, tensor in getattr(after, part).state_dict().items():
            torch.testing.assert_close(
                tensor, laid.get(name, own[name]), rtol=0, atol=0, equal_nan=True, msg=name
            )
    assert after.step == 2
    for old, new in zip(before.optimizers.state(), after.optimizers.state(), strict=True):
        torch.testing.assert_close(new["state"], old["state"], rtol=0, atol=0)
    after.train_step(after.crops.at(2))
    weights["codec"].popitem()
    torch.save(weights, tmp_path / "apart/average.pt")
    refused = CliRunner().invoke(merge_weights.main, [*paths[:2], str(tmp_path / "other")])
    assert refused.exit_code == 1
    assert "different codecs" in refused.output
    assert not (tmp_path / "other").exists()


def test_graft_of_a_search(stage: Callable[[str], Path], corpus: Path, tmp_path: Path) -> None:
    """Tokens that are searched for can be laid over a run of a model that did not search."""
    run(steady(stage("searched")), corpus, tmp_path / "apart", 1).run(until=float("inf"))
    weights = torch.load(tmp_path / "apart/average.pt", weights_only=True)
    before = run(steady(stage("together")), corpus, tmp_path / "run", 2)
    paths = [str(tmp_path / part) for part in ("run/last.pt", "apart/average.pt", "new")]
    done = CliRunner().invoke(merge_weights.main, paths)
    assert done.exit_code == 0, done.output
    after = run(steady(stage("searched")), corpus, tmp_path / "new", 2)
    state = after.whole.codec.state_dict()
    for name, tensor in weights["codec"].items():
        assert torch.equal(state[name], tensor), name
    for name, tensor in before.hearers.state()["judges"].items():
        torch.testing.assert_close(after.hearers.state()["judges"][name], tensor)
    after.train_step(after.crops.at(2))
    name = "search.told_in.weight"
    assert not torch.equal(after.whole.codec.state_dict()[name], weights["codec"][name])


def test_what_codes_are_searched_by() -> None:
    """Codes are to tell what is there, and it is asked for where the crop's band holds it all."""
    raw = json.loads((ROOT / "tests/data/golden/tiny.json").read_text())["config"]
    codec = FocalCodecStream(config_json.from_dict(raw | {"search_config": SEARCH}))
    assert codec.search is not None
    random = torch.Generator().manual_seed(0)
    sound = torch.randn(20 * FRAME_24K, generator=random)
    wanted = torch.stack([sound, 0.1 * sound])
    there = codec.search.cepstra(codec.search.heard(wanted, RATE))
    assert there.shape == (2, 20, 6)
    # A tenth of a sound has the same shape; of how loud it is half the energy counts.
    apart = (there[0] - there[1]).reshape(20, 2, 3)
    loudness = torch.full((20, 2), float(np.log(10) * (10 / 2) ** 0.5))
    torch.testing.assert_close(apart[..., 0], loudness, atol=0.1, rtol=0)
    assert apart[..., 1:].abs().max() < 0.1
    # Both rates are heard alike: what is sent is heard at 16 kHz, what is wanted at 24.
    at = [torch.arange(int(0.4 * rate)) / rate for rate in (16000, RATE)]
    tones = [0.3 * torch.sin(2 * np.pi * 700 * t) * torch.sin(9 * t) for t in at]
    low, high = (
        codec.search.heard(tone[None], rate)
        for tone, rate in zip(tones, (16000, RATE), strict=True)
    )
    torch.testing.assert_close(low, high, atol=0.02, rtol=0)

    bands = torch.tensor([12000.0, 5000.0])
    batch = Batch(wanted, wanted, torch.zeros(2, 20, 24), bands, torch.ones(2))
    bits = codec.config.bits_per_token
    latents = torch.nn.functional.normalize(torch.randn(2, 20, bits, generator=random), dim=2)
    codes = torch.sign(latents) * bits**-0.5
    found = codec.search(codes).detach()

    def asked(wrong: torch.Tensor, turned: float = 1) -> dict[str, float]:
        losses = searched(codec, Coded(latents, latents, turned * codes, there + wrong), batch)
        return {name: float(loss.detach()) for name, loss in losses.items()}

    wrong = torch.zeros(2, 20, 6)
    assert asked(wrong)["sought"] == 0
    assert asked(wrong)["found"] == pytest.approx(float((found - there)[0].square().mean()) * 0.03)
    wrong[1] = 10
    assert asked(wrong)["sought"] == 0
    wrong[0] = 10
    assert asked(wrong)["sought"] == pytest.approx(3)
    assert asked(wrong)["agreed"] < np.log(2) < asked(wrong, turned=-1)["agreed"]


def test_the_search_learns_what_is_made_of_flips() -> None:
    """Its network follows a reader of decoded features, and nothing else learns from that."""
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
    coded = Coded(latents, latents, codes)
    rows = codec.decompressor(codes).float().reshape(2, 20, -1)
    echo = Echo.of(codec.config, rows.shape[2])
    assert echo is not None
    assert Echo.of(config_json.from_dict(raw), rows.shape[2]) is None

    optimizer = torch.optim.Adam([*echo.parameters(), *codec.search.parameters()], 0.01)
    said = []
    for _ in range(120):
        losses = echo(codec, coded, rows, *there(codec, batch))
        said.append({name: float(loss.detach()) for name, loss in losses.items()})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert said[-1]["echoed"] < 0.5 * said[0]["echoed"]
    assert said[-1]["followed"] < 0.2 * max(each["followed"] for each in said)
    assert codes.grad is None
    assert all(p.grad is None for p in codec.decompressor.parameters())

    # Of what is not in a crop's band nothing is to be told, but what is made of it is known.
    torch.manual_seed(1)
    before = echo(codec, coded, rows, *there(codec, batch))
    louder = torch.stack([sound[0], 9 * sound[1]])
    torch.manual_seed(1)
    heard = dataclasses.replace(batch, wanted=louder)
    after = echo(codec, coded, rows, *there(codec, heard))
    assert before == after


def test_flips_are_looked_at_where_a_stage_asks(
    stage: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    path = stage("searched")
    before = run(path, corpus, tmp_path / "before", 1)
    assert before.whole.objective.echo is None
    weighed = "redundancy = 1.0\nechoed = 1.0\nfollowed = 1.0"
    path.write_text(path.read_text().replace("redundancy = 1.0", weighed))
    trainer = run(path, corpus, tmp_path / "asked", 1)
    batch = trainer.crops.at(1)
    echo = trainer.whole.objective.echo
    assert echo is not None
    first = echo.reader.layers[1].weight.detach().clone()
    trainer.train_step(batch)
    assert not torch.equal(first, echo.reader.layers[1].weight)
    tokens_alone = TokenObjective(trainer.stage.model, batch.teacher.shape[2], follow=True)
    for objective in (trainer.whole.objective, tokens_alone):
        losses = (
            objective(trainer.whole.codec, batch, 1.0)
            if isinstance(objective, TokenObjective)
            else objective(trainer.whole.codec, batch)[0]
        )
        assert {"found", "echoed", "followed"} <= losses.keys()


def test_stages_are_sound() -> None:
    """Every stage that there is can be read, and weighs only losses that there are."""
    paths = sorted((ROOT / "train/configs").glob("*.toml"))
    assert len(paths) >= 3
    known = {
        "heard",
        "kept",
        "redundancy",
        "sought",
        "found",
        "echoed",
        "followed",
        "agreed",
        "told_mel",
        "told_shape",
        "told_short",
        "told_long",
    }
    known |= {"told_formants", "mel", "linear", "pitch", "envelope", "cepstra", "formants"}
    known |= {"loudness"}
    for path in paths:
        stage = stages.read(path)
        extra = {"adversarial", "matching"} if stage.discriminators else set()
        extra |= {"listener"} if stage.listener else set()
        extra |= {"words"} if stage.listener and stage.listener.words else set()
        assert set(stage.losses) <= known | extra
        assert stage.data.frames % stage.model.chunk_tokens == 0
        assert all(hasattr(FocalCodecStream(stage.model), part) for part in stage.parts)


def test_balance() -> None:
    """What judges ask for is as large as its share of what spectra do, whatever its scale."""
    random = torch.Generator().manual_seed(0)
    level = torch.tensor([1.0, 0.1, 0.01])
    shapes = torch.randn(200, 3, 3, 50, generator=random) / level[:, None]
    balance = Balance()
    for spectra, small, large in shapes:
        others = {"small": 1e-3 * small, "large": 1e3 * large}
        total, factors = balance.add(spectra, others, {"small": 0.5, "large": 2.0}, level)
    assert factors["small"] == pytest.approx(500, rel=0.1)
    assert factors["large"] == pytest.approx(2e-3, rel=0.1)
    wanted = spectra + factors["small"] * 1e-3 * small + factors["large"] * 1e3 * large
    torch.testing.assert_close(total, wanted)
    none = {"none": torch.zeros_like(spectra)}
    quiet, _ = Balance().add(spectra, none, {"none": 1.0}, level)
    torch.testing.assert_close(quiet, spectra)


def test_judges_hear_what_is_to_be_trusted() -> None:
    at = torch.arange(2400) / RATE
    tones = torch.sin(2 * torch.pi * 1000 * at) + torch.sin(2 * torch.pi * 6000 * at)
    low, whole = lowpassed(torch.stack([tones, tones]), torch.tensor([4000.0, 12000.0]))
    torch.testing.assert_close(low, torch.sin(2 * torch.pi * 1000 * at), rtol=0, atol=1e-3)
    torch.testing.assert_close(whole, tones, rtol=0, atol=1e-3)


def test_a_new_codec_hears_loudness() -> None:
    """And silence does not make its gradients explode."""
    torch.manual_seed(0)
    config = config_json.from_dict(json.loads((ROOT / "train/configs/edge-65k.json").read_text()))
    codec = FocalCodecStream(config)
    start_well(codec)
    sound = torch.randn(1, 8 * 1280)
    loud, soft, softer = (
        codec.encoder.feature_extractor.layers[0](level * sound[..., None])
        for level in (0.1, 0.02, 0.004)
    )
    sizes = [x.std(-1).mean().item() for x in (loud, soft, softer)]
    assert sizes[0] > 1.2 * sizes[1] > 1.5 * sizes[2]
    norms = []
    for level in (0.1, 1e-4, 0.0):
        codec.zero_grad()
        codec.encode(level * sound).latents[..., 0].mean().backward()
        layers = codec.encoder.feature_extractor.layers[1:]
        norms.append(sum(layer.conv.weight.grad.square().sum() for layer in layers) ** 0.5)
    assert max(norms[1:]) < 30 * norms[0]


def test_log_and_held_out(stage: Callable[[str], Path], corpus: Path, tmp_path: Path) -> None:
    path = stage("tokens")
    path.write_text(path.read_text().replace("steps = 8", "steps = 60").replace("= 4", "= 20", 1))
    trainer = run(path, corpus, tmp_path / "run", 0)
    trainer.run(until=float("inf"))
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    held_out = {line["step"]: line["held_out"]["total"] for line in lines if "held_out" in line}
    assert list(held_out) == [20, 40, 60]
    assert held_out[60] < held_out[20]
    best = min(held_out, key=held_out.__getitem__)
    assert torch.load(tmp_path / "run/best.pt", weights_only=True)["step"] == best


def test_a_batch_is_its_steps(corpus: Path) -> None:
    shards = read(corpus, "whisper")
    settings = Augmentation(room_share=1.0, noise_share=1.0)
    crops = [
        Crops(shards, shares(shards, 2.0, {}), Surroundings(corpus), settings, 16, 3, (seed,))
        for seed in (0, 0, 1)
    ]
    a, b, c = (crop.at(7) for crop in crops)
    for name, value in vars(a).items():
        torch.testing.assert_close(getattr(b, name), value)
    assert not torch.equal(a.heard, c.heard)
    assert a.heard.shape == (3, 16 * FRAME_16K)
    assert a.wanted.shape == (3, 16 * FRAME_24K)
    assert a.teacher.shape == (3, 16, 24)
    ahead = crops[0].stream(7)
    torch.testing.assert_close(next(ahead).heard, a.heard)


def test_batches_are_the_same_from_processes(corpus: Path) -> None:
    shards = read(corpus, "whisper")
    crops = Crops(
        shards, shares(shards, 2.0, {}), Surroundings(corpus), Augmentation(), 20, 2, (0,)
    )
    drawn = list(itertools.islice(crops.stream(5, loaders=2), 3))
    for step, batch in enumerate(drawn, 5):
        for one, other in zip(vars(batch).values(), vars(crops.at(step)).values(), strict=True):
            assert torch.equal(one, other)


def test_rooms_and_noises(tmp_path: Path) -> None:
    rooms = np.zeros((3, 800), np.float32)
    rooms[:, 0], rooms[:, 400] = 2, 2
    np.savez(tmp_path / "rooms.npz", rooms=rooms, length=np.full(3, 800), rt60=np.ones(3))
    np.save(tmp_path / "noise.npy", np.full(9000, 7, np.int16))
    around = Surroundings(tmp_path)
    assert len(around.rooms) == 3
    settings = Augmentation(microphone_share=0, room_share=1.0)
    low, high = np.zeros(3200, np.float32), np.zeros(4800, np.float32)
    low[1000] = high[1500] = 1
    heard, wanted, band = coloured(low, high, settings, around, np.random.default_rng(0))
    np.testing.assert_allclose(heard[[1000, 1400]], 0.5**0.5, atol=1e-5)
    # The same frequency response at both rates, up to where the room is known.
    gains = [np.abs(np.fft.rfft(x, 24 * len(x)))[: 24 * 1500] for x in (heard, wanted)]
    np.testing.assert_allclose(gains[1], gains[0], atol=0.08)
    assert band == 7600
    noise = around.noise_like(low, np.random.default_rng(3))
    assert np.sqrt(np.square(noise).mean()) == pytest.approx(1, abs=1e-3)


def passed(settings: Augmentation, folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Return frequencies, and how a click comes through there, at each rate; there are no rooms."""
    low, high = np.zeros(3200, np.float32), np.zeros(4800, np.float32)
    low[1000] = high[1500] = 1
    around = Surroundings(folder)
    *changed, band = coloured(low, high, settings, around, np.random.default_rng(0))
    assert band > 8000
    for sound, rate in zip(changed, (16000, 24000), strict=True):
        gain = np.abs(np.fft.rfft(sound))
        yield np.arange(gain.size) * rate / sound.size, gain


def test_bands_end_and_begin(tmp_path: Path) -> None:
    settings = Augmentation(
        microphone_share=0, narrow_share=1, narrow_hz=(4000, 4000), thin_share=1, thin_hz=(300, 300)
    )
    for hz, gain in passed(settings, tmp_path):
        np.testing.assert_allclose(gain[(hz > 350) & (hz < 3750)], 1, atol=1e-3)
        np.testing.assert_allclose(gain[(hz < 250) | (hz > 4250)], 0, atol=1e-3)


def test_a_band_ends_as_softly_as_is_asked(tmp_path: Path) -> None:
    settings = Augmentation(
        microphone_share=0, narrow_share=1, narrow_hz=(4000, 4000), narrow_edge=(0.5, 0.5)
    )
    for hz, gain in passed(settings, tmp_path):
        np.testing.assert_allclose(gain[hz < 2900], 1, atol=1e-2)
        np.testing.assert_allclose(
            np.interp([3500, 4000, 4500], hz, gain), [0.85, 0.5, 0.15], atol=0.02
        )
        np.testing.assert_allclose(gain[hz > 5100], 0, atol=1e-2)


def test_another_mouth_says_it_at_the_same_pitch() -> None:
    rate, pitch = 24000, 120
    hz = np.arange(rate // 2 + 1)

    def vowel_like(formants: np.ndarray) -> np.ndarray:
        peaks = sum(np.exp(-(((hz[pitch::pitch] - f) / (0.2 * f + 150)) ** 2)) for f in formants)
        return np.exp(2 * peaks)

    formants = np.array([700.0, 1700.0, 2900.0])
    line = np.zeros(hz.size)
    line[pitch::pitch] = vowel_like(formants)
    vowel = np.fft.irfft(line * np.exp(1j * hz**1.3)).astype(np.float32) * 100
    np.testing.assert_allclose(other_mouth(vowel, 1.0), vowel, atol=1e-5)
    for factor in (0.87, 1.15):
        said = other_mouth(vowel[:-7], factor)
        assert said.shape == (rate - 7,)
        found = np.abs(np.fft.rfft(said * np.hanning(said.size), rate))
        harmonics = found[pitch::pitch][:40]
        assert harmonics.sum() > 50 * found[pitch + pitch // 2 :: pitch][:40].sum()
        apart = np.log(harmonics / vowel_like(formants * factor)[:40])[3:]
        assert apart.std() < 0.15
        assert np.log(harmonics / vowel_like(formants)[:40])[3:].std() > 0.3


def test_what_mp3_leaves_of_a_sound() -> None:
    """It is spoilt, in step and as long; above its band is nothing, and wanted is cut there."""
    random = np.random.default_rng(0)
    sound = (0.1 * random.standard_normal(16000)).astype(np.float32)
    hz = np.arange(8001)
    for rate, kbps, end in codec_degradation.SETTINGS:
        heard = codec_degradation.through_mp3(sound, rate, kbps)
        assert heard.shape == sound.shape
        assert heard.dtype == np.float32
        spectra = [np.fft.rfft(x) for x in (sound, heard, cut(sound, 16000, end))]
        powers = [np.square(np.abs(x)) for x in spectra]
        low, high = (hz > 200) & (hz < 3000), hz > end + 700
        same = np.real(spectra[0] * np.conj(spectra[1]))[low].sum()
        alike = same / np.sqrt(powers[0][low].sum() * powers[1][low].sum())
        assert 0.7 < alike < 0.999, (rate, kbps)
        assert 0.7 < powers[1][low].sum() / powers[0][low].sum() < 1.3, (rate, kbps)
        for power in powers[1:]:
            assert power[high].sum() < 0.02 * powers[0][high].sum(), (rate, kbps)


def test_heard_and_wanted_are_in_step(corpus: Path) -> None:
    """The same tone at both rates, whatever is done to the crop: its phase tells the time."""
    shards = read(corpus, "whisper")
    settings = Augmentation(
        noise_share=0, microphone_share=0, rate_share=1.0, mouth_share=0.5, spoilt_share=0.5
    )
    crops = Crops(shards, shares(shards, 1.0, {}), Surroundings(corpus), settings, 48, 8, (0,))
    batch = crops.at(0)
    for heard, wanted in zip(batch.heard.numpy(), batch.wanted.numpy(), strict=True):
        middle = len(heard) // 2, len(wanted) // 2
        low = heard[middle[0] - 1600 : middle[0] + 1600]
        high = wanted[middle[1] - 2400 : middle[1] + 2400]
        bins = [np.fft.rfft(x * np.hanning(len(x))) for x in (low, high)]
        top = np.abs(bins[0]).argmax()
        assert abs(np.abs(bins[1]).argmax() - top) <= 1
        lag = np.angle(bins[0][top] / bins[1][top]) / (2 * np.pi * top * 5)
        assert abs(lag) < 2e-4


def _train(index: int, path: Path, corpus: Path, folder: Path) -> None:
    trainer = Trainer(stages.read(path), corpus, folder, ())
    while trainer.step < 2:
        trainer.train_step(trainer.crops.at(trainer.step))
    trainer.save()
    torch.save(trainer.whole.state_dict(), folder / f"{index}.pt")


def test_workers_stay_equal(stage: Callable[[str], Path], corpus: Path, tmp_path: Path) -> None:
    """Each orthogonalises half of the matrices; all have all, and so has what is saved."""
    folder = tmp_path / "run"
    folder.mkdir()
    path = stage("together")
    workers.run(_train, 2, tmp_path, path, corpus, folder)
    found = [torch.load(folder / f"{i}.pt", weights_only=True) for i in range(2)]
    new = Trainer(stages.read(path), corpus, tmp_path / "new", ()).whole.state_dict()
    for name, value in found[0].items():
        assert torch.equal(found[1][name], value), name
    trainer = Trainer(stages.read(path), corpus, folder, ())
    assert len(trainer.optimizers.matrices) > 4
    names = {id(p): name for name, p in trainer.whole.named_parameters()}
    for matrix in trainer.optimizers.matrices:
        assert not torch.equal(matrix, new[names[id(matrix)]])
        assert trainer.optimizers.all[-1].state[matrix]["momentum_buffer"].abs().max() > 0


def _sum(index: int, folder: Path) -> None:
    x = torch.full((3,), float(index + 1))
    y = torch.full((2, 2), float(index))
    workers.average([x, y])
    workers.average([])
    z = torch.full((2,), float(index))
    workers.share([z])
    workers.share([])
    (folder / f"{index}").write_text(json.dumps([x.tolist(), y.tolist(), z.tolist()]))


def test_workers_average(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that is named from where one stands, too, as in the README."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "1").mkdir(parents=True)
    workers.run(_sum, 2, Path("runs/1"), tmp_path)
    found = [json.loads((tmp_path / f"{i}").read_text()) for i in range(2)]
    assert found[0] == found[1] == [[1.5] * 3, [[0.5] * 2] * 2, [0.0] * 2]
