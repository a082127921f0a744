"""Streams with a voice: any cutting, copies, pickles, threads; and which voices fit."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from voice_cases import KINDS, drawn_voice

import fcs_edge
from fcs_edge import Codec, Voice, VoiceError
from fcs_edge.link.conceal import Concealer


@pytest.fixture
def tokens(tiny: Codec) -> NDArray[np.uint16]:
    rng = np.random.default_rng(1)
    return rng.integers(0, 1 << tiny.bits_per_token, 67).astype(np.uint16)


@pytest.mark.parametrize("kind", KINDS)
def test_any_cutting_gives_the_same_samples(
    kind: str, tiny: Codec, tokens: NDArray[np.uint16]
) -> None:
    voice = drawn_voice(tiny, 90, kind)
    whole = tiny.decode(tokens, voice=voice)
    assert not np.array_equal(whole, tiny.decode(tokens))
    for chunks, size in ((1, 1), (1, 5), (40, 67)):
        decoder = tiny.stream_decoder(chunks, voice=voice)
        parts = [decoder.push(tokens[i : i + size]) for i in range(0, tokens.size, size)]
        assert np.array_equal(np.concatenate([*parts, decoder.flush()]), whole)


def test_it_is_the_mean_of_the_nearest_rows(tiny: Codec, tokens: NDArray[np.uint16]) -> None:
    voice = drawn_voice(tiny, 50)
    features = tiny.decompress(tiny.codes(tokens))
    rows = voice.float32()
    cosine = features @ (rows / np.linalg.norm(rows, axis=1, keepdims=True)).T
    for topk in (1, 3, 64):
        nearest = np.argsort(-cosine, axis=1)[:, :topk]
        expected = tiny.synthesize(rows[nearest].mean(1))
        got = tiny.decode(tokens, voice=voice, topk=topk)
        np.testing.assert_allclose(got, expected, atol=1e-5)


COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda stream: pickle.loads(pickle.dumps(stream)),
    "copy": copy.copy,
    "deep copy": copy.deepcopy,
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copied_stream_continues_with_the_voice(
    how: str, tiny: Codec, tokens: NDArray[np.uint16]
) -> None:
    voice = drawn_voice(tiny, 90, "int8")
    decoder = tiny.stream_decoder(voice=voice, topk=2)
    decoder.push(tokens[:30])
    other = COPIES[how](decoder)
    expected = np.concatenate([decoder.push(tokens[30:]), decoder.flush()])
    assert np.array_equal(np.concatenate([other.push(tokens[30:]), other.flush()]), expected)


def test_a_codec_with_a_voice(tiny: Codec, tokens: NDArray[np.uint16]) -> None:
    voice = drawn_voice(tiny, 90)
    expected = tiny.decode(tokens, voice=voice, topk=3)
    codec = tiny.with_voice(voice, 3)
    for other in (codec, pickle.loads(pickle.dumps(codec)), codec.with_threads(2)):
        assert np.array_equal(other.decode(tokens), expected)
    assert np.array_equal(tiny.decode(tokens), Codec(tiny.model).decode(tokens))


def test_concealment_continues_with_the_voice(tiny: Codec) -> None:
    """What stands for a lost chunk is the voice's too: the rows of the last token repeated."""
    codec = tiny.with_voice(drawn_voice(tiny, 90))
    concealer, chunk = Concealer(codec), np.arange(tiny.chunk_tokens)
    decoder = codec.stream_decoder()
    assert np.array_equal(concealer.play(chunk), decoder.push(chunk))
    assert np.array_equal(concealer.conceal(), decoder.push(np.full_like(chunk, chunk[-1])))


def test_voices_that_do_not_fit(tiny: Codec, golden: Callable[[str], Any]) -> None:
    voice = drawn_voice(tiny, 20)
    with pytest.raises(VoiceError, match=r"rows of 48 values, and the model's have \d+: make"):
        fcs_edge.load().stream_decoder(voice=voice, any_voice=True)
    stranger = Voice(voice.rows, bytes(8), "other \x1b[2J model")
    with pytest.raises(VoiceError, match=r"is of other .*model .*--any-voice") as caught:
        tiny.decode([1], voice=stranger)
    assert str(caught.value).isprintable()
    expected = tiny.decode([1, 2], voice=voice)
    assert np.array_equal(tiny.decode([1, 2], voice=stranger, any_voice=True), expected)


@pytest.mark.parametrize("how", [{"topk": 1}, {"any_voice": True}])
def test_what_only_a_voice_uses(how: dict[str, Any], tiny: Codec) -> None:
    for codec in (tiny, tiny.with_voice(drawn_voice(tiny, 3), 2)):
        with pytest.raises(ValueError, match="give voice too"):
            codec.decode([1], **how)
        with pytest.raises(ValueError, match="give voice too"):
            codec.stream_decoder(**how)


@pytest.mark.parametrize("topk", [0, 65, 2.0, True])
def test_topk_out_of_range(topk: Any, tiny: Codec) -> None:
    with pytest.raises((ValueError, TypeError), match="topk"):
        tiny.decode([1], voice=drawn_voice(tiny, 3), topk=topk)


def test_no_voice_is_a_type_error(tiny: Codec) -> None:
    with pytest.raises(TypeError, match="load_voice"):
        tiny.stream_decoder(voice="anna.voice")  # type: ignore[arg-type]


def test_decode_file(tiny: Codec, tokens: NDArray[np.uint16], tmp_path: Path) -> None:
    voice = drawn_voice(tiny, 40)
    np.save(tmp_path / "t.npy", tokens)
    got = fcs_edge.decode_file(tmp_path / "t.npy", codec=tiny, voice=voice)
    assert np.array_equal(got, tiny.decode(tokens, voice=voice))
