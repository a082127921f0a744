"""Options that a model would leave without effect are refused, and hints fit the model."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture
def model(golden: Callable) -> Path:
    """A model that needs the whole sound, and all tokens."""
    path: Path = golden("nc_25").model
    return path


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A short noise."""
    path = tmp_path / "in.wav"
    rng = np.random.default_rng(0)
    soundfile.write(path, 0.1 * rng.standard_normal(9000), 16000)
    return path


def test_encode(model: Path, sound: Path, run: Callable, tmp_path: Path) -> None:
    out = tmp_path / "out.fcs"
    line = run("encode", "-m", model, "--threads", 2, sound, out).failed(2)
    assert "--threads is for models that stream" in line
    assert not out.exists()


def test_decode(model: Path, sound: Path, run: Callable, tmp_path: Path) -> None:
    tokens, out = tmp_path / "in.fcs", tmp_path / "out.wav"
    assert run("encode", "-m", model, sound, tokens).code == 0
    line = run("decode", "-m", model, "--threads", 2, tokens, out).failed(2)
    assert "--threads is for models that stream" in line
    assert not out.exists()


def test_a_checkpoint_is_two_files(model: Path, run: Callable, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    line = run("convert", "--to-checkpoint", model, out).failed(2)
    assert "OUT is x.json" in line
    assert not out.exists()


def test_the_next_steps_of_the_demo_name_the_model(
    model: Path, sound: Path, run: Callable, tmp_path: Path
) -> None:
    result = run("demo", "-m", model, "--out", tmp_path, sound)
    steps = [shlex.split(line) for line in result.out.split("Try next:")[1].splitlines()[1::2]]
    assert [step[1] for step in steps] == ["demo", "demo", "encode", "decode"]
    for step in steps[2:]:
        assert run(*step[1:]).code == 0
