"""Models that need the whole signal, mixed ones and Vocos, against the plain model."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DATA, load_script
from numpy.typing import NDArray
from reference_model import ReferenceModel
from safetensors.numpy import load_file, save_file

import fcs_edge
from fcs_edge.convert import convert
from fcs_edge.errors import FcsError
from fcs_edge.model import (
    whole_blocks,
    whole_compressor,
    whole_decoder,
    whole_decompressor,
    whole_focal,
)
from fcs_edge.modelfile import config_json
from fcs_edge.modelfile.tensor_layout import tensor_shapes

F32 = NDArray[np.float32]
# Float32 against float64, relative to the largest value.
FEATURES = 5e-6
LATENTS = 2e-5
SAMPLES = 5e-6
LENGTHS = (800, 5000, 30001)
"""Samples of the signals; the last one has more rows than a block."""

MODELS: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "factors of 3": (
        "nc_tiny",
        {
            "compressor": {"downscale_factors": [3, 1, 2]},
            "decompressor": {"upscale_factors": [2, 3, 1], "lookahead_size": 4},
        },
    ),
    "no levels": (
        "nc_options",
        {"compressor": {"focal_level": 0}, "decompressor": {"focal_level": 0}},
    ),
    "wide kernels": (
        "nc_tiny",
        {
            "compressor": {"focal_window": 150, "focal_factor": 3},
            "decompressor": {"focal_window": 70, "focal_level": 1},
            "decoder": {"kernel_size": 4, "n_fft": 100, "hop_length": 50},
        },
    ),
    "odd overlap": ("nc_25", {"decoder": {"n_fft": 62, "hop_length": 15}}),
    "small overlap": ("nc_tiny", {"decoder": {"n_fft": 90, "hop_length": 80}}),
    "Vocos, equal sizes": ("causal_vocos", {"decoder": {"n_fft": 80, "hop_length": 80}}),
    "only the decoding side streams": (
        "causal_vocos",
        {"encoder": {"causal": False}, "compressor": {"causal": False}},
    ),
    "only the encoding side streams": (
        "tiny",
        {"decompressor": {"causal": False}, "decoder": {"causal": False}},
    ),
    "each stage after another": (
        "options",
        {"compressor": {"causal": False}, "decoder": {"causal": False}},
    ),
    "each stage before another": (
        "causal_vocos",
        {"encoder": {"causal": False}, "decompressor": {"causal": False}},
    ),
}
"""Golden cases, and the keys that are changed in them."""

Models = Callable[[str], tuple[fcs_edge.Codec, ReferenceModel]]


def write(config: dict[str, Any], folder: Path, seed: int) -> Path:
    """Write a checkpoint of seeded weights; some magnitudes of Vocos are beyond their limit."""
    # Libraries have kernels for heads of 24 columns, and not for those of the golden cases.
    config["encoder_config"]["num_heads"] = 2
    checked = config_json.from_dict(config)
    params = {name: list(shape) for name, shape in tensor_shapes(checked).items()}
    tensors = load_script("make_checkpoint").make({"seed": seed, "params": params})
    if config["decoder_name"] == "Vocos":
        bias = tensors["decoder.head.proj.bias"]
        bias[: bias.size // 20] += 4.6
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Return a model of `MODELS`, and what computes the same plainly."""
    found: dict[str, tuple[fcs_edge.Codec, ReferenceModel]] = {}

    def get(name: str) -> tuple[fcs_edge.Codec, ReferenceModel]:
        if name not in found:
            case, changes = MODELS[name]
            config = json.loads((DATA / f"golden/{case}.json").read_text())["config"]
            config = copy.deepcopy(config)
            for part, keys in changes.items():
                config[f"{part}_config"].update(keys)
            folder = write(config, tmp_path_factory.mktemp("whole"), len(name))
            convert(folder, folder / "model_f32.safetensors", "whole", "f32")
            reference = ReferenceModel(config, load_file(folder / "model.safetensors"))
            found[name] = fcs_edge.load(folder / "model_f32.safetensors"), reference
        return found[name]

    return get


