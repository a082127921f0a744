"""The encoder of models that are not causal: golden features, other sizes, and blocks of rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DATA, load_script
from numpy.typing import NDArray
from reference_model import ReferenceModel
from safetensors.numpy import load_file, save_file

from fcs_edge.convert import convert
from fcs_edge.kernels.isa import instructions
from fcs_edge.model import whole_encoder
from fcs_edge.model.whole_encoder import WholeEncoder
from fcs_edge.modelfile import config_json, model_file
from fcs_edge.modelfile.tensor_layout import tensor_shapes

F32 = NDArray[np.float32]
# Float32 against float64: model.md measures 2e-6 of the largest value.
FEATURES = 4e-6
CASES = ("nc_tiny", "nc_25", "nc_12_5", "nc_options")


def checkpoint(case: dict[str, Any], folder: Path) -> Path:
    """Write a case's checkpoint."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(case["config"]))
    save_file(load_script("make_checkpoint").make(case), folder / "model.safetensors")
    return folder


def encoder(source: Path, weights: str = "f32") -> WholeEncoder:
    """Convert a checkpoint and return its encoder."""
    path = source / f"{weights}.safetensors"
    convert(source, path, weights, weights)
    model = model_file.read(path)
    return WholeEncoder(model.config.encoder, model.reader())


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the checkpoint of a golden case."""
    folder = tmp_path_factory.mktemp("whole")

    def get(name: str) -> Path:
        if not (folder / name).exists():
            case = json.loads((DATA / "golden" / f"{name}.json").read_text())
            checkpoint(case, folder / name)
        return folder / name

    return get


@pytest.fixture(scope="session")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of sizes that no golden case has."""
    raw = json.loads((DATA / "golden/nc_tiny.json").read_text())["config"]
    config = config_json.from_dict(raw)
    part = replace(
        config.encoder,
        **{"dim": 45, "num_heads": 5, "conv_pos": 9, "conv_pos_groups": 3, "num_buckets": 20},
        **{"max_distance": 11, "kernel_sizes": (7, 5, 4, 1, 3, 2, 3)},
    )
    stages = {"compressor": {"input_dim": 45}, "decompressor": {"output_dim": 45}}
    stages["decoder"] = {"input_dim": 45}
    others = {name: replace(getattr(config, name), **keys) for name, keys in stages.items()}
    config = replace(config, encoder=part, **others)
    params = {name: list(shape) for name, shape in tensor_shapes(config).items()}
    case = {"config": config_json.to_dict(config), "seed": 5, "params": params}
    return checkpoint(case, tmp_path_factory.mktemp("odd"))


def relative(got: F32, expected: NDArray[Any]) -> float:
    assert got.shape == expected.shape
    return float(np.abs(got - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", CASES)
def test_golden_features(name: str, sources: Callable[[str], Path], second_speech: F32) -> None:
    with np.load(DATA / "golden" / f"{name}.npz") as expected:
        assert relative(encoder(sources(name))(second_speech[:48001]), expected["feats"]) < FEATURES


@pytest.mark.parametrize("choice", [instructions.PLAIN, instructions.supported()[-1].name])
def test_other_kernels(
    choice: str,
    sources: Callable[[str], Path],
    second_speech: F32,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(instructions, "CHOICE", choice)
    with np.load(DATA / "golden/nc_tiny.npz") as expected:
        features = encoder(sources("nc_tiny"))(second_speech[:48001])
        assert relative(features, expected["feats"]) < FEATURES


# No sample; fewer than a kernel, than all kernels together; odd numbers of rows.
@pytest.mark.parametrize("n", [1, 6, 7, 30, 31, 400, 719, 720, 1100, 9000])
def test_other_sizes_against_formula(n: int, odd: Path, speech: F32) -> None:
    config = json.loads((odd / "config.json").read_text())
    reference = ReferenceModel(config, load_file(odd / "model.safetensors"))
    signal = speech[20000 : 20000 + n]
    assert relative(encoder(odd)(signal), reference.features(signal)) < FEATURES


def test_no_samples_are_zeros(odd: Path) -> None:
    encode = encoder(odd)
    none, one = encode(np.zeros(0, np.float32)), encode(np.zeros(1, np.float32))
    np.testing.assert_array_equal(none, one)


@pytest.mark.parametrize("weights", ["f32", "f16", "int8", "int4"])
def test_blocks_change_no_bit(
    weights: str, odd: Path, speech: F32, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = encoder(odd, weights)
    expected = encode(speech[:70000])
    monkeypatch.setattr(whole_encoder, "_FRAMES", 5)
    monkeypatch.setattr(whole_encoder, "_ROWS", 7)
    np.testing.assert_array_equal(encode(speech[:70000]).view(np.int32), expected.view(np.int32))


def test_progress_rises_to_one(odd: Path, speech: F32) -> None:
    done: list[float] = []
    encoder(odd)(speech[:70000], done.append)
    assert done == sorted(done)
    assert 0 < done[0] < done[-1]
    assert done[-1] == pytest.approx(1)
