"""Model files back to the layout of the reference."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA, load_script
from fuzz_models import SMALL, drawn
from safetensors.numpy import load_file

import fcs_edge
from fcs_edge.convert import convert, to_checkpoint, write_model
from fcs_edge.errors import CheckpointError, CheckpointWarning, FcsError
from fcs_edge.modelfile.tensor_layout import as_matrix, from_matrix, tensor_shapes
from helpers import limited_file_size

NAMES = ("encoder", "compressor", "quantizer", "decompressor", "decoder")


@pytest.mark.parametrize("case", ["tiny", "options", "nolookahead"])
def test_a_round_trip_is_equal_to_the_byte(case: str, golden: Callable, tmp_path: Path) -> None:
    source = golden(case)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_checkpoint(source.model, tmp_path / "back")
    before = load_file(source.checkpoint / "model.safetensors")
    after = load_file(tmp_path / "back" / "model.safetensors")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype
        assert after[name].tobytes() == tensor.tobytes()
    raw = json.loads((tmp_path / "back" / "config.json").read_text())
    assert sorted(raw) == sorted(f"{name}_{item}" for name in NAMES for item in ("name", "config"))
    for part in NAMES:
        stated = json.loads((source.checkpoint / "config.json").read_text())
        assert raw[f"{part}_name"] == stated.get(f"{part}_name", raw[f"{part}_name"])
        assert stated.get(f"{part}_config", {}).items() <= raw[f"{part}_config"].items()
    again = convert(tmp_path / "back", tmp_path / "again.safetensors", case, "f32")
    assert again.fingerprint == source.codec.fingerprint
    assert again.sha256 == source.codec.model.sha256


def test_version_1_becomes_version_2(tmp_path: Path) -> None:
    """A checkpoint is a source too: its layout becomes the newer one."""

    load_script("make_checkpoint").write(DATA / "golden/nc_v001.json", tmp_path / "first")
    to_checkpoint(tmp_path / "first", tmp_path / "second")
    models = [convert(tmp_path / n, tmp_path / f"{n}.st", "x") for n in ("first", "second")]
    assert models[0].sha256 == models[1].sha256
    raw = json.loads((tmp_path / "second" / "config.json").read_text())
    assert raw["decoder_name"] == "Vocos"
    assert raw["decoder_config"]["input_dim"] == 48
    assert "input_channels" not in raw["decoder_config"]


@pytest.mark.parametrize("scheme", ["f16", "int8", "int4"])
def test_stored_weights_keep_their_values(scheme: str, golden: Callable, tmp_path: Path) -> None:
    """The warning names the fingerprint that the checkpoint converts to."""
    model = convert(golden("tiny").checkpoint, tmp_path / "m.safetensors", "tiny", scheme)
    with pytest.warns(CheckpointWarning) as caught:
        to_checkpoint(model.path, tmp_path / "back")
    texts = [str(warning.message) for warning in caught]
    integers = [text for text in texts if f"{scheme} weights become float32" in text]
    assert len(integers) == (scheme != "f16")
    again = convert(tmp_path / "back", tmp_path / "again.safetensors", "tiny", "f32")
    assert any(f"converts to another fingerprint, {again.fingerprint.hex()}" in t for t in texts)
    tensors = load_file(tmp_path / "back" / "model.safetensors")
    reader = model.reader()
    for name, shape in tensor_shapes(model.config).items():
        assert tensors[name].shape == shape
        if model.stored[name].dtype in ("F32", "F16"):
            assert tensors[name].tobytes() == model.tensors[name].tobytes()
        else:
            weight = reader.matrix(name)
            assert np.array_equal(as_matrix(name, tensors[name]), weight.float32())
    tokens = [3, 1, 2]
    expected = golden("tiny").codec.decode(tokens)
    assert np.abs(fcs_edge.load(again.path).decode(tokens) - expected).max() < 0.5


def test_a_file_and_its_weights(golden: Callable, tmp_path: Path) -> None:
    """The reference reads x.json with x.safetensors; only a hub repository's has the name model."""
    model = golden("nolookahead").model
    to_checkpoint(model, tmp_path / "x.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.safetensors"]
    for source in ("x", "x.json", "x.safetensors"):
        again = convert(tmp_path / source, tmp_path / "again.safetensors")
        assert again.fingerprint == golden("nolookahead").codec.fingerprint
    with pytest.raises(CheckpointError, match=r"x\.json: exists already"):
        to_checkpoint(model, tmp_path / "x.json")
    (tmp_path / "x.json").unlink()
    with pytest.raises(CheckpointError, match=r"x\.safetensors: exists already"):
        to_checkpoint(model, tmp_path / "x.json")


