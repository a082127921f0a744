"""Streams of fcs.c over toy kernels: any cutting, tails, copies, and refused calls."""

from __future__ import annotations

import ctypes
from functools import partial

import fuzz_cases
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import c_fuzz
import c_library
import toy_codec
from c_library import FcsError, Library, Memory, Model
from toy_codec import CHUNK, HOP_OUT


def noise(n: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-1, 1, n).astype(np.float32)


def test_facts(toy: Model) -> None:
    facts = toy.facts
    assert bytes(facts.fingerprint) == toy_codec.FINGERPRINT
    assert bytes(facts.kernels) == toy_codec.KERNELS
    assert facts.name == b"toy"
    numbers = [getattr(facts, name) for name, _ in facts._fields_[:11]]
    assert numbers == [16000, 8000, 4, 2, 12, 3, 3, 11, 5, 1, 1]
    assert toy.section(4) == b"{}"
    assert toy.section(5) is None


@pytest.mark.parametrize("chunks", [1, 8])
@given(cuts=st.lists(st.integers(0, 10 * CHUNK), max_size=8), seed=st.integers(0, 99))
def test_any_cutting_gives_the_same(chunks: int, cuts: list[int], seed: int, toy: Model) -> None:
    signal = noise(sum(cuts), seed)
    tokens, _ = toy_codec.encoded(signal)
    sound = toy_codec.decoded(tokens)
    encoder, decoder, at, parts, sounds = toy.encoder(chunks), toy.decoder(chunks), 0, [], []
    for n in cuts:
        parts.append(encoder.push(signal[at : at + n]))
        sounds.append(decoder.push(parts[-1]))
        at += n
        assert encoder.n_pending == at % CHUNK
    parts.append(encoder.flush())
    sounds += [decoder.push(parts[-1]), decoder.flush()]
    assert np.array_equal(np.concatenate(parts), tokens)
    assert np.array_equal(np.concatenate(sounds), sound)
    assert encoder.n_pending == decoder.n_pending == 0


@pytest.mark.parametrize("chunks", [1, 8])
def test_tails_of_every_length(chunks: int, toy: Model) -> None:
    encoder, decoder = toy.encoder(chunks), toy.decoder(chunks)
    for n in range(3 * CHUNK):
        signal = noise(n, n)
        tokens = np.concatenate([encoder.push(signal), encoder.flush()])
        assert np.array_equal(tokens, toy_codec.encoded(signal)[0])
        sound = np.concatenate([decoder.push(tokens), decoder.flush()])
        assert np.array_equal(sound, toy_codec.decoded(tokens))


def test_bad_samples_count_as_zeros(toy: Model) -> None:
    signal = noise(5 * CHUNK)
    signal[[3, 20, 59]] = np.nan, np.inf, -np.inf
    encoder = toy.encoder()
    tokens = encoder.push(signal)
    assert encoder.n_not_finite == 3
    assert np.array_equal(tokens, toy_codec.encoded(signal)[0])
    encoder.flush()
    assert encoder.n_not_finite == 0


def test_a_copy_continues_and_the_old_state_may_go(toy: Model) -> None:
    signal = noise(100)
    tokens, _ = toy_codec.encoded(signal)
    encoder = toy.encoder()
    first = encoder.push(signal[:55])
    twin = encoder.copy()
    encoder.memory.bytes[:] = 0xAA
    rest = [twin.push(signal[55:]), twin.flush()]
    assert np.array_equal(np.concatenate([first, *rest]), tokens)


def test_reset_starts_a_new_stream(toy: Model) -> None:
    encoder, decoder, signal = toy.encoder(8), toy.decoder(8), noise(50)
    encoder.push(noise(77, 2))
    encoder.reset()
    assert encoder.n_pending == 0
    tokens = np.concatenate([encoder.push(signal), encoder.flush()])
    assert np.array_equal(tokens, toy_codec.encoded(signal)[0])
    decoder.push(tokens[::-1])
    decoder.reset()
    sound = np.concatenate([decoder.push(tokens), decoder.flush()])
    assert np.array_equal(sound, toy_codec.decoded(tokens))


def test_a_token_out_of_range_decodes_nothing(toy: Model) -> None:
    decoder = toy.decoder()
    tokens = np.array([5, 7, 2047, 0, 1], np.uint16)
    for at in range(5):
        bad = tokens.copy()
        bad[at] = 2048
        with pytest.raises(FcsError) as refused:
            decoder.push(bad)
        assert refused.value.code == c_library.BAD_TOKEN
        assert decoder.n_pending == 0
    sound = np.concatenate([decoder.push(tokens), decoder.flush()])
    assert np.array_equal(sound, toy_codec.decoded(tokens))


