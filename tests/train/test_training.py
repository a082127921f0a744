"""The training loop: it continues where it stopped, and learns."""

from __future__ import annotations

import itertools
import json
import shutil
import threading
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tomli")
pytest.importorskip("av")

from fcs_edge.modelfile import config_json  # noqa: E402
from train import config as stages  # noqa: E402
from train import workers  # noqa: E402
from train.data.batches import Batch  # noqa: E402
from train.engine import perceptual_losses  # noqa: E402
from train.engine import trainer as trainer_module  # noqa: E402
from train.engine.initialise import scale_new_weights  # noqa: E402
from train.engine.trainer import Trainer  # noqa: E402
from train.losses.whisper_features import save_small  # noqa: E402
from train.model import FocalCodecStream  # noqa: E402
from train.model.quantizer import tokens  # noqa: E402
from training_runs import PARTS, ROOT, run  # noqa: E402


@pytest.mark.parametrize("whiten", [True, False])
def test_tokens_are_a_crops_own_where_nothing_whitens(
    stage: Callable[[str], Path], corpus: Path, tmp_path: Path, whiten: bool
) -> None:
    path = stage("together")
    path.write_text(f"whiten = {str(whiten).lower()}\n{path.read_text()}")
    trainer = Trainer(stages.read(path), corpus, tmp_path / "run", ())
    codec = trainer.model.codec.train()
    sound = trainer.crops.at(0).input
    with torch.no_grad():
        together = tokens(codec.encode(sound).latents)[0]
        alone = tokens(codec.encode(sound[:1]).latents)[0]
        shipped = FocalCodecStream(trainer.stage.model).eval()
        shipped.load_state_dict(codec.folded())
        sent = tokens(shipped.encode(sound).latents)[0]
    assert torch.equal(together, alone) is not whiten
    assert torch.equal(together, sent) is not whiten


