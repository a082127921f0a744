"""Checkpoints of version 0.0.1, and what people wrap around state dicts."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DATA, load_script
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

import fcs_edge
from fcs_edge.convert import absent_keys, convert
from fcs_edge.errors import CheckpointError, CheckpointWarning, ConfigError
from fcs_edge.modelfile import config_json
from fcs_edge.modelfile.model_file import ModelFile
from fcs_edge.modelfile.tensor_layout import tensor_shapes

CASE: dict[str, Any] = json.loads((DATA / "golden/nc_v001.json").read_text())
SECTIONS = {"0": "downscale", "1": "focal_block"}, {"0": "focal_block", "1": "upscale"}


@pytest.fixture(scope="module")
def tensors() -> dict[str, NDArray[Any]]:
    created: dict[str, NDArray[Any]] = load_script("make_checkpoint").make(CASE)
    return created


@pytest.fixture
def folder(tensors: dict[str, NDArray[Any]], tmp_path: Path) -> Path:
    folder = tmp_path / "first"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CASE["config"]))
    save_file(tensors, folder / "model.safetensors")
    return folder


def newer(tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return tensors by the names of version 0.0.2, written as model.md's table says it."""
    out = {}
    for name, tensor in tensors.items():
        parts = name.split(".")
        if name == "quantizer.mask" or name.startswith("encoder.encoder.norm."):
            continue
        if parts[-2] in ("k_proj", "v_proj"):
            continue
        if parts[-2] == "q_proj":
            tensor = np.concatenate([tensors[name.replace("q_proj", x)] for x in PROJECTIONS])
            parts[-2] = "qkv_proj"
        if parts[0] in ("compressor", "decompressor") and parts[1] == "layers":
            parts[3] = SECTIONS[parts[0] == "decompressor"][parts[3]]
        out[".".join(parts)] = tensor
    return out


PROJECTIONS = ("q_proj", "k_proj", "v_proj")


def converted(folder: Path, weights: str | None = None) -> ModelFile:
    return convert(folder, folder / "out" / "out.safetensors", "x", weights)


def test_the_same_model_by_the_newer_names(
    folder: Path, tensors: dict[str, NDArray[Any]], tmp_path: Path
) -> None:
    (folder / "out").mkdir()
    model = converted(folder)
    expected = newer(tensors)
    assert len(tensors) == 234
    assert len(expected) == 223
    assert {name: t.shape for name, t in expected.items()} == tensor_shapes(model.config)
    for name, tensor in expected.items():
        assert np.array_equal(model.tensors[name], tensor)
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps(CASE["config"]))
    save_file(expected, other / "model.safetensors")
    again = convert(other, tmp_path / "again.safetensors", "x")
    assert again.fingerprint == model.fingerprint
    assert again.sha256 == model.sha256
    ints = converted(folder, "int8"), convert(other, tmp_path / "again.safetensors", "x", "int8")
    assert ints[0].sha256 == ints[1].sha256


def test_tokens_and_samples_of_the_reference(
    folder: Path, second_speech: NDArray[np.float32]
) -> None:
    (folder / "out").mkdir()
    codec = fcs_edge.load(converted(folder).path)
    with np.load(DATA / "golden/nc_v001.npz") as expected:
        for n in (401, 5000, 16001):
            assert np.array_equal(codec.encode(second_speech[:n]), expected[f"toks_{n}"])
        for n in (5000, 16001):
            sound = codec.decode(expected[f"toks_{n}"])
            assert np.abs(sound - expected[f"sig_{n}"]).max() < 1e-4


ABSENT = {
    "compressor_config": ("output_dim", "hidden_dims", "focal_window", "focal_factor"),
    "decompressor_config": ("input_dim", "hidden_dims", "focal_window", "focal_factor"),
    "quantizer_config": ("codebook_size",),
}
"""Keys whose defaults the two versions disagree on."""


