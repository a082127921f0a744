"""The bits of activations, chosen when a model is loaded."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.convert import convert
from fcs_edge.modelfile import model_file
from fcs_edge.tokens.settings import token_settings


@pytest.fixture(scope="module")
def paths(golden: Callable, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny model, with each kind of weights."""
    folder = tmp_path_factory.mktemp("tiny")
    files = {scheme: folder / f"{scheme}.safetensors" for scheme in model_file.SCHEMES}
    for scheme, path in files.items():
        convert(golden("tiny").checkpoint, path, scheme, scheme)
    return files


def test_the_choice_changes_tokens_little(speech: NDArray[np.float32]) -> None:
    """On the built-in model: 8 bits differ from 12 in some bits, and from 8 in none."""
    clip = speech[16000:48000]
    twelve, eight = fcs_edge.load(), fcs_edge.load(activations=8)
    assert (twelve.activation_bits, eight.activation_bits) == (12, 8)
    tokens, other = twelve.encode(clip), eight.encode(clip)
    differing = np.unpackbits((tokens ^ other).view(np.uint8)).sum() / (16 * tokens.size)
    assert 0 < differing < 0.1
    sound, other_sound = twelve.decode(tokens), eight.decode(tokens)
    error = np.square(sound - other_sound).sum() / np.square(sound).sum()
    assert 0 < error < 10**-2.5
    assert eight.fingerprint == twelve.fingerprint


def test_chunks_change_no_bit(paths: dict[str, Path], speech: NDArray[np.float32]) -> None:
    codec, clip = fcs_edge.load(paths["int8"], activations=8), speech[16000:30000]
    tokens = codec.encode(clip)
    encoder = codec.stream_encoder()
    pushed = [encoder.push(part) for part in np.split(clip, [77, 5000, 9001])]
    np.testing.assert_array_equal(np.concatenate([*pushed, encoder.flush()]), tokens)
    decoder = codec.stream_decoder()
    pushed = [decoder.push(part) for part in np.split(tokens, [1, 8])]
    np.testing.assert_array_equal(np.concatenate([*pushed, decoder.flush()]), codec.decode(tokens))


@pytest.mark.parametrize(
    ("scheme", "default"), [("f32", 32), ("f16", 32), ("int8", 12), ("int4", 8)]
)
def test_the_default_may_be_named(scheme: str, default: int, paths: dict[str, Path]) -> None:
    codec = fcs_edge.load(paths[scheme])
    assert codec.activation_bits == default
    assert token_settings(codec.model)["activation_bits"] == default
    named = fcs_edge.load(paths[scheme], activations=default)
    assert token_settings(named.model) == token_settings(codec.model)


def test_settings_name_the_choice(paths: dict[str, Path]) -> None:
    codec = fcs_edge.Codec(model_file.read(paths["int8"]), activations=8)
    assert token_settings(codec.model) == {
        **token_settings(model_file.read(paths["int8"])),
        "activation_bits": 8,
    }


@pytest.mark.parametrize(("scheme", "bits"), [("f32", 8), ("f16", 12), ("int4", 12), ("int8", 16)])
def test_weights_that_cannot_multiply_them(scheme: str, bits: int, paths: dict[str, Path]) -> None:
    expected = {"f32": "32", "f16": "32", "int4": "8", "int8": "8 or 12"}[scheme]
    message = f"{scheme} weights multiply activations of {expected} bits, not {bits}"
    with pytest.raises(fcs_edge.ModelFileError, match=message):
        fcs_edge.load(paths[scheme], activations=bits)


@pytest.mark.parametrize("value", [True, 8.0, "8"])
def test_what_is_no_number_of_bits(value: object) -> None:
    with pytest.raises(TypeError, match="activations"):
        fcs_edge.load(activations=value)  # type: ignore[arg-type]


def test_a_pickle_has_the_choice(paths: dict[str, Path], speech: NDArray[np.float32]) -> None:
    codec = fcs_edge.load(paths["int8"], activations=8)
    encoder = codec.stream_encoder()
    encoder.push(speech[16000:20000])
    restored = pickle.loads(pickle.dumps(encoder))
    rest = speech[20000:30000]
    np.testing.assert_array_equal(restored.push(rest), encoder.push(rest))
    assert pickle.loads(pickle.dumps(codec)).activation_bits == 8


def test_pickles_that_state_no_activations() -> None:
    create, (name, sha256, *_) = fcs_edge.load(activations=8).__reduce__()
    codec = create(name, sha256)
    assert (codec.activation_bits, codec.threads) == (12, 1)
