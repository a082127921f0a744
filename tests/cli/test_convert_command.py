"""``fcs-edge convert``: what it prints at the end, and what stands in for a checkpoint."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from fcs_edge.bench import host


@pytest.fixture
def folder(golden: Callable, tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((golden("tiny").checkpoint / name).read_bytes())
    return folder


def test_the_end_of_a_conversion(folder: Path, tmp_path: Path, run: Callable) -> None:
    out = tmp_path / "out.safetensors"
    lines = run("convert", folder, out, "--weights", "int8", "--check").err.splitlines()
    text = "\n".join(lines)
    assert f"{out}: source, 0.3 M weights as int8" in text
    size, before = out.stat().st_size, (folder / "model.safetensors").stat().st_size
    ratio = f"{size / before:.0%} of the source's {before / 1e6:.1f} MB"
    assert f"{size / 1e6:.1f} MB, {ratio}" in text
    assert [line for line in lines if line.startswith("attention") and "int8" in line]
    assert [line for line in lines if line.startswith("convolutions") and "f16" in line]
    assert "of 393 tokens and" in text
    assert lines[-1] == f"next: fcs-edge encode -m {out} speech.wav speech.fcs"


def test_unchanged_weights(folder: Path, tmp_path: Path, run: Callable) -> None:
    out = tmp_path / "out.safetensors"
    result = run("convert", folder, out, "--weights", "f32", "--check")
    assert result.code == 0
    assert "every weight has the value that it has in the source" in result.err
    assert "100.0% of" in result.err
    assert "100.00% of their bits" in result.err


def test_a_check_that_does_not_fit_into_memory(
    folder: Path, tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "memory_available", lambda: 1000)
    result = run("convert", folder, tmp_path / "out.safetensors", "--check")
    assert result.code == 0
    assert "warning: tokens are not compared: float32 weights take 0.0 GB" in result.err


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        ("model.safetensors", b"<!doctype html>", "a web page, not weights"),
        ("config.json", b"<html>", "a web page, not a configuration"),
        ("config.json", b'{"encoder_config": {"dropout": 1' + b"0" * 400 + b"}}", "dropout must"),
        ("config.json", b"[" * 100_000, "nested too deeply"),
        ("config.json", b'{"encoder_config": {}, "encoder_config": {}}', "is there twice"),
    ],
)
def test_what_is_no_checkpoint(
    name: str, data: bytes, message: str, folder: Path, tmp_path: Path, run: Callable
) -> None:
    (folder / name).write_bytes(data)
    line = run("convert", folder, tmp_path / "out.safetensors").failed()
    assert message in line
    assert name in line
    assert not (tmp_path / "out.safetensors").exists()


def test_a_model_too_large_for_its_weights_is_not_written(
    folder: Path, tmp_path: Path, run: Callable
) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["encoder_config"] |= {"num_layers": 256, "window_size": 8192, "max_cached_steps": 0}
    (folder / "config.json").write_text(json.dumps(config))
    line = run("convert", folder, tmp_path / "out.safetensors").failed()
    assert "config.json" in line
    assert "would take" in line


def test_torch_files(folder: Path, tmp_path: Path, run: Callable) -> None:
    torch = pytest.importorskip("torch")
    (folder / "model.safetensors").unlink()
    path, out = folder / "model.pt", tmp_path / "out.safetensors"
    name = "decoder.head.proj.bias"
    for state, message in (
        ({name: torch.zeros(1).expand(1 << 40)}, f"tensor {name} is larger than its storage"),
        ({name: torch.zeros(3, device="meta")}, "model.pt"),
        ({name: torch.zeros(3).to_sparse()}, "model.pt"),
        ({name: torch.zeros(3)}, "is missing"),
    ):
        torch.save(state, path)
        assert message in run("convert", folder, out).failed()
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "a Git LFS pointer" in run("convert", folder, out).failed()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), path)
    result = run("convert", folder, out)
    assert result.failed().count("model.pt") == 1
    assert "Warning" not in result.err
