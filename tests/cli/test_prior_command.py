"""``fcs-edge prior train``: sound and tokens in, a model file with one more prior out."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.convert import prior_kernels, speech_tokens
from fcs_edge.convert.varied_sound import random_speed, varied


@pytest.fixture
def model(golden: Callable) -> Path:
    path: Path = golden("tiny").model
    return path


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of speech is enough."""
    monkeypatch.setattr(speech_tokens, "LEAST_SECONDS", 1)


def repeating(codec: fcs_edge.Codec, count: int) -> NDArray[np.uint16]:
    """Tokens that follow one another."""
    rng = np.random.default_rng(0)
    row = rng.integers(0, 1 << codec.bits_per_token, 7)
    return np.tile(row, count // 7 + 1)[:count].astype(np.uint16)


def test_a_prior_from_sound(
    model: Path, wav: Path, tmp_path: Path, run: Callable, little: None
) -> None:
    out = tmp_path / "out.safetensors"
    options = "--hidden", 8, "--varied", 2, "--passes", 3
    result = run("prior", "train", "-m", model, *options, wav, out)
    assert result.code == 0, result.err
    before, after = fcs_edge.load(model), fcs_edge.load(out)
    assert after.fingerprint == before.fingerprint
    assert after.prior is not None
    assert (after.prior.bits, after.prior.hidden) == (before.bits_per_token, 8)
    assert f"with the prior {after.prior.check:08x}; tokens held out take" in result.err
    sound = soundfile.read(wav, dtype="float32")[0]
    assert np.array_equal(before.encode(sound), after.encode(sound))


def test_tokens_of_each_kind_and_folders(
    model: Path, wav: Path, tmp_path: Path, run: Callable, little: None
) -> None:
    codec = fcs_edge.load(model)
    folder = tmp_path / "speech" / "more"
    folder.mkdir(parents=True)
    np.save(folder / "bare.npy", repeating(codec, 900))
    for name in ("some.npz", "some.fcs"):
        assert run("encode", "-m", model, wav, folder / name).code == 0
    (folder / "notes.txt").write_text("not speech")
    out, more = tmp_path / "out.safetensors", tmp_path / "more.safetensors"
    result = run("prior", "train", "-m", model, "--hidden", 8, "--passes", 30, folder.parent, out)
    assert result.code == 0, result.err
    assert "3 files: " in result.err
    # A bitstream that the new prior codes is speech again, for one more prior.
    coded = tmp_path / "coded.fcs"
    assert run("encode", "-m", out, folder / "bare.npy", coded).code == 0
    result = run("prior", "train", "-m", out, "--hidden", 8, "--passes", 30, coded, more)
    assert result.code == 0, result.err
    assert [p.check for p in fcs_edge.load(more).model.priors][:1] == [
        p.check for p in fcs_edge.load(out).model.priors
    ]
    assert len(fcs_edge.load(more).model.priors) == 2


def test_too_little_speech(model: Path, wav: Path, tmp_path: Path, run: Callable) -> None:
    out = tmp_path / "out.safetensors"
    line = run("prior", "train", "-m", model, "--varied", 0, wav, out).failed()
    assert "2 s of speech are too few to train a prior on: give 120 s or more" in line
    assert not out.exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("missing.wav", "missing.wav: no such file"),
        ("empty", "empty: no sound file and no file of tokens is in this folder"),
        ("text.wav", "text.wav: not a readable sound file"),
        ("large.npy", "large.npy: holds the token 65535; the model's are 0 to"),
    ],
)
def test_speech_that_cannot_be_read(
    model: Path, tmp_path: Path, run: Callable, given: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.wav").write_text("no sound")
    np.save(tmp_path / "large.npy", np.full(100, 65535, np.uint16))
    out = tmp_path / "out.safetensors"
    assert message in run("prior", "train", "-m", model, tmp_path / given, out).failed()
    assert not out.exists()


def test_outputs_that_are_refused(model: Path, wav: Path, run: Callable, tmp_path: Path) -> None:
    before = model.read_bytes()
    line = run("prior", "train", "-m", model, wav, model).failed()
    assert "exists already; --force overwrites it" in line
    assert "same file" in run("prior", "train", "-m", model, "--force", wav, model).failed(2)
    assert model.read_bytes() == before
    named = tmp_path / "out.fcs"
    assert "OUT must end in .safetensors" in run("prior", "train", wav, named).failed(2)


def test_without_numba(
    model: Path, wav: Path, tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "numba":
            raise ImportError(name)
        return load(name, *arguments, **options)

    prior_kernels.kernels.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", without)
        out = tmp_path / "out.safetensors"
        line = run("prior", "train", "-m", model, wav, out).failed()
    assert line == "fcs-edge: error: training a prior needs Numba: pip install numba"


def test_varied_sound_stays_sound(speech: NDArray[np.float32]) -> None:
    rng = np.random.default_rng(0)
    results = [varied(speech[:16000], rng) for _ in range(20)]
    assert all(len(one) == 16000 and np.isfinite(one).all() for one in results)
    peaks = [float(np.abs(one).max()) for one in results]
    assert max(peaks) <= 1
    assert max(peaks) > 3 * min(peaks)
    assert np.isfinite(varied(np.zeros(100, np.float32), rng)).all()
    assert len(varied(np.zeros(0, np.float32), rng)) == 0
    speeds = [random_speed(rng) for _ in range(50)]
    assert 0.75 < min(speeds) < 0.9 < 1.1 < max(speeds) < 1.35


def test_speech_that_is_tokens_counts_whole(model: Path, tmp_path: Path, run: Callable) -> None:
    """Only sound is varied: copies do not divide the seconds of tokens."""
    tokens = np.random.default_rng(0).integers(0, 2048, 119 * 50, dtype=np.uint16)
    np.save(tmp_path / "t.npy", tokens)
    arguments = ("prior", "train", "-m", model, tmp_path / "t.npy", tmp_path / "out.safetensors")
    assert "119 s of speech are too few" in run(*arguments).failed()


@pytest.mark.parametrize("option", ["--minutes", "--passes"])
def test_a_number_that_is_none(option: str, wav: Path, run: Callable) -> None:
    line = run("prior", "train", option, "nan", wav, "out.safetensors").failed(2)
    assert "'nan' is not a number" in line


def test_damaged_tokens_are_no_speech(
    model: Path, wav: Path, tmp_path: Path, run: Callable
) -> None:
    coded = tmp_path / "coded.fcs"
    assert run("encode", "-m", model, wav, coded).code == 0
    data = bytearray(coded.read_bytes())
    data[40] ^= 1
    coded.write_bytes(data)
    line = run("prior", "train", "-m", model, coded, tmp_path / "out.safetensors").failed()
    assert "coded.fcs: byte 19: " in line