@pytest.mark.parametrize("kind", list(PARTS))
def test_a_stopped_run_continues(
    kind: str, stage: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    path = stage(kind)
    once = run(path, corpus, tmp_path / "once", 6)
    run(path, corpus, tmp_path / "parts", 3)
    parts = run(path, corpus, tmp_path / "parts", 6)
    assert parts.step == once.step == 6
    for trainer in (once.model, once.average):
        assert trainer is not None
    for a, b in ((once.model, parts.model), (once.average, parts.average)):
        for name, value in a.state_dict().items():
            torch.testing.assert_close(b.state_dict()[name], value, rtol=0, atol=0, msg=name)


def test_a_stage_may_be_spread_over_a_time(
    stage: Callable[[str], Path],
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rate grows by steps and falls with the clock; at its end there are averaged weights."""
    path, folder = stage("tokens"), tmp_path / "run"
    path.write_text(f"decay_start = 4\n{path.read_text()}")
    trainer = run(path, corpus, folder, 0)
    clock = iter(np.arange(0, 1000, 2.5))
    monkeypatch.setattr(trainer_module, "_now", lambda: float(next(clock)))
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
    saved = torch.load(folder / "average.pt", weights_only=True)
    assert saved["step"] == trainer.step


def test_a_stage_may_weight_no_loss_of_tokens(
    stage: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    path = stage("decoder")
    text = path.read_text().replace("distill_decoded = 1.0\n", "")
    path.write_text(text.replace("mel = 1.0\n", "mel = 1.0\nenvelope = 1.0\n", 1))
    trainer = run(path, corpus, tmp_path / "run", 0)
    before = {n: p.clone() for n, p in trainer.model.named_parameters()}
    trainer.train_step(trainer.crops.at(0))
    after = dict(trainer.model.named_parameters())
    changed = {n.rsplit(".", 2)[0] for n, p in before.items() if not torch.equal(p, after[n])}
    assert any(name.startswith("codec.decoder") for name in changed)
    assert not any(name.startswith("objective.tokens") for name in changed)
    # Before `codec_start` only the discriminators have something to learn.
    path.write_text(path.read_text().replace("steps = 8", "steps = 8\ncodec_start = 4"))
    resting = run(path, corpus, tmp_path / "rest", 2)
    for name, p in resting.model.named_parameters():
        assert torch.equal(p, before[name]), name


def test_training_starts_before_the_corpus_is_complete(
    stage: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    arrived = tmp_path / "arrived"
    arrived.mkdir()
    files = [f for f in corpus.rglob("*") if f.is_file()]
    late = [f for f in files if f.name.startswith("two")]

    def copy(paths: list[Path]) -> None:
        for file in sorted(paths, key=lambda f: f.suffix == ".json"):
            (arrived / file.relative_to(corpus)).parent.mkdir(exist_ok=True)
            shutil.copy(file, arrived / file.relative_to(corpus))

    threading.Timer(0.5, copy, [[f for f in files if f not in late]]).start()
    trainer = Trainer(stages.read(stage("tokens")), arrived, tmp_path, (), growing=True)
    trainer.train_step(trainer.crops.at(0))
    assert [s.name for s in trainer.crops.shards] == ["one"]
    copy(late)
    trainer.train_step(trainer.crops.at(1))
    assert [s.name for s in trainer.crops.shards] == ["one", "two"]


def test_the_recogniser_may_be_in_the_corpus(
    stage: Callable[[str], Path],
    corpus: Path,
    tiny_whisper: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = stage("recognised")
    text = path.read_text().replace("max_tokens = 3", "max_tokens = 0")
    path.write_text(text.replace("whisper_tokens = 1.0\n", ""))
    settings, device = stages.read(path), torch.device("cpu")
    save_small(tiny_whisper / "model.bin", corpus / "recogniser.safetensors")
    packaged = perceptual_losses.PerceptualLosses(settings, device, corpus.parent)
    monkeypatch.setattr(perceptual_losses, "tiny_english", lambda: tmp_path / "nowhere")
    copied = perceptual_losses.PerceptualLosses(settings, device, corpus)
    sound = torch.randn(1, 9600, generator=torch.Generator().manual_seed(1))
    assert packaged.recogniser is not None
    assert copied.recogniser is not None
    features = [x.recogniser.encoder(sound)[-1].flatten() for x in (packaged, copied)]
    assert torch.corrcoef(torch.stack(features))[0, 1] > 0.99


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
    path.write_text(path.read_text().replace("predict_mel = 1.0", "predict_mel = 1000.0"))
    run(path, corpus, folder, 8).run(until=float("inf"))
    assert torch.load(folder / "best.pt", weights_only=True)["step"] == 12 > first


def test_the_codec_starts_later(stage: Callable[[str], Path], corpus: Path, tmp_path: Path) -> None:
    """Before `codec_start` probes and discriminators learn alone; then the codec warms up."""
    path = stage("recognised")
    path.write_text(path.read_text().replace("steps = 8", "steps = 8\ncodec_start = 4"))
    trainer = run(path, corpus, tmp_path / "run", 0)

    def parameters() -> dict[str, dict[str, torch.Tensor]]:
        training = trainer.perceptual.discriminators
        assert training is not None
        parts = {"codec": trainer.model.codec, "probes": trainer.model.objective}
        parts["discriminators"] = training.discriminators
        return {part: deepcopy(dict(m.named_parameters())) for part, m in parts.items()}

    states = [parameters()]
    for stop in (4, 5):
        while trainer.step < stop:
            trainer.train_step(trainer.crops.at(trainer.step))
        states.append(parameters())
    moved = [
        {part for part in a if any(not torch.equal(a[part][n], b[part][n]) for n in a[part])}
        for a, b in itertools.pairwise(states)
    ]
    assert moved == [{"probes", "discriminators"}, {"codec", "probes", "discriminators"}]
    rates = [trainer.stage.rate_at(step) for step in (0, 1, 3, 4, 5)]
    assert rates == [5e-4, 1e-3, 1e-3, 5e-4, 1e-3]
    run(path, corpus, tmp_path / "again", 2)
    again = run(path, corpus, tmp_path / "again", 5)
    for name, value in trainer.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], value, rtol=0, atol=0, msg=name)


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
    rates_of: dict[bool, set[float]] = {True: set(), False: set()}
    for name, p in trainer.model.named_parameters():
        if id(p) in rates:
            rates_of["decoder.head" in name].add(rates[id(p)])
    assert len(rates_of[True]) == len(rates_of[False]) == 1
    assert rates_of[True].pop() < 0.1 * rates_of[False].pop()


def test_a_new_codec_detects_level() -> None:
    """And silence does not make its gradients explode."""
    torch.manual_seed(0)
    config = config_json.from_dict(json.loads((ROOT / "train/recipes/edge-65k.json").read_text()))
    codec = FocalCodecStream(config)
    scale_new_weights(codec)
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


def _train(index: int, path: Path, corpus: Path, folder: Path) -> None:
    trainer = Trainer(stages.read(path), corpus, folder, ())
    while trainer.step < 2:
        trainer.train_step(trainer.crops.at(trainer.step))
    trainer.save()
    torch.save(trainer.model.state_dict(), folder / f"{index}.pt")


def test_workers_stay_equal(stage: Callable[[str], Path], corpus: Path, tmp_path: Path) -> None:
    """Each orthogonalises half of the matrices; all have all, and so has what is saved."""
    folder = tmp_path / "run"
    folder.mkdir()
    path = stage("together")
    workers.run(_train, 2, tmp_path, path, corpus, folder)
    states = [torch.load(folder / f"{i}.pt", weights_only=True) for i in range(2)]
    new = Trainer(stages.read(path), corpus, tmp_path / "new", ()).model.state_dict()
    for name, value in states[0].items():
        assert torch.equal(states[1][name], value), name
    trainer = Trainer(stages.read(path), corpus, folder, ())
    assert len(trainer.optimizers.matrices) > 4
    names = {id(p): name for name, p in trainer.model.named_parameters()}
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
    sums = [json.loads((tmp_path / f"{i}").read_text()) for i in range(2)]
    assert sums[0] == sums[1] == [[1.5] * 3, [[0.5] * 2] * 2, [0.0] * 2]