def relative(got: F32, expected: NDArray[Any]) -> float:
    assert got.shape == expected.shape
    assert got.dtype == np.float32
    return float(np.abs(got - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", MODELS)
def test_against_the_plain_model(name: str, models: Models, speech: F32) -> None:
    codec, reference = models(name)
    for n in LENGTHS:
        signal = speech[20000 : 20000 + n]
        features = reference.features(signal)
        assert relative(codec.features(signal), features) < FEATURES
        latents = reference.latents(features)
        assert relative(codec.latents(features.astype(np.float32)), latents) < LATENTS
        tokens = codec.encode(signal)
        assert codec.n_tokens(n) == tokens.size == len(latents)
        # A bit whose latent is next to nothing may be either one.
        bits = (tokens[:, None] >> np.arange(latents.shape[1] - 1, -1, -1)) & 1
        np.testing.assert_array_equal(
            bits[abs(latents) > LATENTS], (latents > 0)[abs(latents) > LATENTS]
        )
        decompressed = reference.decompress(reference.codes(tokens))
        assert relative(codec.decompress(codec.codes(tokens)), decompressed) < FEATURES
        samples = reference.synthesize(decompressed)
        assert relative(codec.decode(tokens), samples) < SAMPLES


@pytest.mark.parametrize("name", MODELS)
def test_what_streams(name: str, models: Models, speech: F32) -> None:
    """A side that streams does so in a mixed model too, with the results of the whole signal."""
    codec, _ = models(name)
    signal = speech[:21000]
    tokens = codec.encode(signal)
    if codec.encodes_streams:
        encoder = codec.stream_encoder()
        parts = [encoder.push(signal[:9999]), encoder.push(signal[9999:]), encoder.flush()]
        np.testing.assert_array_equal(np.concatenate(parts), tokens)
    else:
        with pytest.raises(FcsError, match="does not encode streams"):
            codec.stream_encoder()
    if codec.decodes_streams:
        decoder = codec.stream_decoder()
        pieces = [decoder.push(tokens[i : i + 5]) for i in range(0, tokens.size, 5)]
        streamed = np.concatenate([*pieces, decoder.flush()])
        np.testing.assert_array_equal(streamed, codec.decode(tokens))
    else:
        with pytest.raises(FcsError, match="does not decode streams"):
            codec.stream_decoder()


@pytest.mark.parametrize("name", [name for name in MODELS if "side" in name or "each" in name])
def test_stages_that_stream(name: str, models: Models, speech: F32) -> None:
    """A causal stage streams whatever stands beside it."""
    codec, _ = models(name)
    signal = speech[20000:29001]
    features = codec.features(signal)
    latents = codec.latents(features)
    tokens = codec.quantize(latents)
    decompressed = codec.decompress(codec.codes(tokens))
    rows = signal, features, tokens, decompressed
    expected = features, latents, decompressed, codec.synthesize(decompressed)
    names = "encoder", "compressor", "decompressor", "decoder"
    for stage, x, result in zip(names, rows, expected, strict=True):
        if getattr(codec.model.config, stage).causal:
            stream = codec.stage_stream(stage, stage, 2)
            parts = [stream.push(x[: len(x) // 3]), stream.push(x[len(x) // 3 :]), stream.flush()]
            np.testing.assert_array_equal(np.concatenate(parts), result)
        else:
            with pytest.raises(FcsError, match=f"the {stage} of whole does not stream: it needs"):
                codec.stage_stream(stage, stage)


@pytest.mark.parametrize("rows", [7, 200])
@pytest.mark.parametrize("name", ["no levels", "wide kernels", "odd overlap"])
def test_blocks_change_no_bit(
    name: str, rows: int, models: Models, speech: F32, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec, _ = models(name)
    features = codec.features(speech[:60000])
    latents, samples = codec.latents(features), codec.synthesize(features)
    tokens = codec.quantize(latents)
    decompressed = codec.decompress(codec.codes(tokens))
    for module in (
        *(whole_blocks, whole_compressor, whole_decoder, whole_decompressor, whole_focal),
    ):
        monkeypatch.setattr(module, "BLOCK_ROWS", rows)
    np.testing.assert_array_equal(codec.latents(features), latents)
    np.testing.assert_array_equal(codec.decompress(codec.codes(tokens)), decompressed)
    np.testing.assert_array_equal(codec.synthesize(features), samples)


def test_a_stage_leaves_its_input_as_it_is(models: Models, speech: F32) -> None:
    codec, _ = models("factors of 3")
    signal = speech[:9000].copy()
    features = codec.features(signal)
    np.testing.assert_array_equal(signal, speech[:9000])
    before = features.copy()
    codec.latents(features)
    codec.synthesize(features)
    np.testing.assert_array_equal(features, before)


def test_too_few_frames_for_a_downscale(models: Models) -> None:
    codec, _ = models("factors of 3")
    with pytest.raises(FcsError, match=r"too short: .* downscale by 3x1x2 takes more"):
        codec.encode(np.zeros(500, np.float32))
    assert codec.n_tokens(500) == 0


@pytest.mark.parametrize("name", MODELS)
def test_no_samples_and_no_tokens(name: str, models: Models) -> None:
    """Without causality the extractor fills even nothing with zeros up to one frame."""
    codec, _ = models(name)
    if codec.n_tokens(0) or codec.model.config.encoder.causal:
        assert codec.encode(np.zeros(0, np.float32)).size == codec.n_tokens(0)
    assert codec.decode(np.zeros(0, np.uint16)).shape == (0,)


def test_samples_that_are_not_finite_count_as_zeros(models: Models, speech: F32) -> None:
    codec, _ = models("odd overlap")
    signal = speech[:8000].copy()
    signal[100:110] = 0
    tokens = codec.encode(signal)
    signal[100:105], signal[105:110] = np.nan, np.inf
    with pytest.warns(fcs_edge.AudioWarning, match="10 samples"):
        np.testing.assert_array_equal(codec.encode(signal), tokens)


def test_one_more_sample_where_an_odd_number_overlaps(models: Models) -> None:
    codec, _ = models("odd overlap")
    assert codec.decode(np.zeros(3, np.uint16)).size == 3 * codec.samples_out_per_token + 1


def test_a_voice_replaces_the_features(models: Models, speech: F32) -> None:
    """Between decompressor and decoder, block by block, as in a stream."""
    codec, reference = models("wide kernels")
    rows = codec.features(speech[:40000])
    voice = fcs_edge.Voice(rows, codec.fingerprint, codec.name, "encoder")
    tokens = np.arange(150)
    decompressed = reference.decompress(reference.codes(tokens))
    expected = reference.synthesize(reference.converted(decompressed, rows.astype(np.float64)))
    assert relative(codec.decode(tokens, voice=voice), expected) < SAMPLES


@pytest.mark.parametrize("weights", ["f16", "int8", "int4"])
def test_other_weights_run(weights: str, tmp_path: Path, speech: F32) -> None:
    """Their features are those of float32 but for the rounding of the weights."""
    config = json.loads((DATA / "golden/nc_25.json").read_text())["config"]
    write(config, tmp_path, 3)
    features = []
    for kind in ("f32", weights):
        convert(tmp_path, tmp_path / f"{kind}.safetensors", kind, kind)
        codec = fcs_edge.load(tmp_path / f"{kind}.safetensors")
        tokens = codec.encode(speech[:30000])
        assert tokens.size == codec.n_tokens(30000)
        assert np.isfinite(codec.decode(tokens)).all()
        features.append(codec.decompress(codec.codes(np.arange(60))))
    error = np.linalg.norm(features[1] - features[0]) / np.linalg.norm(features[0])
    assert 0 < error < {"f16": 0.005, "int8": 0.1, "int4": 0.7}[weights]
