"""Streams in silence, and streams on two threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge import Codec
from fcs_edge.streams import memory

TINY = np.finfo(np.float32).tiny


def arrays(state: Any) -> Iterator[NDArray[np.float32]]:
    """Every float32 array in a state, however deep."""
    if isinstance(state, np.ndarray):
        if state.dtype == np.float32:
            yield state
    elif isinstance(state, list | tuple):
        for part in state:
            yield from arrays(part)
    elif isinstance(getattr(state, "__dict__", None), dict):
        for part in vars(state).values():
            yield from arrays(part)


@pytest.mark.parametrize("level", [0, 1e-42, 1e-38, 1e-30, 1e-20, 1e-12])
def test_silence_holds_no_subnormal_numbers(
    level: float, tiny: Codec, speech: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CPU takes up to a hundred times as long with them, and silence is when they come."""
    # With arrays of their own, whose types are known: programs make the same calls.
    monkeypatch.setattr(memory, "programs_of", lambda *_: None)
    monkeypatch.setattr(tiny, "_programs", memory.StreamPrograms())
    encoder, decoder = tiny.stream_encoder(), tiny.stream_decoder()
    noise = np.random.default_rng(1).standard_normal(40 * tiny.chunk_size).astype(np.float32)
    decoder.push(encoder.push(speech[: 12 * tiny.chunk_size]))
    decoder.push(encoder.push((level * noise).astype(np.float32)))
    seen = 0
    for values in arrays([encoder._state, decoder._state]):
        size = np.abs(values)
        assert not ((size > 0) & (size < TINY)).any()
        seen += values.size
    assert seen > 10_000


def test_encoder_and_decoder_on_two_threads(tiny: Codec, speech: NDArray[np.float32]) -> None:
    """What one thread makes, two make: streams of one codec share weights and nothing else."""
    tokens = tiny.encode(speech)
    sound = tiny.decode(tokens)
    start = threading.Barrier(4)

    def encode() -> NDArray[np.uint16]:
        encoder = tiny.stream_encoder()
        start.wait()
        parts = [encoder.push(speech[i : i + 1280]) for i in range(0, speech.size, 1280)]
        return np.concatenate([*parts, encoder.flush()])

    def decode() -> NDArray[np.float32]:
        decoder = tiny.stream_decoder()
        start.wait()
        parts = [decoder.push(tokens[i : i + 4]) for i in range(0, tokens.size, 4)]
        return np.concatenate([*parts, decoder.flush()])

    with ThreadPoolExecutor(4) as pool:
        encoded = [pool.submit(encode) for _ in range(2)]
        decoded = [pool.submit(decode) for _ in range(2)]
        for one in encoded:
            assert np.array_equal(one.result(), tokens)
        for other in decoded:
            assert np.array_equal(other.result(), sound)