@pytest.mark.parametrize("is_first", [True, False])
def test_absent_keys_are_read_from_the_shapes(
    is_first: bool, folder: Path, tensors: dict[str, NDArray[Any]]
) -> None:
    (folder / "out").mkdir()
    expected = converted(folder)
    config = copy.deepcopy(CASE["config"])
    del config["decoder_name"]
    for part, keys in ABSENT.items():
        for key in keys:
            del config[part][key]
    del config["compressor_config"]["downscale_factors"]
    # Version 0.0.1 ignores it: its kernels have 7 taps.
    config["decoder_config"]["kernel_size"] = 5 if is_first else 7
    (folder / "config.json").write_text(json.dumps(config))
    if not is_first:
        save_file(newer(tensors), folder / "model.safetensors")
    assert converted(folder).fingerprint == expected.fingerprint
    for part in ABSENT:
        config[part] = None if part == "quantizer_config" else config[part]
    (folder / "config.json").write_text(json.dumps(config))
    assert converted(folder).fingerprint == expected.fingerprint


def test_published_sizes_need_no_keys() -> None:
    """An empty configuration beside the shapes of the published models is theirs."""
    case = json.loads((DATA / "golden/full_50hz.json").read_text())
    shapes = {name: tuple(shape) for name, shape in case["params"].items()}
    expected = config_json.from_dict(case["config"])
    assert config_json.from_dict(absent_keys.complete({}, shapes, True)) == expected
    assert config_json.from_dict(absent_keys.complete({}, shapes, False)) == expected
    case = json.loads((DATA / "golden/full_4k.json").read_text())
    shapes = {name: tuple(shape) for name, shape in case["params"].items()}
    parts = ("encoder", "compressor", "decompressor", "decoder")
    causal = {f"{part}_config": {"causal": True} for part in parts}
    expected = config_json.from_dict(case["config"])
    assert config_json.from_dict(absent_keys.complete(causal, shapes, False)) == expected
    # What is there decides, and no contents of a section are an error here.
    assert absent_keys.complete({"decoder_name": "x", "quantizer_config": 3}, shapes, False) == {
        **absent_keys.complete({}, shapes, False),
        "decoder_name": "x",
        "quantizer_config": 3,
    }


def test_damaged_first_layouts(folder: Path, tensors: dict[str, NDArray[Any]]) -> None:
    (folder / "out").mkdir()
    attention = "encoder.encoder.layers.0.attention"
    key, value = f"{attention}.k_proj.weight", f"{attention}.v_proj.bias"
    for name, new, message in (
        (key, None, f"{key} is missing"),
        (f"{attention}.q_proj.weight", None, "q_proj.weight is missing"),
        (value, np.zeros(3, np.float32), r"v_proj.bias has shape \[3\], and that of the queries"),
        (key, tensors[key].astype(np.int32), "qkv_proj.weight is I32"),
        (key, tensors[key] * np.float32(np.nan), "qkv_proj.weight has NaN"),
        (f"{attention}.qkv_proj.weight", tensors[key], "qkv_proj.weight is there twice"),
        ("compressor.layers.0.2.x", tensors[key], "unexpected tensor compressor.layers.0.2.x"),
        ("[bold]\x1b[31m", tensors[key], r"unexpected tensor \[bold\]\\x1b\[31m"),
    ):
        changed = {**tensors, name: new}
        save_file({n: t for n, t in changed.items() if t is not None}, folder / "model.safetensors")
        with pytest.raises(CheckpointError, match=message) as caught:
            converted(folder)
        assert "\n" not in str(caught.value)
    assert list((folder / "out").iterdir()) == []


def test_float64_becomes_float32(folder: Path, tensors: dict[str, NDArray[Any]]) -> None:
    (folder / "out").mkdir()
    expected = converted(folder)
    wide = {n: t if t.dtype == np.int64 else t.astype(np.float64) for n, t in tensors.items()}
    save_file(wide, folder / "model.safetensors")
    model = converted(folder)
    assert model.fingerprint == expected.fingerprint
    assert model.sha256 == expected.sha256
    wide["encoder.norm.bias"][0] = 1e300
    save_file(wide, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"encoder\.norm\.bias has NaN or infinity"):
        converted(folder)


