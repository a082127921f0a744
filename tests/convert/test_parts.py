"""Half models: their tensors, what they say they are, and what they cannot do."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import prior_cases
import pytest
from fuzz_models import SMALL, drawn
from safetensors import safe_open

import fcs_edge
from fcs_edge.convert import convert, write_model
from fcs_edge.errors import ConfigError, FcsError, ModelFileError
from fcs_edge.modelfile import model_file
from fcs_edge.modelfile.model_file import ModelFile
from fcs_edge.modelfile.parts import PARTS, belongs
from fcs_edge.modelfile.stream_memory import check_memory

SCHEMES = ("f32", "f16", "int8", "int4")


@pytest.fixture(params=SCHEMES)
def whole(request: pytest.FixtureRequest, golden: Callable, tmp_path: Path) -> ModelFile:
    path = tmp_path / "whole.safetensors"
    return convert(golden("tiny").checkpoint, path, "tiny", request.param)


def halves(model: ModelFile, folder: Path) -> dict[str, ModelFile]:
    return {
        part: convert(model.path, folder / f"{part}.safetensors", None, model.scheme, part)
        for part in PARTS
    }


def test_halves_have_the_tensors_of_the_whole(whole: ModelFile, tmp_path: Path) -> None:
    found = halves(whole, tmp_path)
    for part, half in found.items():
        half.verify()
        assert (half.part, half.name, half.scheme) == (part, whole.name, whole.scheme)
        assert half.fingerprint == whole.fingerprint
        assert half.config == whole.config
        assert half.weights == sum(np.prod(shape) for shape in half.shapes.values())
        with safe_open(half.path, "numpy") as file:
            assert file.metadata()["part"] == part
            assert file.metadata()["format_version"] == "4"
        for name, tensor in half.tensors.items():
            assert belongs(name, part)
            assert np.array_equal(tensor, whole.tensors[name])
    encoder, decoder = found.values()
    assert {*encoder.tensors, *decoder.tensors} == {*whole.tensors}
    assert encoder.weights + decoder.weights == whole.weights
    assert len({encoder.sha256, decoder.sha256, whole.sha256}) == 3


def test_halves_do_what_the_whole_does(
    whole: ModelFile, tmp_path: Path, speech: np.ndarray[Any, np.dtype[np.float32]]
) -> None:
    encoder, decoder = (fcs_edge.load(half.path) for half in halves(whole, tmp_path).values())
    codec, signal = fcs_edge.load(whole.path), speech[:20000]
    tokens = codec.encode(signal)
    assert np.array_equal(encoder.encode(signal), tokens)
    assert np.array_equal(decoder.decode(tokens), codec.decode(tokens))
    for call in (decoder.stream_encoder, lambda: decoder.encode(signal)):
        with pytest.raises(FcsError, match=r"decoder\.safetensors: the decoder half.*its encoder"):
            call()
    for call in (encoder.stream_decoder, lambda: encoder.decode(tokens)):
        with pytest.raises(FcsError, match=r"encoder\.safetensors: the encoder half.*its decoder"):
            call()
    with pytest.raises(FcsError, match="the decoder half"):
        decoder.features(signal)
    with pytest.raises(FcsError, match="the encoder half"):
        encoder.synthesize(np.zeros((1, codec.model.config.decoder.input_dim)))
    assert decoder.info()["part"] == "decoder"
    with pytest.raises(ModelFileError, match=r"use the whole model$"):
        decoder.model.require("encoder", "decoder")


def test_halves_of_a_checkpoint(golden: Callable, tmp_path: Path) -> None:
    """They are those of the model file, with the fingerprint of all tensors."""
    case = golden("tiny")
    for scheme in (None, "int8"):
        whole = convert(case.checkpoint, tmp_path / "whole.safetensors", "tiny", scheme)
        for part in PARTS:
            one = convert(case.checkpoint, tmp_path / "one.safetensors", "tiny", scheme, part)
            other = convert(whole.path, tmp_path / "other.safetensors", "tiny", scheme, part)
            assert one.fingerprint == case.codec.fingerprint
            assert one.sha256 == other.sha256
            again = convert(other.path, tmp_path / "again.safetensors")
            assert again.part == part
            assert again.sha256 == one.sha256


def test_what_cannot_be_converted(golden: Callable, tmp_path: Path) -> None:
    whole = convert(golden("tiny").checkpoint, tmp_path / "whole.safetensors", "tiny", "int8")
    out = tmp_path / "out.safetensors"
    for weights in ("f32", "int4"):
        with pytest.raises(FcsError, match="has int8 weights; convert from the checkpoint"):
            convert(whole.path, out, None, weights, "decoder")
    half = convert(whole.path, tmp_path / "half.safetensors", part="decoder")
    with pytest.raises(FcsError, match="the decoder half of a model, and this needs the encoder"):
        convert(half.path, out, part="encoder")
    assert not out.exists()
    # A half of floats becomes integers, and its fingerprint goes along.
    floats = convert(golden("tiny").checkpoint, out, "tiny", "f32", "decoder")
    ints = convert(floats.path, tmp_path / "ints.safetensors", None, "int8")
    assert ints.sha256 == half.sha256
    assert ints.fingerprint == whole.fingerprint


def test_priors_and_accepted_models_are_in_both_halves(tmp_path: Path) -> None:
    path = tmp_path / "whole.safetensors"
    model = write_model(path, SMALL, drawn(SMALL, 0), "small", "drawn", "f32")
    priors = [prior_cases.drawn(SMALL.bits_per_token, 6, seed) for seed in (0, 1)]
    model_file.write_with_priors(path, model, priors)
    rewrite(path, accepts="0011223344556677")
    for part in PARTS:
        half = convert(path, tmp_path / f"{part}.safetensors", part=part)
        assert [prior.check for prior in half.priors] == [prior.check for prior in priors]
        assert half.accepts == (bytes.fromhex("0011223344556677"),)
        more = [*half.priors, prior_cases.drawn(SMALL.bits_per_token, 6, 2)]
        model_file.write_with_priors(half.path, half, more)
        assert model_file.read(half.path).part == part
        assert len(model_file.read(half.path).priors) == 3


def rewrite(path: Path, **facts: str) -> None:
    """Change the metadata of a model file."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] |= facts
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])


def test_damaged_halves(tmp_path: Path) -> None:
    """A file that says it is another half, or none, lacks tensors; so does a whole one."""
    model = write_model(
        tmp_path / "whole.safetensors", SMALL, drawn(SMALL, 0), "small", "drawn", "f32"
    )
    half = tmp_path / "half.safetensors"
    for part, message in (
        ("encoder", "unexpected tensor"),
        ("both", r"damaged metadata \(part 'both'\)"),
        ("", r"damaged metadata \(part ''\)"),
        ("[b]" * 99, "damaged metadata"),
    ):
        model_file.write_part(half, model, "decoder")
        rewrite(half, part=part)
        with pytest.raises(ModelFileError, match=message) as caught:
            model_file.read(half)
        assert "\n" not in str(caught.value)
    rewrite(model.path, part="decoder")
    with pytest.raises(ModelFileError, match="unexpected tensor"):
        model_file.read(model.path)


def test_memory_is_that_of_the_half(tmp_path: Path) -> None:
    """Weights that are not in the file warrant no memory."""

    wide = dataclasses.replace(SMALL.encoder, window_size=8192, dim=1024, num_layers=200)
    config = dataclasses.replace(SMALL, encoder=wide)
    check_memory(config, "decoder")
    with pytest.raises(ConfigError, match="would take"):
        check_memory(config, "encoder")
