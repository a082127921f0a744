"""Several signals in one call, the codebook, facts, and plain signs."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

import fcs_edge
from fcs_edge import Codec
from fcs_edge.cli import file_facts
from fcs_edge.streams import batch, whole_signal
from fcs_edge.tokens.settings import token_settings

LENGTHS = 0, 1, 1279, 13001, 320, 0, 1280, 2561


def signals(speech: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [speech[at * 700 :][:n] for at, n in enumerate(LENGTHS)]


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_batch_gives_what_single_calls_give(
    threads: int, tiny: Codec, speech: NDArray[np.float32]
) -> None:
    codec = tiny.with_threads(threads)
    encoded = codec.encode_batch(signals(speech))
    decoded = codec.decode_batch(encoded)
    assert len(encoded) == len(decoded) == len(LENGTHS)
    for signal, tokens, sound in zip(signals(speech), encoded, decoded, strict=True):
        assert tokens.dtype == np.uint16
        np.testing.assert_array_equal(tokens, tiny.encode(signal))
        np.testing.assert_array_equal(sound, tiny.decode(tokens))
    assert codec.encode_batch([]) == codec.decode_batch(iter([])) == []


def test_an_error_names_the_item_and_runs_nothing(tiny: Codec) -> None:
    good = np.zeros(10, np.float32)
    with pytest.raises(TypeError, match=r"^signal 1: samples must be floating point"):
        tiny.encode_batch([good, np.zeros(10, np.int16)])
    with pytest.raises(ValueError, match=r"^signal 0: a mono signal"):
        tiny.encode_batch([good[None]])
    with pytest.raises(ValueError, match=r"^tokens 2: tokens of this model are 0 to 2047"):
        tiny.decode_batch([[1], [], [2048]])


def test_signals_of_a_model_that_needs_them_whole(
    golden: Callable, speech: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = golden("nc_25").codec
    clips = [speech[:n] for n in (0, 1, 5000, 721)]
    threaded = codec.with_threads(2)
    encoded = threaded.encode_batch(clips)
    for clip, tokens in zip(clips, encoded, strict=True):
        np.testing.assert_array_equal(tokens, codec.encode(clip))
    for tokens, samples in zip(encoded, threaded.decode_batch(encoded), strict=True):
        np.testing.assert_array_equal(samples, codec.decode(tokens))
    with pytest.raises(ValueError, match="give one of them"):
        codec.encode_batch([], exact=True, window=30)
    monkeypatch.setattr(whole_signal, "EXACT_LIMIT", 0.25)
    with pytest.raises(ValueError, match=r"^signal 2: more than .*exact=True"):
        codec.encode_batch(clips)
    assert len(codec.encode_batch(clips, exact=True)) == 4


def test_a_failure_at_work_names_the_signal() -> None:
    class Failing:
        def push(self, item: int) -> NDArray[np.uint16]:
            if item == 2:
                raise fcs_edge.FcsError("too few")
            return np.zeros(item, np.uint16)

        def flush(self) -> NDArray[np.uint16]:
            return np.zeros(0, np.uint16)

    for n in (1, 2):
        with pytest.raises(fcs_edge.FcsError, match=r"^signal 1: too few$"):
            batch.run([1, 2, 3, 4], [Failing() for _ in range(n)], "signal")
        assert [x.size for x in batch.run([3, 1, 4], [Failing()] * n, "signal")] == [3, 1, 4]


def test_a_warning_names_the_signal(tiny: Codec, speech: NDArray[np.float32]) -> None:
    odd = speech[:3000].copy()
    odd[7] = np.nan
    with pytest.warns(fcs_edge.AudioWarning, match=r"^signal 1: 1 sample") as caught:
        tokens = tiny.encode_batch([speech[:3000], odd])
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with pytest.warns(fcs_edge.AudioWarning):
        np.testing.assert_array_equal(tokens[1], tiny.encode(odd))


@pytest.mark.parametrize("name", ["tiny", "options"])
def test_codebook(name: str, golden: Callable) -> None:
    codec = golden(name).codec
    assert codec.codebook.shape == (1 << codec.bits_per_token, codec.bits_per_token)
    tokens = np.array([0, 1, 5, (1 << codec.bits_per_token) - 1])
    np.testing.assert_array_equal(codec.codebook[tokens], codec.codes(tokens))
    np.testing.assert_array_equal(codec.quantize(codec.codebook[tokens]), tokens)
    with pytest.raises(ValueError, match="read-only"):
        codec.codebook[0, 0] = 1
    assert codec.codebook is codec.codebook


def test_info_is_what_the_command_prints(tiny: Codec) -> None:
    facts, problems = file_facts.model(str(tiny.model.path))
    assert not problems
    assert facts == {"kind": "model", **tiny.info(), "intact": True}
    assert json.loads(json.dumps(tiny.info())) == tiny.info()
    assert tiny.info()["bitrate"] == tiny.bitrate


def test_plain_signs_in_place_of_the_search(speech: NDArray[np.float32]) -> None:
    codec = fcs_edge.load()
    clip = speech[16000:][:25600]
    signs = codec.quantize(codec.latents(codec.features(clip)))
    np.testing.assert_array_equal(codec.encode(clip, search=False), signs)
    assert (codec.encode(clip) != signs).any()
    np.testing.assert_array_equal(codec.encode_batch([clip], search=False)[0], signs)
    encoder = codec.stream_encoder(search=False)
    parts = [encoder.push(clip[:3000])]
    encoder = encoder.copy()
    parts += [encoder.push(clip[3000:]), encoder.flush()]
    np.testing.assert_array_equal(np.concatenate(parts), signs)
    assert token_settings(codec.model, search=False)["search"] is False
