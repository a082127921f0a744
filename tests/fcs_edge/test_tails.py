"""Signals that are no whole number of chunks: the reference's tokens, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge import Codec
from fcs_edge.kernels.isa import instructions

F32 = NDArray[np.float32]
GOLDEN = Path(__file__).parents[1] / "data/golden"
NAMES = ("tiny", "options", "nolookahead")
SAMPLES = 1e-4
"""Largest difference, absolute."""


def cases(name: str, speech: F32) -> Iterator[tuple[F32, NDArray[np.int32], F32 | None]]:
    """Yield signals, the reference's tokens, and the samples that they decode to."""
    case = json.loads((GOLDEN / "tails.json").read_text())
    with np.load(GOLDEN / "tails.npz") as arrays:
        for n in case["lengths"]:
            signal = speech[case["offset"] :][:n]
            sound = arrays.get(f"{name}_sig_{n}")
            yield signal, arrays[f"{name}_toks_{n}"], sound


def encoded_in_pieces(codec: Codec, signal: F32, seed: int) -> NDArray[np.uint16]:
    random = np.random.default_rng(seed)
    encoder = codec.stream_encoder(int(random.choice([1, 2, 3, 7])))
    parts, at = [], 0
    while at < signal.size:
        n = int(random.choice([0, 1, 79, 319, 641, 1279, 1281, 4003, 50000]))
        parts.append(encoder.push(signal[at : at + n]))
        at += n
    return np.concatenate([*parts, encoder.flush()])


@pytest.mark.parametrize("name", NAMES)
def test_the_references_tokens_and_samples(name: str, golden: Callable, second_speech: F32) -> None:
    codec = golden(name).codec
    for signal, tokens, sound in cases(name, second_speech):
        assert tokens.size == -(-signal.size // codec.samples_per_token)
        assert np.array_equal(codec.encode(signal), tokens), signal.size
        assert np.array_equal(codec.quantize(codec.latents(codec.features(signal))), tokens)
        if sound is not None:
            assert np.abs(codec.decode(tokens) - sound).max() < SAMPLES


@pytest.mark.parametrize("name", NAMES)
def test_pushes_of_any_size(name: str, golden: Callable, second_speech: F32) -> None:
    codec = golden(name).codec
    for seed, (signal, tokens, _) in enumerate(cases(name, second_speech)):
        assert np.array_equal(encoded_in_pieces(codec, signal, seed), tokens), signal.size


@pytest.mark.parametrize("name", NAMES)
def test_plain_kernels(
    name: str, golden: Callable, second_speech: F32, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instructions, "CHOICE", "plain")
    codec = golden(name).codec
    for signal, tokens, sound in cases(name, second_speech):
        assert np.array_equal(codec.encode(signal), tokens), signal.size
        if sound is not None:
            assert np.abs(codec.decode(tokens) - sound).max() < SAMPLES


@pytest.mark.full
def test_the_published_size(golden: Callable, second_speech: F32) -> None:
    codec = golden("full_4k").codec
    with np.load(GOLDEN / "tails_full.npz") as arrays:
        for key in arrays.files:
            signal = second_speech[8000:][: int(key.removeprefix("toks_"))]
            assert np.array_equal(codec.encode(signal), arrays[key])
            assert np.array_equal(encoded_in_pieces(codec, signal, 1), arrays[key])
