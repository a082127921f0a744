"""The golden cases of whole signals: models that are not causal, and a causal Vocos decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge import Codec
from fcs_edge.errors import FcsError
from fcs_edge.kernels.isa import instructions

F32 = NDArray[np.float32]

SMALL = ("nc_tiny", "nc_25", "nc_12_5", "nc_options", "nc_v001")
WHOLE = (*SMALL, pytest.param("full_50hz", marks=pytest.mark.full))
FEATURES = 1e-5
"""Largest difference, relative to the largest value."""
SAMPLES = 1e-5
"""Largest difference, absolute."""
N_FEATURES = 48001
"""Samples that the stored features are of."""


def cases(expected: dict[str, Any], key: str) -> Iterator[tuple[int, NDArray[Any]]]:
    """Return the lengths of a case, and what it expects of each."""
    found = [name for name in expected if name.startswith(f"{key}_")]
    assert found
    return ((int(name[len(key) + 1 :]), expected[name]) for name in found)


def relative(got: F32, expected: F32) -> float:
    assert got.shape == expected.shape
    return float(np.abs(got - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", [*WHOLE, "causal_vocos"])
def test_tokens_and_samples(name: str, golden: Callable[..., Any]) -> None:
    case = golden(name)
    codec, expected = case.codec, case.expected
    for n, tokens in cases(expected, "toks"):
        np.testing.assert_array_equal(codec.encode(case.signal[:n]), tokens)
        assert codec.n_tokens(n) == tokens.size
    for n, samples in cases(expected, "sig"):
        decoded = codec.decode(expected[f"toks_{n}"])
        assert decoded.shape == samples.shape
        assert np.abs(decoded - samples).max() < SAMPLES


@pytest.mark.parametrize("name", WHOLE)
def test_features_and_latents(name: str, golden: Callable[..., Any]) -> None:
    case = golden(name)
    codec, expected = case.codec, case.expected
    every = 8 if name == "full_50hz" else 1
    features = codec.features(case.signal[:N_FEATURES])
    assert relative(features[::every], expected["feats"]) < FEATURES
    latents = codec.latents(features)
    assert relative(latents, expected["lats"]) < 2 * FEATURES
    tokens = codec.quantize(latents)
    np.testing.assert_array_equal(tokens, codec.quantize(expected["lats"]))
    decompressed = codec.decompress(codec.codes(tokens))
    assert relative(decompressed[::every], expected["qfeats"]) < FEATURES
    np.testing.assert_array_equal(codec.synthesize(decompressed), codec.decode(tokens))


@pytest.mark.parametrize("name", [*SMALL, "causal_vocos"])
def test_every_set_of_instructions(
    name: str, golden: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens are the golden ones with plain loops too; all others give the same bits."""
    case = golden(name)
    n, tokens = max((n, t) for n, t in cases(case.expected, "toks") if n < 25_000)
    signal = case.signal[:n]
    latents, samples = [], []
    for choice in instructions.available():
        monkeypatch.setattr(instructions, "CHOICE", choice)
        codec: Codec = case.codec
        np.testing.assert_array_equal(codec.encode(signal), tokens)
        if choice != instructions.PLAIN:
            latents.append(codec.latents(codec.features(signal)))
            samples.append(codec.decode(tokens))
    for others in (latents, samples):
        for other in others[1:]:
            np.testing.assert_array_equal(other, others[0])


def test_causal_vocos_streams(golden: Callable[..., Any]) -> None:
    """Whatever the cuts, and one chunk at a time: the samples of the whole signal."""
    case = golden("causal_vocos")
    codec, tokens = case.codec, case.expected["toks_20480"]
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    signal = case.signal[:20480]
    parts = [encoder.push(signal[i : i + 997]) for i in range(0, signal.size, 997)]
    np.testing.assert_array_equal(np.concatenate([*parts, encoder.flush()]), tokens)
    pieces = [decoder.push(tokens[i : i + 3]) for i in range(0, tokens.size, 3)]
    streamed = np.concatenate([*pieces, decoder.flush()])
    np.testing.assert_array_equal(streamed, codec.decode(tokens))
    assert np.abs(streamed - case.expected["sig_20480"]).max() < SAMPLES


@pytest.mark.parametrize("name", ["nc_tiny", "nc_options"])
def test_streams_are_refused_in_one_line(name: str, golden: Callable[..., Any]) -> None:
    codec = golden(name).codec
    assert not codec.encodes_streams
    assert not codec.decodes_streams
    assert codec.latency == float("inf")
    assert (codec.chunk_tokens, codec.chunk_size) == (1, codec.samples_per_token)
    for create in (codec.stream_encoder, codec.stream_decoder):
        with pytest.raises(FcsError, match=r"the causal models stream: .*4k_causal") as caught:
            create()
        assert "\n" not in str(caught.value)
