"""Traced streams, run word by word, give what the streams of Python give, to the bit."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import traced_streams
from numpy.typing import NDArray
from traced_streams import Words

import fcs_edge
from fcs_edge.kernels.isa import instructions

MODELS = "tiny", "options", "noisy"
"""Models that stream; the second has post-norms, the third noise and an overlap."""


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Callable[[fcs_edge.Codec], bytes]:
    """Trace a model for the kernels of this process."""
    folder = tmp_path_factory.mktemp("traces")
    using = instructions.chosen().name
    record = folder / "kernels.json"
    known = {"target": using, "id": b"8 bytes.".hex(), "kernels": traced_streams.kernels(using)}
    record.write_text(json.dumps(known))

    def get(codec: fcs_edge.Codec) -> bytes:
        path, out = str(codec.model.path), folder / "model.fcsm"
        return traced_streams.traced(path, codec.activation_bits, record, using, out)

    return get


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, trace: Callable, golden: Callable) -> tuple:
    """A codec, its trace, and what runs it."""
    noisy = request.param == "noisy"
    codec = request.getfixturevalue("noisy") if noisy else golden(request.param).codec
    data = trace(codec)
    return codec, data, Words(data, traced_streams.kernels(instructions.chosen().name))


def lengths(chunk: int, hop: int) -> list[int]:
    """Return lengths of signals: around tokens and chunks, and runs of 8 chunks with a rest."""
    near = [1, 2, hop - 1, hop, hop + 1, chunk - 1, chunk, chunk + 1]
    return [*near, 3 * chunk - hop - 7, 9 * chunk + chunk // 2 + 3]


@pytest.mark.parametrize("chunks", [1, 8])
def test_words_give_the_streams_bits(
    chunks: int, model: tuple, speech: NDArray[np.float32]
) -> None:
    codec, _, words = model
    for n in lengths(codec.chunk_size, codec.samples_per_token):
        samples = speech[30000 : 30000 + n].copy()
        samples[n // 2] = np.nan
        encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
        tokens = np.concatenate([encoder.push(samples), encoder.flush()])
        sound = np.concatenate([decoder.push(tokens), decoder.flush()])
        assert words.encode(samples, chunks).tolist() == tokens.tolist(), n
        assert words.decode(tokens, chunks).tobytes() == sound.tobytes(), n
