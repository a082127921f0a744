"""The memory of streams: one block in which programs run, and what goes on without them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from voice_cases import drawn_voice

import fcs_edge
from fcs_edge import Codec
from fcs_edge.kernels.runtime import _jit
from fcs_edge.streams import memory
from fcs_edge.streams.memory import DirectMemory, ProgramMemory, StreamPrograms

pytestmark = pytest.mark.skipif("_jit.uses_numba()", reason="Numba's kernels run in no program")

F32 = NDArray[np.float32]
LENGTHS = 640, 1280, 3000, 8 * 1280, 7 * 1280 + 5, 21000
RUNS = ("encoder", "decoder"), ("compressor", "quantizer"), ("quantizer", "decoder")


@pytest.fixture
def codec(tiny: Codec, monkeypatch: pytest.MonkeyPatch) -> Codec:
    """A codec without programs."""
    monkeypatch.setattr(tiny, "_programs", StreamPrograms())
    return tiny


@pytest.fixture
def direct(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Returns what a function of the codec returns where no stream has programs."""

    def call(create: Callable[[Codec], Any]) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(memory, "programs_of", lambda *_: None)
            patch.setattr(codec, "_programs", StreamPrograms())
            return create(codec)

    return call


def run(codec: Codec, signal: F32, chunks: int = 1) -> list[bytes]:
    encoder, decoder = codec.stream_encoder(chunks), codec.stream_decoder(chunks)
    found = []
    for n in LENGTHS:
        tokens = np.concatenate([encoder.push(signal[:n]), encoder.flush()])
        found += [tokens, decoder.push(tokens), decoder.flush()]
    return [array.tobytes() for array in found]


@pytest.mark.parametrize("chunks", [1, 3])
def test_programs_change_no_bit(
    chunks: int, codec: Codec, direct: Callable[..., Any], speech: F32
) -> None:
    assert run(codec, speech, chunks) == direct(lambda c: run(c, speech, chunks))


@pytest.mark.parametrize("stages", RUNS)
def test_programs_of_stages_change_no_bit(
    stages: tuple[str, str], codec: Codec, direct: Callable[..., Any], speech: F32
) -> None:
    given: dict[str, Any] = {"encoder": speech[:9000]}
    given["compressor"] = codec.features(given["encoder"])
    given["quantizer"] = codec.latents(given["compressor"])

    def through(codec: Codec) -> list[bytes]:
        stream, x = codec.stage_stream(*stages, 2), given[stages[0]]
        parts = [stream.push(part) for part in np.array_split(x, (3, 11, len(x) // 2))]
        return [part.tobytes() for part in (*parts, stream.flush())]

    assert through(codec) == direct(through)


def test_work_memory_means_nothing_between_steps(codec: Codec, speech: F32) -> None:
    """Bytes of 255 make numbers that are none of every float, and large ones of every integer."""
    tokens = codec.encode(speech[:20_000])
    sound, samples = codec.decode(tokens), codec.samples_out_per_token
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()

    def poison() -> None:
        for stream in (encoder, decoder):
            state = stream._state.memory
            assert isinstance(state, ProgramMemory)
            state._block[state._programs.history_bytes :] = 255

    found: list[NDArray[Any]] = []
    for at in range(0, 20_000, 1280):
        poison()
        found.append(encoder.push(speech[at : min(at + 1280, 20_000)]))
    poison()
    found.append(encoder.flush())
    assert np.array_equal(np.concatenate(found), tokens)
    for at in range(0, tokens.size, codec.model.config.decoded_tokens):
        poison()
        part = decoder.push(tokens[at : at + codec.model.config.decoded_tokens])
        assert np.array_equal(part, sound[at * samples :][: part.size])


@pytest.mark.parametrize("kind", ["encoder", "decoder", "noisy decoder"])
def test_a_tail_follows_from_its_length(kind: str, codec: Codec, noisy: Codec) -> None:
    decodes = (noisy if kind == "noisy decoder" else codec).stream_decoder
    stream = codec.stream_encoder(3) if kind == "encoder" else decodes()
    programs = stream._state.memory._programs
    rows, step = programs._steps.chunk_rows, 17 if kind == "encoder" else 1
    for chunks in (0, 2) if kind == "encoder" else (0,):
        tail = programs._fitted(chunks)
        for missing in range(1, rows, step):
            words = programs._words((chunks + 1) * rows - missing)
            assert np.array_equal(tail.of(missing), words), missing


def test_streams_go_on_where_numba_takes_over(
    codec: Codec, speech: F32, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A length that was never traced cannot be any more; the stream retains its past."""
    expected = codec.encode(speech[:9000]).tolist()
    encoder = codec.stream_encoder()
    found = encoder.push(speech[:5000]).tolist()
    later = encoder.copy()
    monkeypatch.setattr(_jit, "uses_numba", lambda: True)
    for stream in (encoder, later, encoder.copy(), pickle.loads(pickle.dumps(encoder))):
        rest = [*stream.push(speech[5000:9000]), *stream.flush()]
        assert found + rest == expected
        again = [*stream.push(speech[:9000]), *stream.flush()]
        assert again == expected
    assert isinstance(codec.stream_encoder()._state.memory, DirectMemory)


def test_copies_and_counts(codec: Codec, direct: Callable[..., Any], speech: F32) -> None:
    """Also of streams of one codec that have programs, and streams that have none."""
    bad = speech[:4000].copy()
    bad[17:20] = np.nan
    first, other = codec.stream_encoder(), direct(lambda c: c.stream_encoder())
    first.push(bad)
    other._state.take(first._state)
    again = first.copy()
    for stream in (first, other, again):
        assert stream.n_not_finite == 3
        assert stream.n_pending == 160
    expected = first.push(speech[4000:9000])
    assert np.array_equal(other.push(speech[4000:9000]), expected)
    assert np.array_equal(again.push(speech[4000:9000]), expected)
    first.reset()
    assert first.n_not_finite == 0


@pytest.mark.parametrize("kind", ["f32", "f16", "int8"])
def test_a_voice_in_steps_of_any_length(kind: str) -> None:
    codec = fcs_edge.load("edge-65k")
    voice = drawn_voice(codec, 80, kind)
    whole, single = (codec.stream_decoder(max_chunks=n, voice=voice) for n in (8, 1))
    tokens = np.arange(8 * codec.chunk_tokens, dtype=np.uint16)
    for n in (8, 1, 5, 2):
        some = tokens[: n * codec.chunk_tokens - 1]
        found, expected = (
            np.concatenate([stream.push(some), stream.flush()]) for stream in (whole, single)
        )
        assert np.array_equal(found, expected)
