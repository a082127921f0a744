"""Decoders with noise and overlap: what a row's number and tail are from stream to stream."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from reference_model import ReferenceModel
from safetensors.numpy import load_file, save_file

import fcs_edge
from fcs_edge import Codec
from fcs_edge.convert import convert

F32 = NDArray[np.float32]
CHANNELS, TAIL = 5, 131
"""Of the models of `noisy` in conftest.py: columns of noise, and samples that rows add."""


@pytest.fixture(scope="module")
def tokens() -> NDArray[np.uint16]:
    return np.random.default_rng(3).integers(0, 1 << 11, 50, dtype=np.uint16)


def test_weights_of_zero_change_nothing(golden: Callable[..., Any], tmp_path: Path) -> None:
    """Columns of noise and rows of tails, all zeros, in a model that has neither."""
    case = golden("tiny")
    config = json.loads((case.checkpoint / "config.json").read_text())
    hop = config["decoder_config"]["hop_length"]
    config["decoder_config"] |= {"noise_channels": CHANNELS, "win_length": 2 * hop}
    tensors = load_file(case.checkpoint / "model.safetensors")
    for name, axis, more in (
        ("backbone.embedding.weight", 1, CHANNELS),
        ("head.proj.weight", 0, hop),
        ("head.proj.bias", 0, hop),
    ):
        tensor = tensors[f"decoder.{name}"]
        wider = [(0, more if i == axis else 0) for i in range(tensor.ndim)]
        tensors[f"decoder.{name}"] = np.pad(tensor, wider)
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(tensors, tmp_path / "model.safetensors")
    model = convert(tmp_path, tmp_path / "wide.safetensors", "wide", "f32")
    tokens = case.expected["toks"]
    assert np.array_equal(Codec(model).decode(tokens), case.codec.decode(tokens))


@pytest.mark.parametrize("weights", ["f16", "int8", "int4"])
@pytest.mark.parametrize("part", [None, "decoder"])
def test_each_type_of_weights_decodes_to_nearly_the_same(
    weights: str, part: str | None, noisy: Codec, tokens: NDArray[np.uint16], tmp_path: Path
) -> None:
    model = convert(noisy.model.path, tmp_path / "m.safetensors", "m", weights, part)
    codec, expected = fcs_edge.load(tmp_path / "m.safetensors"), noisy.decode(tokens)
    assert model.config == noisy.model.config
    error = np.abs(codec.decode(tokens) - expected).max() / np.abs(expected).max()
    assert 0 < error < {"f16": 0.005, "int8": 0.05, "int4": 0.5}[weights]


def test_rows_count_from_the_start_of_a_stream(noisy: Codec, tokens: NDArray[np.uint16]) -> None:
    """So the same tokens sound otherwise later in a stream, and the same in another one."""
    expected = noisy.decode(tokens)
    decoder = noisy.stream_decoder()
    first, later = decoder.push(tokens[:48]), decoder.push(tokens[:48])
    assert np.array_equal(first, expected[: first.size])
    assert not np.array_equal(first[first.size // 2 :], later[first.size // 2 :])
    decoder.flush()
    assert np.array_equal(decoder.push(tokens[:48]), first)
    decoder.reset()
    assert np.array_equal(np.concatenate([decoder.push(tokens), decoder.flush()]), expected)
    for again in noisy.decode_batch([tokens, tokens]):
        assert np.array_equal(again, expected)


@pytest.mark.parametrize("how", [copy.copy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_continues_with_its_number_and_tail(
    how: Callable[[Any], Any], noisy: Codec, tokens: NDArray[np.uint16]
) -> None:
    expected = noisy.decode(tokens)
    for create in (noisy.stream_decoder, lambda: noisy.stage_stream("decompressor", "decoder")):
        decoder = create()
        parts = [decoder.push(tokens[:21])]
        other = how(decoder)
        decoder.push(tokens[::-1])
        parts += [other.push(tokens[21:]), other.flush()]
        assert np.array_equal(np.concatenate(parts), expected)


def test_the_decoder_stage_alone(noisy: Codec, tokens: NDArray[np.uint16]) -> None:
    """Features in pieces of any rows, and as a whole, in Numba and against the plain model."""
    features = noisy.decompress(noisy.codes(tokens))
    stream = noisy.stage_stream("decoder", "decoder")
    parts = [stream.push(part) for part in np.array_split(features, (1, 2, 17, 30))]
    whole = noisy.synthesize(features)
    assert np.array_equal(np.concatenate([*parts, stream.flush()]), whole)
    folder = noisy.model.path.parent
    config = json.loads((folder / "config.json").read_text())
    reference = ReferenceModel(config, load_file(folder / "model.safetensors"))
    expected = reference.synthesize(features)
    assert whole.shape == expected.shape == (features.shape[0] * 480,)
    assert np.abs(whole - expected).max() < 5e-6 * np.abs(expected).max()


def test_a_token_again_and_again_gives_other_samples_each_time(noisy: Codec) -> None:
    """Without noise a row becomes the one before it once the past is full."""
    same = np.full(200, 77, np.uint16)
    rows = noisy.decode(same).reshape(-1, 480)[150:]
    assert (np.abs(np.diff(rows, axis=0)).max(1) > 1e-3 * np.abs(rows).max()).all()
