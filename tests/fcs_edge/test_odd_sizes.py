"""Causal models of sizes that no golden case has, at odd lengths, against the plain model."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import DATA, drawn_model
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference_model import ReferenceModel
from safetensors.numpy import load_file

import fcs_edge

F32 = NDArray[np.float32]
# Float32 against float64, relative to the largest value.
FEATURES, LATENTS, SAMPLES = 5e-6, 2e-5, 5e-6


def sizes(
    window: int, lookahead: int, down: list[int], refined: int, hop: int, **encoder: Any
) -> dict[str, dict[str, Any]]:
    """Return changes of a configuration: upscale undoes downscale."""
    return {
        "encoder": {
            "window_size": window,
            "lookahead_size": lookahead,
            "max_cached_steps": 0,
            **encoder,
        },
        "compressor": {"downscale_factors": down},
        "decompressor": {"upscale_factors": down[::-1], "lookahead_size": refined - 1},
        "decoder": {"hop_length": hop},
    }


def noisy(
    found: dict[str, dict[str, Any]], channels: int, window: int
) -> dict[str, dict[str, Any]]:
    """Return changes with so many channels of noise, and samples that a row gives."""
    found["decoder"] |= {"noise_channels": channels, "win_length": window}
    return found


MODELS: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "chunks of 3, a factor of 3": ("tiny", sizes(17, 2, [3, 1], 3, 480)),
    "chunks of 7": ("tiny", sizes(29, 6, [1, 1], 7, 320)),
    "chunks of 6, two factors": ("tiny", sizes(13, 5, [2, 3], 6, 240)),
    "a window of one chunk": ("options", sizes(8, 7, [4, 2], 8, 480)),
    "chunks of 5, no refiner": ("tiny", sizes(11, 4, [1, 1], 1, 400)),
    "windows of one row": ("nolookahead", sizes(1, 0, [1], 1, 480)),
    "frames of 15 samples": (
        "tiny",
        sizes(9, 3, [2, 1], 2, 15, hidden_dims=[24, 40], kernel_sizes=[7, 4], strides=[3, 5]),
    ),
    "noise, and rows that overlap": ("tiny", noisy(sizes(17, 2, [3, 1], 3, 480), 5, 611)),
    "noise alone, chunks of one row": ("nolookahead", noisy(sizes(1, 0, [1], 1, 48), 16, 48)),
    "an overlap of a hop": ("tiny", noisy(sizes(11, 4, [1, 1], 1, 40), 0, 80)),
}
"""Golden cases, and the keys that are changed in them."""

Models = Callable[[str], tuple[fcs_edge.Codec, ReferenceModel]]


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
            path = drawn_model(config, tmp_path_factory.mktemp("odd"), len(name), "odd")
            reference = ReferenceModel(config, load_file(path.with_name("model.safetensors")))
            found[name] = fcs_edge.load(path), reference
        return found[name]

    return get


def lengths(codec: fcs_edge.Codec) -> list[int]:
    """Return numbers of samples: each partial chunk, before the window is full and after."""
    encoder = codec.model.config.encoder
    chunk, frame = encoder.chunk_frames, encoder.frame_size
    full = encoder.window_size // chunk + 2
    found = [1, frame, frame + 1]
    for p in range(1, chunk + 1):
        for chunks in (p % 2, full + p % 2):
            found.append((chunks * chunk + p) * frame - 7 * p % frame)
    return sorted(found)


def check_near(got: F32, expected: NDArray[Any], tolerance: float) -> None:
    assert got.shape == expected.shape
    assert got.dtype == np.float32
    assert np.abs(got - expected).max() < tolerance * np.abs(expected).max()


@pytest.mark.parametrize("name", MODELS)
def test_against_the_plain_model(name: str, models: Models, speech: F32) -> None:
    codec, reference = models(name)
    for n in lengths(codec):
        signal = speech[20000:][:n]
        features = reference.features(signal)
        check_near(codec.features(signal), features, FEATURES)
        latents = reference.latents(features)
        check_near(codec.latents(features.astype(np.float32)), latents, LATENTS)
        tokens = codec.encode(signal)
        assert tokens.size == codec.n_tokens(n) == -(-n // codec.samples_per_token)
        bits = (tokens[:, None] >> np.arange(latents.shape[1] - 1, -1, -1)) & 1
        # A bit whose latent is next to nothing may be either one.
        clear = abs(latents) > LATENTS
        np.testing.assert_array_equal(bits[clear], (latents > 0)[clear])
        samples = reference.synthesize(reference.decompress(reference.codes(tokens)))
        check_near(codec.decode(tokens), samples, SAMPLES)


@settings(max_examples=60)
@given(data=st.data())
def test_no_cutting_changes_a_bit(data: st.DataObject, models: Models, speech: F32) -> None:
    codec, _ = models(data.draw(st.sampled_from(list(MODELS))))
    size = codec.chunk_size
    n = data.draw(st.integers(0, 9 * size))
    signal = speech[20000:][:n]
    tokens = codec.encode(signal)
    assert tokens.size == -(-n // codec.samples_per_token)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=6)))
    encoder = codec.stream_encoder(data.draw(st.integers(1, 9)))
    parts = [encoder.push(part) for part in np.split(signal, cuts)]
    assert encoder.n_pending == n % size
    np.testing.assert_array_equal(np.concatenate([*parts, encoder.flush()]), tokens)
    sound = codec.decode(tokens)
    assert sound.size == tokens.size * codec.samples_out_per_token >= codec.output_length(n)
    cuts = sorted(data.draw(st.lists(st.integers(0, tokens.size), max_size=6)))
    decoder = codec.stream_decoder(data.draw(st.integers(1, 9)))
    pieces = [decoder.push(part) for part in np.split(tokens, cuts)]
    np.testing.assert_array_equal(np.concatenate([*pieces, decoder.flush()]), sound)