@pytest.mark.parametrize(
    ("name", "shape"),
    [("x.conv.weight", (4, 3, 5)), ("a.upscale.upscale.weight", (4, 3, 2)), ("x.weight", (3, 4))],
)
def test_matrices_become_their_tensors_again(name: str, shape: tuple[int, ...]) -> None:
    tensor = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    assert np.array_equal(from_matrix(name, as_matrix(name, tensor), shape), tensor)


def test_what_the_reference_does_not_have(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.safetensors", SMALL, drawn(SMALL, 0), "small", "drawn", "f32")
    with pytest.warns(CheckpointWarning) as caught:
        to_checkpoint(model.path, tmp_path / "back")
    texts = [str(warning.message) for warning in caught]
    assert "the reference has no code search" in texts[0]
    assert "another fingerprint" in texts[1]
    assert not [n for n in load_file(tmp_path / "back" / "model.safetensors") if "search" in n]
    assert "search_config" not in json.loads((tmp_path / "back" / "config.json").read_text())
    convert(tmp_path / "back", tmp_path / "again.safetensors")


def test_what_is_refused(golden: Callable, tmp_path: Path) -> None:
    half = convert(golden("tiny").checkpoint, tmp_path / "h.safetensors", "tiny", "f32", "decoder")
    with pytest.raises(FcsError, match="the decoder half of a model"):
        to_checkpoint(half.path, tmp_path / "back")
    assert not (tmp_path / "back").exists()
    model = golden("tiny").model
    with pytest.raises(CheckpointError, match="is a file; give the folder"):
        to_checkpoint(model, half.path)
    with pytest.raises(CheckpointError, match="no such folder"):
        to_checkpoint(model, tmp_path / "a" / "b")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "config.json").write_text("mine")
    with pytest.raises(CheckpointError, match=r"config\.json: exists already; --force"):
        to_checkpoint(model, tmp_path / "there")
    assert (tmp_path / "there" / "config.json").read_text() == "mine"
    with pytest.raises(OSError, match="File too large"), limited_file_size(50_000):
        to_checkpoint(model, tmp_path / "back")
    assert not (tmp_path / "back").exists()
    with pytest.raises(OSError, match="File too large"), limited_file_size(50_000):
        to_checkpoint(model, tmp_path / "there", force=True)
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["config.json"]
    assert (tmp_path / "there" / "config.json").read_text() == "mine"
    to_checkpoint(model, tmp_path / "there", force=True)
    assert convert(tmp_path / "there", tmp_path / "out.safetensors").name == "there"


@pytest.mark.parametrize("keys", [{"noise_channels": 2}, {"win_length": 97}])
def test_what_the_reference_cannot_decode_is_refused(keys: dict[str, int], tmp_path: Path) -> None:
    config = replace(SMALL, decoder=replace(SMALL.decoder, **keys), search=None)
    model = write_model(tmp_path / "m.safetensors", config, drawn(config, 1), "m", "drawn", "f32")
    with pytest.raises(CheckpointError, match="the reference cannot decode with this model"):
        to_checkpoint(model.path, tmp_path / "back")
    assert not (tmp_path / "back").exists()
