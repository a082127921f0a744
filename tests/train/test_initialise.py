"""A run starts from earlier weights; weights are exported and merged."""

from __future__ import annotations

from collections.abc import Callable
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
from train import config as stages  # noqa: E402
from train import export, merge_weights  # noqa: E402
from train.engine.trainer import Trainer  # noqa: E402
from train.model import FocalCodecStream  # noqa: E402
from train.model.quantizer import tokens  # noqa: E402
from training_runs import run, without_whitening  # noqa: E402


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
    final = second.model.codec.state_dict()
    changed = {name.split(".")[0] for name, x in state.items() if not torch.equal(final[name], x)}
    assert changed == {"decompressor", "decoder"}


def test_a_stage_starts_with_earlier_discriminators(
    stage: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    path = stage("recognised")
    run(path, corpus, tmp_path / "first", 5)
    path.write_text(path.read_text().replace("steps = 8", "steps = 8\nwhiten = false"))
    with pytest.raises(ValueError, match="latents are whitened"):
        Trainer(stages.read(path), corpus, tmp_path / "second", (tmp_path / "first/last.pt",))
    second = run(path, corpus, tmp_path / "second", 5)
    third = Trainer(stages.read(path), corpus, tmp_path / "third", (tmp_path / "second/last.pt",))
    for name, tensor in second.average.codec.state_dict().items():
        assert torch.equal(third.model.codec.state_dict()[name], tensor)
    assert second.perceptual.discriminators is not None
    assert third.perceptual.discriminators is not None
    expected = second.perceptual.discriminators.state()["discriminators"]
    for name, tensor in third.perceptual.discriminators.state()["discriminators"].items():
        assert torch.equal(expected[name], tensor)
    assert third.perceptual.state()["balance"] == second.perceptual.state()["balance"]
    assert third.step == 0


def test_later_files_replace_tensors_of_earlier_ones(
    stage: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    """Audio from one stage, tokens and probes from another, discriminators from the first."""
    recognised = stage("recognised")
    text = f"whiten = false\n{recognised.read_text()}"
    recognised.write_text(text)
    sound = run(recognised, corpus, tmp_path / "sound", 2)
    tokens = run(stage("tokens"), corpus, tmp_path / "tokens", 2)
    tokens.run(until=float("inf"))
    over = tmp_path / "tokens/average.pt"
    last = run(recognised, corpus, tmp_path / "last", 0, tmp_path / "sound/last.pt", over)
    later = torch.load(over, weights_only=True)
    for name, tensor in last.model.codec.state_dict().items():
        assert torch.equal(later["codec"][name], tensor)
    probes = {n: t for n, t in last.model.objective.state_dict().items() if n in later["objective"]}
    assert probes
    assert all(torch.equal(later["objective"][name], tensor) for name, tensor in probes.items())
    assert last.perceptual.state()["balance"] == sound.perceptual.state()["balance"]


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
    expected = tokens(coded.latents)[0].numpy()
    np.testing.assert_array_equal(codec.encode(signal.astype(np.float32)), expected)
    half = tmp_path / "start.safetensors"
    assert call(export.main, [str(best), str(path), str(half)]).exit_code == 0
    started = run(path, corpus, tmp_path / "again", 0, half).model.codec.state_dict()
    for name, tensor in load_file(half).items():
        assert name.split(".")[0] in ("encoder", "compressor", "decompressor")
        torch.testing.assert_close(started[name], tensor.float(), rtol=0, atol=0)
        torch.testing.assert_close(started[name], state[name], rtol=1e-3, atol=1e-6)


def is_half_of(tensor: torch.Tensor, other: torch.Tensor | None) -> bool:
    """Return whether a tensor is another one in float16."""
    return other is not None and torch.equal(tensor, other.half().float())


def test_export_of_probes_and_discriminators(
    stage: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    """Probes and discriminators continue from a file; a discriminator of another size is new."""
    path, out = stage("recognised"), tmp_path / "start.safetensors"
    first = run(path, corpus, tmp_path / "run", 4)
    first.run(until=float("inf"))
    paths = [str(tmp_path / f"run/{name}.pt") for name in ("average", "last")]
    arguments = [paths[0], str(path), str(out), "--beside", paths[1]]
    assert CliRunner().invoke(export.main, arguments).exit_code == 0
    second = run(path, corpus, tmp_path / "second", 0, out)
    assert first.perceptual.discriminators is not None
    assert second.perceptual.discriminators is not None
    expected = first.perceptual.discriminators.state()["discriminators"]
    for name, tensor in second.perceptual.discriminators.state()["discriminators"].items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-6, msg=name)
    probes = first.average.objective.state_dict()
    for name, tensor in second.model.objective.state_dict().items():
        torch.testing.assert_close(tensor, probes[name], rtol=1e-3, atol=1e-6, msg=name)
    codec = run(path, corpus, tmp_path / "third", 0, Path(paths[0])).model.codec.state_dict()
    for name, tensor in second.model.codec.state_dict().items():
        torch.testing.assert_close(tensor, codec[name], rtol=1e-3, atol=1e-6, msg=name)
    path.write_text(path.read_text().replace("periods = [2, 3]", "periods = [2, 5]"))
    same_sizes = run(path, corpus, tmp_path / "fourth", 0, out)
    path.write_text(path.read_text().replace("periods = [2, 5]", "periods = [2]"))
    fewer = run(path, corpus, tmp_path / "fifth", 0, out)
    for trainer, known in ((same_sizes, {"0", "1", "2"}), (fewer, {"0"})):
        assert trainer.perceptual.discriminators is not None
        new = trainer.perceptual.discriminators.state()["discriminators"]
        equal = {name for name, x in new.items() if is_half_of(x, expected.get(name))}
        assert {name.split(".")[1] for name in equal if name.endswith("original1")} == known
        trainer.train_step(trainer.crops.at(0))
    refused = CliRunner().invoke(export.main, [*arguments[:2], str(tmp_path), *arguments[3:]])
    assert refused.exit_code == 1
    assert "has no probes" in refused.output


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
    exported = load_file(out / "model.safetensors")
    last, average = trainer.model.codec.state_dict(), trainer.average.codec.state_dict()
    assert any(not torch.equal(last[name], average[name]) for name in exported)
    for name, tensor in exported.items():
        torch.testing.assert_close(tensor, (last[name] + average[name]) / 2)
    first = tmp_path / "first.safetensors"
    assert call(export.main, [str(folder / "best.pt"), str(path), str(first)]).exit_code == 0
    done = call(export.main, [*paths[:3], "--half-way", str(first)])
    assert done.exit_code == 1
    assert "weights of another model" in done.output
    save_file({name: tensor.half() for name, tensor in last.items()}, first)
    assert call(export.main, [*paths[:3], "--half-way", str(first)]).exit_code == 0
    for name, tensor in load_file(out / "model.safetensors").items():
        expected = (last[name].half().float() + average[name]) / 2
        torch.testing.assert_close(tensor, expected)
    most = call(export.main, [*paths[:3], "--half-way", str(first), "--share", "0.7"])
    assert most.exit_code == 0, most.output
    for name, tensor in load_file(out / "model.safetensors").items():
        expected = 0.3 * last[name].half().float() + 0.7 * average[name]
        torch.testing.assert_close(tensor, expected)


def test_merging_weights(stage: Callable[[str], Path], corpus: Path, tmp_path: Path) -> None:
    """A run goes on with tokens trained apart, and with all else as it was."""
    run(without_whitening(stage("tokens")), corpus, tmp_path / "other", 2).run(until=float("inf"))
    weights = torch.load(tmp_path / "other/average.pt", weights_only=True)
    path = without_whitening(stage("together"))
    before = run(path, corpus, tmp_path / "run", 2)
    before.save()
    paths = [str(tmp_path / part) for part in ("run/last.pt", "other/average.pt", "new")]
    done = CliRunner().invoke(merge_weights.main, paths)
    assert done.exit_code == 0, done.output
    assert "into step 2" in done.output
    again = CliRunner().invoke(merge_weights.main, paths)
    assert again.exit_code == 1
    assert "name a new folder" in again.output
    after = run(path, corpus, tmp_path / "new", 2)
    merged = {f"codec.{n}": t for n, t in weights["codec"].items()}
    merged |= {f"objective.{n}": t for n, t in weights["objective"].items()}
    for part in ("model", "average"):
        own = getattr(before, part).state_dict()
        assert any(not torch.equal(own[name], merged[name]) for name in own if name in merged)
        for name, tensor in getattr(after, part).state_dict().items():
            torch.testing.assert_close(
                tensor, merged.get(name, own[name]), rtol=0, atol=0, equal_nan=True, msg=name
            )
    assert after.step == 2
    for old, new in zip(before.optimizers.state(), after.optimizers.state(), strict=True):
        torch.testing.assert_close(new["state"], old["state"], rtol=0, atol=0)
    after.train_step(after.crops.at(2))
    weights["codec"].popitem()
    torch.save(weights, tmp_path / "other/average.pt")
    refused = CliRunner().invoke(merge_weights.main, [*paths[:2], str(tmp_path / "third")])
    assert refused.exit_code == 1
    assert "different codecs" in refused.output
    assert not (tmp_path / "third").exists()


def test_merging_a_search(stage: Callable[[str], Path], corpus: Path, tmp_path: Path) -> None:
    """Tokens that are searched for can be laid over a run of a model that did not search."""
    run(without_whitening(stage("searched")), corpus, tmp_path / "other", 1).run(until=float("inf"))
    weights = torch.load(tmp_path / "other/average.pt", weights_only=True)
    before = run(without_whitening(stage("together")), corpus, tmp_path / "run", 2)
    paths = [str(tmp_path / part) for part in ("run/last.pt", "other/average.pt", "new")]
    done = CliRunner().invoke(merge_weights.main, paths)
    assert done.exit_code == 0, done.output
    after = run(without_whitening(stage("searched")), corpus, tmp_path / "new", 2)
    state = after.model.codec.state_dict()
    for name, tensor in weights["codec"].items():
        assert torch.equal(state[name], tensor), name
    for name, tensor in before.perceptual.state()["discriminators"].items():
        torch.testing.assert_close(after.perceptual.state()["discriminators"][name], tensor)
    after.train_step(after.crops.at(2))
    name = "search.told_in.weight"
    assert not torch.equal(after.model.codec.state_dict()[name], weights["codec"][name])
