"""Streams: cutting, resuming, independence, and no allocation."""

from __future__ import annotations

import tracemalloc
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fcs_edge import AudioWarning, Codec, load

SECOND = 16000


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cuts=st.lists(st.integers(0, 3 * 1280 + 7), max_size=12), max_chunks=st.integers(1, 5))
def test_any_cutting_gives_the_same_bits(
    cuts: list[int], max_chunks: int, tiny: Codec, speech: NDArray[np.float32]
) -> None:
    signal = speech[:13000]
    whole = tiny.encode(signal)
    encoder = tiny.stream_encoder(max_chunks)
    parts, at = [], 0
    for n in cuts:
        parts.append(encoder.push(signal[at : at + n]))
        at += n
    parts += [encoder.push(signal[at:]), encoder.flush()]
    assert np.array_equal(np.concatenate(parts), whole)
    decoder = tiny.stream_decoder(max_chunks)
    sound, at = [], 0
    for n in cuts:
        sound.append(decoder.push(whole[at : at + n // 320]))
        at += n // 320
    sound += [decoder.push(whole[at:]), decoder.flush()]
    assert np.array_equal(np.concatenate(sound), tiny.decode(whole))


def test_one_sample_and_one_token_at_a_time(tiny: Codec, speech: NDArray[np.float32]) -> None:
    signal = speech[:4000]
    encoder = tiny.stream_encoder()
    tokens = np.concatenate([*(encoder.push(signal[i : i + 1]) for i in range(4000))])
    assert tokens.size == 12
    assert encoder.n_pending == 160
    tokens = np.concatenate([tokens, encoder.flush()])
    assert np.array_equal(tokens, tiny.encode(signal))
    decoder = tiny.stream_decoder()
    sound = [decoder.push(tokens[i : i + 1]) for i in range(tokens.size)]
    assert np.array_equal(np.concatenate([*sound, decoder.flush()]), tiny.decode(tokens))


def test_a_push_returns_what_is_ready(tiny: Codec) -> None:
    encoder, decoder = tiny.stream_encoder(), tiny.stream_decoder()
    assert encoder.push(np.zeros(1279, np.float32)).size == 0
    assert encoder.push(np.zeros(1, np.float32)).size == 4
    assert decoder.push(np.zeros(3, np.uint16)).size == 0
    assert decoder.push(np.zeros(1, np.uint16)).size == 4 * 480


def test_partial_last_chunk(tiny: Codec, speech: NDArray[np.float32]) -> None:
    tokens = tiny.encode(speech[: 3 * 1280])
    ended = tiny.encode(speech[:3000])
    assert ended.size == 10
    assert np.array_equal(ended[:8], tokens[:8])
    short = tiny.decode(tokens[:10])
    assert short.size == 10 * 480
    assert np.array_equal(short[: 8 * 480], tiny.decode(tokens)[: 8 * 480])


def test_nothing_in_nothing_out(tiny: Codec) -> None:
    assert tiny.encode([]).size == 0
    assert tiny.decode([]).size == 0
    assert tiny.stream_encoder().flush().size == 0
    assert tiny.stream_decoder().flush().size == 0


def test_flush_and_reset_start_anew(tiny: Codec, speech: NDArray[np.float32]) -> None:
    encoder, decoder = tiny.stream_encoder(), tiny.stream_decoder()
    signal, other = speech[:SECOND], speech[-SECOND:]
    tokens = tiny.encode(signal)
    encoder.push(other)
    encoder.flush()
    assert np.array_equal(np.concatenate([encoder.push(signal), encoder.flush()]), tokens)
    encoder.push(other)
    encoder.reset()
    assert encoder.n_pending == 0
    assert np.array_equal(np.concatenate([encoder.push(signal), encoder.flush()]), tokens)
    decoder.push(tiny.encode(other))
    decoder.reset()
    sound = np.concatenate([decoder.push(tokens), decoder.flush()])
    assert np.array_equal(sound, tiny.decode(tokens))


@pytest.mark.parametrize("at", [0, 640, 1280, 40000])
def test_a_copy_resumes_the_stream(at: int, tiny: Codec, speech: NDArray[np.float32]) -> None:
    signal = speech[:80000]
    encoder = tiny.stream_encoder()
    first = encoder.push(signal[:at])
    twin = encoder.copy()
    encoder.push(speech[-50000:])
    rest = np.concatenate([twin.push(signal[at:]), twin.flush()])
    tokens = np.concatenate([first, rest])
    assert np.array_equal(tokens, tiny.encode(signal))
    decoder = tiny.stream_decoder()
    n = at // 320 + 1
    start = decoder.push(tokens[:n])
    twin_decoder = decoder.copy()
    decoder.push(tokens[::-1])
    sound = np.concatenate([start, twin_decoder.push(tokens[n:]), twin_decoder.flush()])
    assert np.array_equal(sound, tiny.decode(tokens))


def test_two_streams_on_one_codec_never_meet(tiny: Codec, speech: NDArray[np.float32]) -> None:
    signals = speech[:SECOND], speech[-SECOND:]
    encoders = [tiny.stream_encoder() for _ in signals]
    parts: list[list[NDArray[np.uint16]]] = [[], []]
    for at in range(0, SECOND, 700):
        for encoder, signal, part in zip(encoders, signals, parts, strict=True):
            part.append(encoder.push(signal[at : at + 700]))
    for encoder, signal, part in zip(encoders, signals, parts, strict=True):
        tokens = np.concatenate([*part, encoder.flush()])
        assert np.array_equal(tokens, tiny.encode(signal))


def test_a_step_allocates_nothing() -> None:
    """Every array exists before; what Python takes for views and calls is 2 kB at a time.

    The smallest array that a chunk of this model is computed in has 3 kB.
    """
    codec = load()
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    random = np.random.default_rng(0)
    samples = random.standard_normal(codec.chunk_size).astype(np.float32)
    tokens = np.zeros(codec.chunk_tokens, np.uint16)
    sound = np.zeros(codec.chunk_tokens * codec.samples_out_per_token, np.float32)

    def step() -> None:
        encoder.step(samples, tokens)
        decoder.step(tokens, sound)

    for _ in range(100):
        step()
    tracemalloc.start()
    try:
        step()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(50):
            step()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 4500
    assert after - before < 256


def test_not_finite_samples_count_as_zero(tiny: Codec, speech: NDArray[np.float32]) -> None:
    signal = speech[:SECOND].copy()
    zeroed = signal.copy()
    bad = [5, 6, 7000, 15999]
    signal[bad] = [np.nan, np.inf, -np.inf, np.nan]
    zeroed[bad] = 0
    encoder = tiny.stream_encoder()
    tokens = encoder.push(signal)
    assert encoder.n_not_finite == 3
    assert np.array_equal(np.concatenate([tokens, encoder.flush()]), tiny.encode(zeroed))


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-6, 4.0, 32768.0, 1e30])
def test_any_level_gives_finite_sound(
    scale: float, tiny: Codec, speech: NDArray[np.float32]
) -> None:
    features = tiny.features(speech[:SECOND] * np.float32(scale))
    warned = pytest.warns(AudioWarning, match="full scale") if scale > 100 else nullcontext()
    with warned:
        tokens = tiny.encode(speech[:SECOND] * np.float32(scale))
    assert np.isfinite(tiny.decode(tokens)).all()
    if scale < 1e10:
        assert np.isfinite(features).all()


def test_inputs_are_checked(tiny: Codec) -> None:
    with pytest.raises(TypeError, match="floating point"):
        tiny.encode(np.zeros(10, np.int16))
    with pytest.raises(ValueError, match="mono"):
        tiny.encode(np.zeros((10, 2), np.float32))
    with pytest.raises(TypeError, match="integers"):
        tiny.decode(np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="0 to 2047"):
        tiny.decode([0, 1, 2, 2048])
    with pytest.raises(ValueError, match="0 to 2047"):
        tiny.decode([-1])
    with pytest.raises(ValueError, match="shape"):
        tiny.decode(np.zeros((2, 2), np.uint16))


def test_float64_is_taken(tiny: Codec, speech: NDArray[np.float32]) -> None:
    assert np.array_equal(
        tiny.encode(speech[:SECOND].astype(np.float64)), tiny.encode(speech[:SECOND])
    )
