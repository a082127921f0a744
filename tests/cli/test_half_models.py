"""Commands with half a model: what it can do, and one line for what it cannot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fcs_edge.convert import convert


@pytest.fixture
def halves(golden: Callable, tmp_path: Path) -> tuple[Path, Path]:
    """The halves of a model: what makes tokens, and what makes sound of them."""
    paths = tmp_path / "encoder.safetensors", tmp_path / "decoder.safetensors"
    for path in paths:
        convert(golden("tiny").model, path, "tiny", "int8", path.stem)
    return paths


def test_two_halves_are_a_whole(
    halves: tuple[Path, Path], golden: Callable, wav: Path, tmp_path: Path, run: Callable
) -> None:
    encoder, decoder = halves
    whole, tokens = tmp_path / "whole.safetensors", tmp_path / "tokens.fcs"
    convert(golden("tiny").model, whole, "tiny", "int8")
    assert run("encode", "-m", encoder, wav, tokens).code == 0
    assert run("decode", "-m", decoder, tokens, tmp_path / "half.wav").code == 0
    assert run("encode", "-m", whole, wav, tmp_path / "whole.fcs").code == 0
    assert run("decode", "-m", whole, tokens, tmp_path / "whole.wav").code == 0
    for name in ("half.wav", "whole.wav"):
        assert (tmp_path / name).exists()
    assert (tmp_path / "whole.fcs").read_bytes() == tokens.read_bytes()
    assert (tmp_path / "half.wav").read_bytes() == (tmp_path / "whole.wav").read_bytes()
    # Copies of tokens need no half.
    assert run("decode", "-m", encoder, tokens, tmp_path / "tokens.npz").code == 0
    assert run("encode", "-m", decoder, tmp_path / "tokens.npz", tmp_path / "b.fcs").code == 0
    assert run("warmup", "-m", encoder).code == 0
    assert run("warmup", "-m", decoder).code == 0


@pytest.mark.parametrize(
    ("arguments", "half"),
    [
        (("encode", "IN", "OUT.fcs"), "decoder"),
        (("encode", "--dtx", "IN", "OUT.fcs"), "encoder"),
        (("decode", "IN.fcs", "OUT.wav"), "encoder"),
        (("receive", "--monitor", "off", "127.0.0.1:45999"), "encoder"),
        (("send", "--from", "IN", "127.0.0.1:9"), "decoder"),
        (("send", "--dtx", "--from", "IN", "127.0.0.1:9"), "encoder"),
        (("bench",), "encoder"),
        (("demo", "--out", "OUT"), "decoder"),
        (("prior", "train", "IN", "OUT.safetensors"), "decoder"),
        (("voice", "make", "--from", "decompressor", "IN", "OUT.voice"), "encoder"),
        (("voice", "make", "--from", "decompressor", "IN", "OUT.voice"), "decoder"),
    ],
)
def test_a_missing_half_is_one_line(
    arguments: tuple[str, ...],
    half: str,
    halves: tuple[Path, Path],
    wav: Path,
    tmp_path: Path,
    run: Callable,
) -> None:
    path = halves[half == "decoder"]
    folder = tmp_path / "out"
    folder.mkdir()
    tokens = tmp_path / "in.fcs"
    run("encode", "-m", halves[0], wav, tokens)
    names = {"IN": wav, "IN.fcs": tokens, "OUT": folder}
    given = [names.get(a, folder / a if a.startswith("OUT") else a) for a in arguments]
    line = run(*given, "-m", path).failed()
    assert f"{path}: the {half} half of a model" in line
    assert "use the whole model" in line
    assert list(folder.iterdir()) == []


def test_what_describes_a_half(
    halves: tuple[Path, Path], tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "the decoder half of the model" in run("info", halves[1]).out
    assert json.loads(run("info", "--json", halves[0]).out)["part"] == "encoder"
    assert json.loads(run("info", "--json", "edge-65k").out)["part"] is None
    assert " half" not in run("info", "edge-65k").out
    models = tmp_path / "data" / "fcs-edge" / "models"
    models.mkdir(parents=True)
    halves[1].rename(models / "small.safetensors")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    listed = run("models").out.splitlines()
    assert any(line.startswith("small") and line.endswith("decoder half") for line in listed)


def test_the_command_that_writes_them(golden: Callable, tmp_path: Path, run: Callable) -> None:
    model, out = golden("tiny").model, tmp_path / "half.safetensors"
    result = run("convert", "--part", "decoder", "--weights", "int4", model, out)
    assert result.code == 0
    assert f"{out}: tiny, the decoder half, 0." in result.err
    assert result.err.splitlines()[-1].startswith(f"next: fcs-edge decode -m {out}")
    again = tmp_path / "again.safetensors"
    assert "the decoder half" in run("convert", "--part", "encoder", out, again).failed()
    assert "whole model" in run("convert", "--part", "encoder", "--check", model, again).failed(2)
    line = run("convert", "--to-checkpoint", out, tmp_path / "x.json").failed()
    assert "the decoder half of a model" in line
    assert not (tmp_path / "x.json").exists()


def test_the_command_that_writes_checkpoints(
    golden: Callable, tmp_path: Path, run: Callable
) -> None:
    model = golden("tiny").model
    result = run("convert", "--to-checkpoint", model, tmp_path / "back")
    assert result.code == 0
    assert "config.json and model.safetensors, 1." in result.err
    assert "exists already" in run("convert", "--to-checkpoint", model, tmp_path / "back").failed()
    assert run("convert", "-f", "--to-checkpoint", model, tmp_path / "back").code == 0
    line = run("convert", "--to-checkpoint", "--name", "x", model, tmp_path / "b").failed(2)
    assert "goes with --force and --quiet only" in line
    same = run("convert", "-f", "--to-checkpoint", model, model.with_suffix(".json")).failed(2)
    assert "are the same file" in same
    assert not model.with_suffix(".json").exists()
    out = run("convert", "--to-checkpoint", "edge-65k", tmp_path / "edge.json").err
    assert "int8 weights become float32" in out
    assert "the reference has no code search" in out
    assert "no place for priors" in out


def test_info_says_what_a_half_can_do(halves: tuple[Path, Path], run: Callable) -> None:
    names = "encodes_streams", "decodes_streams"
    for path, own, other in zip(halves, names, reversed(names), strict=True):
        facts = json.loads(run("info", "--json", path).out)
        assert (facts[own], facts[other]) == (True, None)
        assert other.replace("_", " ") not in run("info", path).out
