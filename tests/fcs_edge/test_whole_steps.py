"""Signals that come in pieces: whole steps, whose last one ends with the signal, to the bit."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fcs_edge
from fcs_edge import Codec
from fcs_edge.codec import BLOCK_CHUNKS
from fcs_edge.stream import StreamEncoder
from fcs_edge.streams.idle import IdleStreams
from fcs_edge.streams.memory import DirectMemory, ProgramMemory

F32 = NDArray[np.float32]
NAMES = "tiny", "options", "nolookahead"
CHUNK = 1280
LENGTHS = 0, 1, 319, 320, 1279, 1280, 1281, 5000, 8 * CHUNK, 8 * CHUNK + 1, 40000


def reference(codec: Codec, signal: F32) -> NDArray[np.uint16]:
    """Encode chunk by chunk, as a live stream does; the partial chunk is a call of its own."""
    encoder = codec.stream_encoder()
    return np.concatenate([encoder.push(signal), encoder.flush()])


def pieces(signal: F32, seed: int) -> Iterator[F32]:
    random, at = np.random.default_rng(seed), 0
    while at < signal.size:
        n = int(random.choice([0, 1, 79, 1279, 1281, 4003, 16000, 16000]))
        yield signal[at : at + n]
        at += n


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The samples of each step of an encoder, its last one included."""
    seen: list[int] = []

    def counted(kind: type[Any]) -> None:
        run = kind.run

        def step(self: Any, x: F32, out: NDArray[Any]) -> None:
            seen.append(x.size)
            run(self, x, out)

        monkeypatch.setattr(kind, "run", step)

    counted(ProgramMemory)
    counted(DirectMemory)
    return seen


@pytest.mark.parametrize("name", NAMES)
def test_any_length_and_any_cutting(name: str, golden: Callable, speech: F32) -> None:
    codec = golden(name).codec
    encoder = codec.signal_encoder()
    for seed, n in enumerate(LENGTHS):
        signal = speech[9000 + 17 * seed :][:n]
        expected = reference(codec, signal)
        parts = [encoder.push(piece) for piece in pieces(signal, seed)]
        assert encoder.n_pending < codec.chunk_size * BLOCK_CHUNKS
        assert np.array_equal(np.concatenate([*parts, encoder.flush()]), expected), n
        assert np.array_equal(codec.encode(signal), expected), n


def test_the_built_in_model_and_its_search(speech: F32) -> None:
    codec = fcs_edge.load()
    encoder = codec.signal_encoder()
    for n in (700, 1281, 8 * CHUNK + 3 * CHUNK + 333, 30011):
        signal = speech[12000:][:n]
        expected = reference(codec, signal)
        parts = [encoder.push(piece) for piece in pieces(signal, n)]
        assert np.array_equal(np.concatenate([*parts, encoder.flush()]), expected), n
        signs = codec.encode(signal, search=False)
        assert np.array_equal(signs, codec.quantize(codec.latents(codec.features(signal)))), n
        assert np.array_equal(codec.encode(signal), expected), n


def test_steps_are_whole_and_the_rest_is_one_call(
    tiny: Codec, speech: F32, calls: list[int]
) -> None:
    """Blocks of a second make no step of their own, and the last partial chunk makes none."""
    step = CHUNK * BLOCK_CHUNKS
    encoder = tiny.signal_encoder()
    for at in range(0, 48000, 16000):
        encoder.push(speech[at : at + 16000])
    encoder.flush()
    whole, rest = divmod(48000, step)
    assert calls == [step] * whole + [rest]
    calls.clear()
    tiny.encode(speech[:48000])
    assert calls == [step] * whole + [rest]


def test_live_streams_wait_for_no_further_chunk(tiny: Codec, speech: F32) -> None:
    encoder = tiny.stream_encoder(8)
    assert encoder.push(speech[:16000]).size == 12 * tiny.chunk_tokens
    assert encoder.n_pending == 640


def test_copies_and_pickles_continue(tiny: Codec, speech: F32) -> None:
    signal = speech[:21000]
    expected = tiny.encode(signal)
    encoder = tiny.signal_encoder()
    first = encoder.push(signal[:19000])
    for other in (copy.copy(encoder), copy.deepcopy(encoder)):
        assert isinstance(other, StreamEncoder)
        rest = [other.push(signal[19000:]), other.flush()]
        assert np.array_equal(np.concatenate([first, *rest]), expected)
    built_in = fcs_edge.load()
    encoder = built_in.signal_encoder()
    first = encoder.push(signal[:19000])
    other = pickle.loads(pickle.dumps(encoder))
    rest = [other.push(signal[19000:]), other.flush()]
    assert np.array_equal(np.concatenate([first, *rest]), built_in.encode(signal))


def test_one_encoder_serves_many_calls(tiny: Codec, speech: F32) -> None:
    """`encode` creates a stream once; threads, and codecs of other threads, have their own."""
    created = []
    step_encoder = Codec._step_encoder

    def counted(self: Codec, *arguments: object, **how: object) -> StreamEncoder:
        created.append(how)
        return step_encoder(self, *arguments, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Codec, "_step_encoder", counted)
        codec = Codec(tiny.model)
        tokens = [codec.encode(speech[:n]) for n in (3000, 20000, 3000)]
        assert len(created) == 1
        codec.with_threads(2).encode(speech[:3000])
        assert len(created) == 2
        with ThreadPoolExecutor(3) as pool:
            together = list(pool.map(codec.encode, [speech[:20000]] * 6))
    assert np.array_equal(tokens[0], tokens[2])
    assert all(np.array_equal(tokens[1], each) for each in together)


def test_a_stream_that_failed_is_dropped() -> None:
    idle: IdleStreams[list[int]] = IdleStreams()

    def fail() -> None:
        with idle.taken("kind", list) as stream:
            stream.append(1)
            raise KeyboardInterrupt

    with idle.taken("kind", list) as first:
        pass
    with idle.taken("kind", list) as again:
        assert again is first
    with pytest.raises(KeyboardInterrupt):
        fail()
    with idle.taken("kind", list) as new:
        assert new == []
        with idle.taken("kind", list) as other:
            assert other is not new
    with idle.taken("other", list) as different:
        assert different is not new
