from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import fcs_edge
from fcs_edge.errors import ModelFileError
from fcs_edge.modelfile import config_json, model_file


@pytest.fixture
def model(golden: Callable, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(golden("nolookahead").model.read_bytes())
    return path


def rewrite(path: Path, **metadata: str) -> None:
    """Write the file again with other metadata; an empty string leaves the key out."""
    with safe_open(path, "numpy") as file:
        stated = {**file.metadata(), **metadata}
    save_file(load_file(path), path, {k: v for k, v in stated.items() if v})


def test_tensors_are_mapped_not_copied(model: Path) -> None:
    read = model_file.read(model)
    for tensor in read.tensors.values():
        assert not tensor.flags.writeable
        assert not tensor.flags.owndata
    name = "encoder.feature_proj.weight"
    assert np.shares_memory(read.tensors[name], read.reader()[name])


def test_metadata(model: Path) -> None:
    read = model_file.read(model)
    read.verify()
    assert read.name == "nolookahead"
    assert read.source.endswith("/model.safetensors")
    assert len(read.fingerprint) == 8
    with safe_open(model, "numpy") as file:
        stated = file.metadata()
    assert stated["format"] == "fcs-edge model"
    assert stated["format_version"] == "1"
    assert json.loads(stated["config"]) == config_json.to_dict(read.config)


def test_fingerprint_is_of_the_values_not_their_storage(model: Path, tmp_path: Path) -> None:
    read = model_file.read(model)
    half = {name: t.astype(np.float16) for name, t in read.tensors.items()}
    whole = {name: t.astype(np.float32) for name, t in half.items()}
    assert model_file.fingerprint(read.config, half) == model_file.fingerprint(read.config, whole)
    assert model_file.fingerprint(read.config, half) != read.fingerprint


def test_float16_storage_gives_the_same_sound(model: Path, tmp_path: Path) -> None:
    read = model_file.read(model)
    half = {name: t.astype(np.float16) for name, t in read.tensors.items()}
    whole = {name: t.astype(np.float32) for name, t in half.items()}
    for name, tensors in (("half", half), ("whole", whole)):
        model_file.write(tmp_path / f"{name}.safetensors", read.config, tensors, name, "test")
    codecs = [fcs_edge.load(tmp_path / f"{n}.safetensors") for n in ("half", "whole")]
    assert codecs[0].fingerprint == codecs[1].fingerprint
    noise = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    tokens = [codec.encode(noise) for codec in codecs]
    assert np.array_equal(*tokens)
    assert np.array_equal(*(codec.decode(tokens[0]) for codec in codecs))
    assert os.path.getsize(tmp_path / "half.safetensors") < 0.6 * model.stat().st_size


def test_permissions_follow_the_umask(model: Path) -> None:
    plain = model.with_name("plain")
    plain.touch()
    assert stat.S_IMODE(model.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_a_flipped_bit_is_found(model: Path) -> None:
    data = bytearray(model.read_bytes())
    data[-100] ^= 1
    model.write_bytes(data)
    with pytest.raises(ModelFileError, match="SHA-256 does not match"):
        model_file.read(model).verify()


@pytest.mark.parametrize("size", [0, 1, 8, 100, 20000])
def test_a_cut_file_is_refused(size: int, model: Path) -> None:
    model.write_bytes(model.read_bytes()[:size])
    with pytest.raises(ModelFileError, match="not an intact safetensors file"):
        model_file.read(model)


def test_a_file_longer_than_its_header_says_is_refused(model: Path) -> None:
    model.write_bytes(model.read_bytes() + b"x")
    with pytest.raises(ModelFileError, match="not an intact safetensors file"):
        model_file.read(model)


def test_an_enormous_header_is_refused_before_memory_is_taken(model: Path) -> None:
    model.write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    with pytest.raises(ModelFileError, match="not an intact safetensors file"):
        model_file.read(model)


def test_other_safetensors_are_refused(model: Path) -> None:
    rewrite(model, format="")
    with pytest.raises(ModelFileError, match=r"not a model file.*fcs-edge convert"):
        model_file.read(model)


def test_a_newer_format_is_refused(model: Path) -> None:
    rewrite(model, format_version="5")
    with pytest.raises(ModelFileError, match=r"format 5 .*update"):
        model_file.read(model)


@pytest.mark.parametrize("key", ["config", "fingerprint", "name", "sha256", "source"])
def test_missing_metadata_is_named(key: str, model: Path) -> None:
    rewrite(model, **{key: ""})
    with pytest.raises(ModelFileError, match=f"damaged metadata.*{key}"):
        model_file.read(model)


@pytest.mark.parametrize("value", ["xyz", "00"])
def test_a_bad_fingerprint_is_refused(value: str, model: Path) -> None:
    rewrite(model, fingerprint=value)
    with pytest.raises(ModelFileError, match="damaged metadata"):
        model_file.read(model)


def test_tensors_are_checked(model: Path) -> None:
    with safe_open(model, "numpy") as file:
        metadata = file.metadata()
    tensors = load_file(model)
    name = "decoder.head.proj.bias"
    for change, message in (
        ({name: None}, f"{name} is missing"),
        ({name: tensors[name][:-1]}, f"{name} is"),
        ({name: tensors[name].astype(np.float64)}, f"{name} is F64"),
        ({"extra": tensors[name]}, "unexpected tensor extra"),
    ):
        changed = {k: v for k, v in {**tensors, **change}.items() if v is not None}
        save_file(changed, model, metadata)
        with pytest.raises(ModelFileError, match=message):
            model_file.read(model)


def test_models_by_name_and_path(model: Path, tmp_path: Path) -> None:
    assert fcs_edge.load().name == fcs_edge.DEFAULT_MODEL
    assert fcs_edge.load("edge-65k").fingerprint == fcs_edge.load().fingerprint
    assert fcs_edge.load(model).name == fcs_edge.load(str(model)).name == "nolookahead"
    for wrong, message in (
        ("no-such-model", "no model has this name; there are: edge-65k"),
        ("lucadellalib/focalcodec_50hz_4k_causal", "fcs-edge convert lucadellalib/focal"),
        ("focalcodec_25hz", "fcs-edge convert lucadellalib/focalcodec_25hz"),
        (tmp_path, "is a folder; convert"),
    ):
        with pytest.raises(ModelFileError, match=message):
            fcs_edge.load(wrong)


def test_the_fingerprint_of_the_built_in_model_stays() -> None:
    """It hangs on every name of a tensor and every key of the configuration."""
    model = fcs_edge.load("edge-65k").model
    with safe_open(model.path, "numpy") as file:
        stated = file.metadata()["config"]
    assert json.dumps(config_json.to_dict(model.config), sort_keys=True) == stated
    assert model.fingerprint.hex() == "4b4008f194143043"


def test_built_in_model_is_intact() -> None:
    codec = fcs_edge.load()
    codec.model.verify()
    assert codec.prior is not None
    weights = sum(array.nbytes for _, array in codec.prior.arrays())
    assert weights < 256_000
    assert codec.model.path.stat().st_size < 8e6 + weights
    assert (codec.bits_per_token, codec.token_rate, codec.bitrate) == (16, 50, 800)
    assert (codec.latency, codec.chunk_size, codec.sample_rate_out) == (0.08, 1280, 24000)
    assert "docs/model-card.md" in fcs_edge.BUILT_IN[codec.name]
