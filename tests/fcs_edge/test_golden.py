"""The golden cases: the reference's tokens, all of them, its features and samples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge import Codec
from fcs_edge.kernels.isa import instructions

CASES = ("tiny", "options", "nolookahead", pytest.param("full_4k", marks=pytest.mark.full))
FEATURES = 1e-4
"""Largest difference, relative to the largest value."""
SAMPLES = 1e-4
"""Largest difference, absolute."""


def relative(got: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    assert got.shape == expected.shape
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def rows(expected: dict[str, NDArray[np.float32]], key: str) -> tuple[NDArray[np.float32], int]:
    """Return expected rows and how many rows of the stream each stands for."""
    if key in expected:
        return expected[key], 1
    return expected[f"{key}_every_8"], 8


def encode_in_pieces(codec: Codec, signal: NDArray[np.float32], seed: int) -> NDArray[np.uint16]:
    encoder = codec.stream_encoder()
    random = np.random.default_rng(seed)
    parts, at = [], 0
    while at < signal.size:
        n = int(random.choice([0, 1, 319, 1279, 1280, 1281, 5000]))
        parts.append(encoder.push(signal[at : at + n]))
        at += n
    return np.concatenate([*parts, encoder.flush()])


def decode_in_pieces(codec: Codec, tokens: NDArray[np.uint16], seed: int) -> NDArray[np.float32]:
    decoder = codec.stream_decoder()
    random = np.random.default_rng(seed)
    parts, at = [], 0
    while at < tokens.size:
        n = int(random.choice([0, 1, 2, 3, 4, 5, 17]))
        parts.append(decoder.push(tokens[at : at + n]))
        at += n
    return np.concatenate([*parts, decoder.flush()])


@pytest.mark.parametrize("name", CASES)
def test_whole(name: str, golden: Callable) -> None:
    case = golden(name)
    codec, expected = case.codec, case.expected
    features = codec.features(case.signal)
    target, every = rows(expected, "feats")
    assert relative(features[::every], target) < FEATURES
    latents = codec.latents(features)
    assert relative(latents, expected["lats"]) < FEATURES
    tokens = codec.quantize(latents)
    assert np.array_equal(tokens, expected["toks"])
    decompressed = codec.decompress(codec.codes(tokens))
    target, every = rows(expected, "qfeats")
    assert relative(decompressed[::every], target) < FEATURES
    signal = codec.synthesize(decompressed)
    assert np.abs(signal - expected["sig"]).max() < SAMPLES
    assert np.array_equal(codec.encode(case.signal), tokens)
    assert np.array_equal(codec.decode(tokens), signal)


@pytest.mark.parametrize("name", CASES)
def test_streamed_in_odd_pieces(name: str, golden: Callable) -> None:
    case = golden(name)
    codec = case.codec
    tokens = encode_in_pieces(codec, case.signal, 1)
    assert np.array_equal(tokens, case.expected["toks"])
    signal = decode_in_pieces(codec, tokens, 2)
    assert np.abs(signal - case.expected["sig"]).max() < SAMPLES
    assert np.array_equal(signal, codec.decode(tokens))


@pytest.mark.parametrize("name", ["tiny", "options", "nolookahead"])
def test_rates(name: str, golden: Callable) -> None:
    case = golden(name)
    codec = case.codec
    assert codec.sample_rate_in == case.case["sample_rate_in"]
    assert codec.sample_rate_out == case.case["sample_rate_out"]
    assert codec.chunk_size == case.case["chunk_size"]
    assert codec.bits_per_token == case.case["config"]["compressor_config"]["output_dim"]


@pytest.mark.parametrize("name", ["tiny", "options", "nolookahead"])
def test_plain_kernels(name: str, golden: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "CHOICE", "plain")
    case = golden(name)
    codec = case.codec
    assert np.array_equal(codec.encode(case.signal), case.expected["toks"])
    assert np.abs(codec.decode(case.expected["toks"]) - case.expected["sig"]).max() < SAMPLES
