"""Pauses: which moments hold no speech, which token stands for them, and where it does."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.tokens.activity import FRAME, ActivityMeter
from fcs_edge.tokens.comfort import ChunkDecoder, candidates
from fcs_edge.tokens.pauses import PauseFilter, Replaced

F32 = NDArray[np.float32]
RATE = 16000


@pytest.fixture(scope="module")
def codec() -> fcs_edge.Codec:
    return fcs_edge.load()


@pytest.fixture(scope="module")
def spoken(speech: F32) -> F32:
    """Speech from second 3 to second 5 of ten, in a quiet room."""
    noise = np.random.default_rng(1).standard_normal(10 * RATE) * 10 ** (-70 / 20)
    noise[3 * RATE : 5 * RATE] += speech[RATE : 3 * RATE]
    return noise.astype(np.float32)


def replaced(
    codec: fcs_edge.Codec, sound: F32, cuts: list[int], live: bool = False
) -> tuple[Replaced, list[int]]:
    """Return the result for a sound that is cut at samples, and how many tokens each push gives."""
    encoder, pauses = codec.stream_encoder(), PauseFilter(codec, live=live)
    parts = [
        pauses.push(sound[a:b], encoder.push(sound[a:b]))
        for a, b in pairwise([0, *cuts, sound.size])
    ]
    parts.append(pauses.flush(encoder.flush()))
    whole = Replaced(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    return whole, [part.tokens.size for part in parts]


def active_frames(sound: F32) -> NDArray[np.bool_]:
    """Return which frames are active."""
    meter = ActivityMeter()
    frames = sound[: sound.size // FRAME * FRAME].reshape(-1, FRAME)
    return np.array([meter.is_active(frame) for frame in frames])


@pytest.mark.parametrize("decibels", [-300, -70, -50, -30])
def test_steady_noise_is_not_active_once_it_is_known(decibels: float) -> None:
    noise = np.random.default_rng(2).standard_normal(12 * RATE) * 10 ** (decibels / 20)
    assert active_frames(noise.astype(np.float32))[5 * 50 :].mean() < 0.01


def test_a_weak_sound_above_the_noise_of_its_band_is_active() -> None:
    # Low noise, and a hiss of 40 ms that is 10 dB weaker than the noise in all.
    rng = np.random.default_rng(3)
    noise = np.cumsum(rng.standard_normal(8 * RATE))
    noise -= np.convolve(noise, np.ones(400) / 400, "same")
    noise *= 0.01 / noise.std()
    start = 7 * RATE
    hiss = np.diff(rng.standard_normal(2 * FRAME + 1))
    noise[start : start + 2 * FRAME] += 0.003 * hiss / hiss.std()
    active = active_frames(noise.astype(np.float32))
    assert active[start // FRAME : start // FRAME + 2].any()
    assert not active[start // FRAME - 50 : start // FRAME].any()


def test_speech_at_once_is_active(speech: F32) -> None:
    assert active_frames(speech[3200:35200]).mean() > 0.8


def test_tokens_outside_pauses_are_the_encoders(codec: fcs_edge.Codec, spoken: F32) -> None:
    result, _ = replaced(codec, spoken, [])
    tokens = codec.encode(spoken)
    assert result.tokens.shape == result.pauses.shape == tokens.shape
    np.testing.assert_array_equal(result.tokens[~result.pauses], tokens[~result.pauses])


def test_pauses_leave_room_before_and_after_speech(codec: fcs_edge.Codec, spoken: F32) -> None:
    result, _ = replaced(codec, spoken, [])
    seconds = np.flatnonzero(result.pauses) * codec.samples_per_token / RATE
    assert not ((seconds > 2.84) & (seconds < 5.3)).any()
    assert (seconds < 2.84).sum() > 1.5 * codec.token_rate
    assert (seconds > 5.3).sum() > 3 * codec.token_rate
    by_chunk = result.pauses.reshape(-1, codec.chunk_tokens)
    assert (by_chunk.all(axis=1) == by_chunk.any(axis=1)).all()


def test_a_pause_has_one_comfort_token(codec: fcs_edge.Codec, spoken: F32) -> None:
    result, _ = replaced(codec, spoken, [])
    bounds = np.flatnonzero(np.diff(result.pauses)) + 1
    pauses = [
        part
        for part, mask in zip(
            np.split(result.tokens, bounds), np.split(result.pauses, bounds), strict=True
        )
        if mask[0]
    ]
    assert len(pauses) >= 2
    assert all(np.unique(part).size == 1 for part in pauses)


def test_the_level_steps_little_into_and_out_of_pauses(codec: fcs_edge.Codec, spoken: F32) -> None:
    result, _ = replaced(codec, spoken, [])
    decoder = ChunkDecoder(codec)
    chunks = result.tokens.reshape(-1, codec.chunk_tokens)
    levels = np.concatenate([decoder.decode(tokens).levels for tokens in chunks])
    switches = np.flatnonzero(np.diff(result.pauses)) + 1
    assert switches.size >= 3
    assert np.abs(levels[switches] - levels[switches - 1]).max() <= 3


def test_the_result_does_not_depend_on_how_the_sound_is_cut(
    codec: fcs_edge.Codec, spoken: F32
) -> None:
    sound = spoken[: 7 * RATE + 77]
    whole, _ = replaced(codec, sound, [])
    assert whole.pauses[-1]
    assert whole.tokens.size == whole.pauses.size == 351
    cuts = np.sort(np.random.default_rng(4).integers(0, 7 * RATE, 40)).tolist()
    parts, _ = replaced(codec, sound, cuts)
    np.testing.assert_array_equal(parts.tokens, whole.tokens)
    np.testing.assert_array_equal(parts.pauses, whole.pauses)


def test_a_live_filter_keeps_nothing_back_but_one_chunk_of_a_pause(
    codec: fcs_edge.Codec, spoken: F32
) -> None:
    size, n = codec.chunk_size, codec.chunk_tokens
    result, counts = replaced(codec, spoken, list(range(size, spoken.size, size)), live=True)
    assert result.pauses.any()
    due = np.cumsum(counts) - n * np.arange(1, len(counts) + 1)
    assert due[:-1].min() == -n
    speech = slice(3 * RATE // size + 2, 5 * RATE // size)
    assert (due[speech] == 0).all()
    tokens = codec.encode(spoken)
    np.testing.assert_array_equal(result.tokens[~result.pauses], tokens[~result.pauses])


def test_a_model_of_any_shape_has_pauses(tiny: fcs_edge.Codec) -> None:
    sound = np.zeros(6 * RATE + 77, np.float32)
    result, _ = replaced(tiny, sound, [1, 5000])
    assert result.tokens.size == tiny.encode(sound).size
    assert result.pauses.any()


def test_candidates_begin_with_the_most_frequent_bits() -> None:
    sample = np.array([0b1100, 0b1101, 0b1100, 0b0110, 0b1101], np.uint16)
    found = candidates(sample, 4)
    assert found[0] == 0b1100
    assert set(sample.tolist()) <= set(found)
    assert len(found) == len(set(found))
    assert max(found) < 16


def test_candidates_of_one_bit() -> None:
    assert sorted(candidates(np.array([1, 1, 0], np.uint16), 1)) == [0, 1]