@pytest.mark.parametrize("name", ["push", "flush"])
def test_a_small_buffer_takes_nothing(name: str, toy: Model) -> None:
    encoder, signal = toy.encoder(), noise(5 * CHUNK + 5)
    c, n, out = toy.library.c, ctypes.c_size_t(), Memory(2 * 14)
    if name == "flush":
        encoder.push(signal[: CHUNK - 1])
        given: list[int] = []
        capacity, needed, waiting = 2, 3, CHUNK - 1
    else:
        given = [signal.ctypes.data, signal.size]
        capacity, needed, waiting = 14, 15, 0
    function = getattr(c, f"fcs_encoder_{name}")
    code = function(
        toy.address, encoder.memory.address, *given, out.address, capacity, ctypes.byref(n)
    )
    out.check()
    assert code == c_library.SMALL_BUFFER
    assert n.value == needed
    assert encoder.n_pending == waiting
    rest = signal[encoder.n_pending :]
    tokens = [encoder.push(rest), encoder.flush()]
    assert np.array_equal(np.concatenate(tokens), toy_codec.encoded(signal)[0])


def test_refused_arguments(toy: Model) -> None:
    c, m = toy.library.c, toy.address
    encoder, decoder = toy.encoder(), toy.decoder()
    state, n = encoder.memory.address, ctypes.byref(ctypes.c_size_t())
    size = encoder.memory.bytes.size
    samples = noise(CHUNK)
    x, out = samples.ctypes.data, Memory(64)
    bad, misaligned = c_library.BAD_ARGUMENT, c_library.BAD_ALIGNMENT
    assert c.fcs_encoder_size(m, 1) == size
    for chunks in (-1, 0, 2, 7, 9):
        assert c.fcs_encoder_size(m, chunks) == 0
        assert c.fcs_encoder_init(m, state, size, chunks) == bad
    assert c.fcs_encoder_size(None, 1) == 0
    assert c.fcs_encoder_init(None, state, size, 1) == bad
    assert c.fcs_encoder_init(m, None, size, 1) == bad
    assert c.fcs_encoder_init(m, state, size - 1, 1) == c_library.SMALL_STATE
    assert c.fcs_encoder_init(m, state + 32, size, 1) == misaligned
    push = c.fcs_encoder_push
    assert push(None, state, x, CHUNK, out.address, 3, n) == bad
    assert push(m, None, x, CHUNK, out.address, 3, n) == bad
    assert push(m, state, None, CHUNK, out.address, 3, n) == bad
    assert push(m, state, x, CHUNK, None, 3, n) == bad
    assert push(m, state, x, CHUNK, out.address, 3, None) == bad
    assert push(m, state, x + 2, CHUNK, out.address, 3, n) == misaligned
    assert push(m, state, x, CHUNK, out.address + 1, 3, n) == misaligned
    assert push(m, state + 8, x, CHUNK, out.address, 3, n) == misaligned
    assert push(m, state, x, 2**64 - 1, out.address, 3, n) == bad
    assert push(m, state, x, 2**61, out.address, 2**64 - 1, n) == bad
    assert push(m, decoder.memory.address, x, CHUNK, out.address, 3, n) == c_library.BAD_STATE
    assert push(m, state, None, 0, None, 0, n) == c_library.OK
    assert c.fcs_encoder_flush(m, state, None, 0, n) == c_library.OK
    out.check()


def test_the_state_of_another_model_is_refused(toy_library: object, toy: Model) -> None:
    other = toy.library.open(toy_codec.fcsm.pack(toy_codec.head("other"), toy_codec.sections()))
    encoder, function = toy.encoder(), toy.library.c.fcs_encoder_reset
    assert function(other.address, encoder.memory.address) == c_library.BAD_STATE
    assert function(toy.address, encoder.memory.address) == c_library.OK
    for at in range(32):
        changed = encoder.copy()
        changed.memory.bytes[at] ^= 0x80
        assert function(toy.address, changed.memory.address) == c_library.BAD_STATE
    assert other.library.c.fcs_encoder_tokens(other.address, encoder.memory.address, CHUNK) == 0


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_half_models(part: str, toy: Model) -> None:
    sections = toy_codec.sections(encoder=part == "encoder", decoder=part == "decoder")
    half = toy.library.open(toy_codec.fcsm.pack(toy_codec.head(), sections))
    other = "decoder" if part == "encoder" else "encoder"
    assert getattr(half.facts, f"has_{part}") == 1
    assert getattr(half.facts, f"has_{other}") == 0
    memory = Memory(4096)
    c = half.library.c
    assert getattr(c, f"fcs_{other}_size")(half.address, 1) == 0
    init = getattr(c, f"fcs_{other}_init")
    assert init(half.address, memory.address, 4096, 1) == c_library.NO_PART
    stream = half.encoder() if part == "encoder" else half.decoder()
    assert stream.push(np.zeros(CHUNK)).size == (3 if part == "encoder" else CHUNK * HOP_OUT)


def test_random_calls(toy: Model) -> None:
    rng = np.random.default_rng(fuzz_cases.SEED)
    encoder, decoder = partial(toy_codec.Stream, True), partial(toy_codec.Stream, False)
    c_fuzz.fuzz(toy, encoder, decoder, rng, 1500 * fuzz_cases.TIMES)


def test_version_and_texts(toy: Model) -> None:
    c = toy.library.c
    assert c.fcs_version() == b"0.1.0"
    texts = {c.fcs_error_text(code) for code in range(0, -15, -1)}
    assert len(texts) == 15
    assert c.fcs_error_text(1) == c.fcs_error_text(-99) == b"unknown error"
    with pytest.raises(FcsError, match="no model inside"):
        Model(toy.library, None)
    assert isinstance(toy.library, Library)