def test_what_is_wrapped_around_a_state_dict(
    folder: Path, tensors: dict[str, NDArray[Any]]
) -> None:
    torch = pytest.importorskip("torch")
    (folder / "out").mkdir()
    expected = converted(folder)
    (folder / "model.safetensors").unlink()
    state = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
    double = {name: t.double() if t.is_floating_point() else t for name, t in state.items()}
    for suffix, wrapped, warning in (
        ("pt", {"model": state, "epoch": 3}, "weights are under 'model'; ignored: epoch"),
        ("ckpt", {"state_dict": {"model": state}, "a": {}, "b": 1}, "'state_dict'; ignored: a, b"),
        ("bin", {f"module.{name}": tensor for name, tensor in state.items()}, None),
        ("pth", {f"model._orig_mod.{name}": tensor for name, tensor in double.items()}, None),
        ("pt", {**state, "[b]x": "hello", 7: None}, r"ignored, as no tensors: \[b\]x, 7"),
    ):
        path = folder / f"model.{suffix}"
        torch.save(wrapped, path)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = converted(folder)
        assert model.sha256 == expected.sha256
        texts = [str(w.message) for w in caught if w.category is CheckpointWarning]
        assert len(texts) == (warning is not None)
        if warning is not None:
            with pytest.warns(CheckpointWarning, match=warning):
                converted(folder)
        path.unlink()


def test_hostile_pickles(folder: Path, tensors: dict[str, NDArray[Any]]) -> None:
    torch = pytest.importorskip("torch")
    (folder / "out").mkdir()
    (folder / "model.safetensors").unlink()
    ring: dict[str, Any] = {}
    ring["model"] = ring
    deep: dict[str, Any] = {}
    for _ in range(50):
        deep = {"model": deep}
    name = "encoder.norm.bias"
    one = torch.from_numpy(tensors[name])
    for wrapped, message in (
        (ring, "nested too deeply"),
        (deep, "nested too deeply"),
        ({}, "no tensors; it is empty"),
        ({"\x1b[31m" * 100: {}}, r"no tensors; its keys are \\x1b\[31m"),
        ({"model": {"generator": {"x": one}}}, "no tensors; its keys are generator"),
        ({name: one, f"module.{name}": one}, f"tensor {name} is there twice"),
        ({("module." * 9000) + name: one}, r"unexpected tensor module\.module"),
        ({name: torch.zeros(1).expand(1 << 40)}, "larger than its storage"),
        (torch.nn.Linear, "not a plain state dict"),
    ):
        torch.save(wrapped, folder / "model.pt")
        with pytest.raises(CheckpointError, match=message) as caught:
            converted(folder)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600


def test_unknown_keys_of_the_configuration(folder: Path) -> None:
    (folder / "out").mkdir()
    expected = converted(folder)
    more = {**CASE["config"], "model_type": "focalcodec", "[b]\x1b": [1]}
    (folder / "config.json").write_text(json.dumps(more))
    with pytest.warns(CheckpointWarning, match=r"unknown keys are ignored: model_type, \[b\]\\x1b"):
        assert converted(folder).fingerprint == expected.fingerprint


def test_more_than_16_bits(folder: Path, tensors: dict[str, NDArray[Any]]) -> None:
    (folder / "out").mkdir()
    config = copy.deepcopy(CASE["config"])
    config["compressor_config"]["output_dim"] = config["decompressor_config"]["input_dim"] = 17
    config["quantizer_config"]["codebook_size"] = 1 << 17
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="1 to 16 bits, not 17"):
        converted(folder)
    (folder / "config.json").write_text("{}")
    wide = {
        **tensors,
        "compressor.out_proj.weight": np.zeros((17, 32), np.float32),
        "compressor.out_proj.bias": np.zeros(17, np.float32),
    }
    save_file(wide, folder / "model.safetensors")
    with pytest.raises(ConfigError, match="1 to 16 bits, not 17"):
        converted(folder)
    assert load_file(folder / "model.safetensors").keys() == wide.keys()
