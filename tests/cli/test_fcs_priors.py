"""Bitstreams coded with a model's prior: written, read, and read without that prior."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.entropy.prior import Prior, specs
from fcs_edge.modelfile import model_file
from fcs_edge.whole_files import read_fcs, write_fcs

HOP = 480


def expecting_zeros(bits: int, logit: int) -> Prior:
    """Return a prior that expects each bit to be 0."""
    arrays = {name: np.zeros(shape, dtype) for name, (dtype, shape) in specs(bits, 1).items()}
    arrays["bias_skip"][:] = logit
    return Prior(**arrays)


OLD, NEW = expecting_zeros(11, -700), expecting_zeros(11, -900)


@pytest.fixture
def model(golden: Callable, tmp_path: Path) -> Path:
    """The tiny model with two priors."""
    path = tmp_path / "two priors.safetensors"
    model_file.write_with_priors(path, golden("tiny").codec.model, [OLD, NEW])
    return path


@pytest.fixture
def tokens() -> NDArray[np.uint16]:
    """100 tokens that no prior expects, so raw; then 150 that these expect."""
    random = np.random.default_rng(5).integers(1, 2048, 100, dtype=np.uint16)
    return np.concatenate([random, np.zeros(150, np.uint16)])


@pytest.fixture
def coded(model: Path, tokens: NDArray, tmp_path: Path) -> Path:
    path = tmp_path / "coded.fcs"
    write_fcs(path, tokens, codec=fcs_edge.load(model))
    return path


def test_the_newest_prior_codes(coded: Path, model: Path, tokens: NDArray, run: Callable) -> None:
    facts = json.loads(run("info", "--json", coded).out)
    assert facts["blocks"] == {"prior": 2, "raw": 1}
    assert facts["prior"] == {"check": f"{NEW.check:08x}", "known": False}
    assert facts["bytes"] < 23 + 138 + 60
    assert np.array_equal(read_fcs(coded, codec=fcs_edge.load(model)).tokens, tokens)
    facts = json.loads(run("info", "--json", model).out)
    assert facts["priors"] == [f"{OLD.check:08x}", f"{NEW.check:08x}"]
    assert f"{OLD.check:08x}, {NEW.check:08x}" in run("info", model).out


def test_older_priors_still_decode(
    golden: Callable, model: Path, tokens: NDArray, tmp_path: Path, run: Callable
) -> None:
    old = tmp_path / "old.safetensors"
    model_file.write_with_priors(old, golden("tiny").codec.model, [OLD])
    write_fcs(tmp_path / "old.fcs", tokens, codec=fcs_edge.load(old))
    assert run("decode", "-m", model, tmp_path / "old.fcs", tmp_path / "a.npy").code == 0
    assert np.array_equal(np.load(tmp_path / "a.npy"), tokens)


def test_without_the_prior_raw_blocks_play(
    golden: Callable, coded: Path, tokens: NDArray, tmp_path: Path, run: Callable
) -> None:
    tiny = golden("tiny")
    done = run("decode", "-m", tiny.model, coded, tmp_path / "a.wav")
    assert done.code == 1
    line = f"coded with the prior {NEW.check:08x}, which tiny does not have"
    assert done.err.count(f"{NEW.check:08x}") == done.err.count(line) == 1
    assert "3.00 s of it are silence" in done.err
    sound, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert sound.size == 250 * HOP
    assert not sound[100 * HOP :].any()
    expected = tiny.codec.decode(tokens[:100])
    assert np.abs(sound[: 100 * HOP] - expected).max() <= 1.01 / 32768
    strict = run("decode", "--strict", "-m", tiny.model, coded, tmp_path / "b.wav")
    assert f"{NEW.check:08x}" in strict.failed()


def test_without_the_prior_nothing_may_be_left(
    golden: Callable, model: Path, tmp_path: Path, run: Callable
) -> None:
    path = tmp_path / "zeros.fcs"
    write_fcs(path, np.zeros(100, np.uint16), codec=fcs_edge.load(model))
    for out in ("a.wav", "a.npz"):
        done = run("decode", "-m", golden("tiny").model, path, tmp_path / out)
        assert done.code == 1
        assert f"coded with the prior {NEW.check:08x}, which tiny does not have" in done.err
        assert not (tmp_path / out).exists()
    # Its model has no name here.
    done = run("decode", path, tmp_path / "a.npz")
    assert done.code == 1
    fingerprint = golden("tiny").codec.fingerprint.hex()
    assert f"the prior {NEW.check:08x} of the model {fingerprint}" in done.err
    assert "give it with --model" in done.err
    assert not (tmp_path / "a.npz").exists()


def test_a_prior_that_no_block_uses_is_not_missed(
    golden: Callable, model: Path, tokens: NDArray, tmp_path: Path, run: Callable
) -> None:
    path = tmp_path / "raw.fcs"
    write_fcs(path, tokens[:100], codec=fcs_edge.load(model))
    done = run("decode", "-q", "-m", golden("tiny").model, path, tmp_path / "a.wav")
    assert (done.code, done.err) == (0, "")


def test_arrays_and_back(coded: Path, model: Path, tmp_path: Path, run: Callable) -> None:
    assert run("decode", "-m", model, coded, tmp_path / "a.npz").code == 0
    assert run("encode", "-m", model, tmp_path / "a.npz", tmp_path / "b.fcs").code == 0
    assert (tmp_path / "b.fcs").read_bytes() == coded.read_bytes()
    done = run("encode", "-m", model, "--raw-tokens", tmp_path / "a.npz", tmp_path / "c.fcs")
    assert done.code == 0
    facts = json.loads(run("info", "--json", tmp_path / "c.fcs").out)
    assert (facts["blocks"], facts["prior"]) == ({"raw": 3}, None)


def test_a_model_by_name_is_found(
    coded: Path, model: Path, tokens: NDArray, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = coded.parent / "fcs-edge" / "models"
    folder.mkdir(parents=True)
    (folder / "two.safetensors").symlink_to(model)
    monkeypatch.setenv("XDG_DATA_HOME", str(coded.parent))
    assert np.array_equal(read_fcs(coded).tokens, tokens)
    facts = json.loads(run("info", "--json", coded).out)
    assert facts["prior"]["known"] is True


def test_the_prior_of_a_model_with_a_name_is_found(
    wav: Path, tmp_path: Path, run: Callable
) -> None:
    """An older copy of the model's file, without its prior, plays what the model coded."""
    bare, coded = tmp_path / "bare.safetensors", tmp_path / "a.fcs"
    model_file.write_with_priors(bare, fcs_edge.load().model, [])
    assert run("encode", wav, coded).code == 0
    assert set(json.loads(run("info", "--json", coded).out)["blocks"]) == {"prior"}
    for out in ("a.wav", "a.npy"):
        done = run("decode", "-m", bare, coded, tmp_path / out)
        assert done.code == 0, done.err
