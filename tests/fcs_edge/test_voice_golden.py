"""The golden case of voices: features replaced by the mean of their nearest rows."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge import Codec, Voice
from fcs_edge.kernels.isa import instructions

SAMPLES = 1e-5
"""Largest difference, absolute."""
DATA = Path(__file__).parent.parent / "data" / "golden"
CASES = tuple(product(("feats", "qfeats"), (1, 4)))
SOURCES = {"feats": "encoder", "qfeats": "decompressor"}

Arrays = dict[str, NDArray]


@pytest.fixture(scope="module")
def expected() -> Arrays:
    with np.load(DATA / "voices.npz") as arrays:
        return dict(arrays)


def voice_of(codec: Codec, arrays: Arrays, source: str) -> Voice:
    rows = arrays[f"matching_{source}"]
    return Voice(rows, codec.fingerprint, codec.name, SOURCES[source])


@pytest.mark.parametrize(("source", "topk"), CASES)
def test_whole_and_streamed(source: str, topk: int, tiny: Codec, expected: Arrays) -> None:
    voice, tokens = voice_of(tiny, expected, source), expected["toks"]
    signal = tiny.decode(tokens, voice=voice, topk=topk)
    assert np.abs(signal - expected[f"sig_{source}_topk_{topk}"]).max() < SAMPLES
    decoder = tiny.stream_decoder(voice=voice, topk=topk)
    parts = [decoder.push(tokens[at : at + 7]) for at in range(0, tokens.size, 7)]
    assert np.array_equal(np.concatenate([*parts, decoder.flush()]), signal)


def test_plain_kernels(tiny: Codec, expected: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "CHOICE", "plain")
    codec = Codec(tiny.model)
    voice = voice_of(codec, expected, "feats")
    signal = codec.decode(expected["toks"], voice=voice)
    assert np.abs(signal - expected["sig_feats_topk_4"]).max() < SAMPLES


@pytest.mark.parametrize("source", SOURCES)
def test_features_of_the_voice(
    source: str, tiny: Codec, expected: Arrays, speech: NDArray[np.float32]
) -> None:
    features = tiny.features(speech[:79360])  # whole chunks
    if source == "qfeats":
        tokens = tiny.quantize(tiny.latents(features))
        features = tiny.decompress(tiny.codes(tokens))
    target = expected[f"matching_{source}"]
    assert np.abs(features - target[:248]).max() < 1e-4 * np.abs(target).max()
