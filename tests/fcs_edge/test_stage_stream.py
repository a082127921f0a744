"""Streams of any run of stages, against the whole-signal methods.

`tests/kernels/test_aot_library.py` runs this file again, in a process with compiled kernels.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from voice_cases import drawn_voice

import fcs_edge
from fcs_edge import Codec
from fcs_edge.convert import convert
from fcs_edge.streams.stage_stream import STAGES, StageStream

RUNS = [(a, b) for i, a in enumerate(STAGES) for b in STAGES[i:]]
MODELS = "built-in", "tiny", "options", "nolookahead"
TABLE = pytest.mark.parametrize(("first", "last"), RUNS)


@pytest.fixture(scope="module")
def whole(golden: Callable, speech: NDArray[np.float32]) -> Callable:
    """Return a model, what each stage takes, and what the whole-signal methods give for a run."""
    cases: dict[str, tuple[Codec, dict[str, Any]]] = {}

    def get(name: str, first: str, last: str) -> tuple[Codec, Any, Any]:
        if name not in cases:
            codec = fcs_edge.load() if name == "built-in" else golden(name).codec
            signal = speech[16000:][: 6 * codec.chunk_size + 1003].copy()
            signal[100] = np.nan
            features = codec.features(signal)
            latents = codec.latents(features)
            with pytest.warns(fcs_edge.AudioWarning):
                tokens = codec.encode(signal)
            entries = signal, features, latents, tokens, codec.decompress(codec.codes(tokens))
            cases[name] = codec, dict(zip(STAGES, entries, strict=True))
        codec, entries = cases[name]
        tokens = entries["decompressor"]
        if first in ("compressor", "quantizer"):
            # No samples, no search.
            tokens = codec.quantize(entries["quantizer"])
        results = {
            "encoder": entries["compressor"],
            "compressor": entries["quantizer"],
            "quantizer": tokens,
            "decompressor": codec.decompress(codec.codes(tokens)),
            "decoder": codec.decode(tokens),
        }
        return codec, entries[first], results[last]

    return get


def streamed(
    stream: StageStream, rows: NDArray[Any], sizes: list[int], copies: bool = False
) -> NDArray[Any]:
    """Return what a stream gives for rows, cut in sizes that repeat."""
    parts, start = [], 0
    while start < len(rows):
        stop = start + sizes[len(parts) % len(sizes)]
        parts.append(stream.push(rows[start:stop]))
        start = stop
        if copies:
            stream = (copy.copy, pickled, StageStream.copy)[len(parts) % 3](stream)
    return np.concatenate([*parts, stream.flush()])


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def check(result: NDArray[Any], expected: NDArray[Any]) -> None:
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("name", MODELS)
@TABLE
def test_each_run_gives_what_whole_signals_give(
    name: str, first: str, last: str, whole: Callable
) -> None:
    codec, rows, expected = whole(name, first, last)
    stream = codec.stage_stream(first, last)
    n = stream.least_rows
    check(streamed(stream, rows, [0, n, 1, 2 * n + 3]), expected)
    # It has started anew.
    check(streamed(stream, rows, [len(rows)]), expected)
    check(streamed(codec.stage_stream(first, last, 3), rows, [5 * n + 1, n], True), expected)


@settings(max_examples=25)
@given(data=st.data())
def test_no_cutting_changes_a_bit(data: st.DataObject, whole: Callable) -> None:
    first, last = data.draw(st.sampled_from(RUNS))
    codec, rows, expected = whole(data.draw(st.sampled_from(MODELS)), first, last)
    stream = codec.stage_stream(first, last, data.draw(st.integers(1, 4)))
    most = max(len(rows) // 2, 1)
    sizes = data.draw(st.lists(st.integers(1, most), min_size=1, max_size=4))
    if sum(sizes) * 60 < len(rows) * len(sizes):
        sizes = [size * 60 for size in sizes]
    check(streamed(stream, rows, sizes), expected)


@pytest.mark.parametrize("length", [0, 1, 319, 320, 321, 1279, 1280, 1281, 2561])
def test_short_streams(length: int, tiny: Codec, speech: NDArray[np.float32]) -> None:
    signal = speech[16000:][:length]
    tokens = tiny.encode(signal)
    check(streamed(tiny.stage_stream("encoder", "encoder"), signal, [500]), tiny.features(signal))
    check(streamed(tiny.stage_stream("encoder", "quantizer"), signal, [500]), tokens)
    check(streamed(tiny.stage_stream("encoder", "decoder"), signal, [500]), tiny.decode(tokens))


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_change_no_bit(threads: int, whole: Callable) -> None:
    codec, rows, expected = whole("built-in", "encoder", "decoder")
    check(streamed(codec.stage_stream("encoder", "decoder", 2, threads), rows, [4000]), expected)


def test_plain_signs(speech: NDArray[np.float32]) -> None:
    codec = fcs_edge.load()
    signal = speech[16000:][:9000]
    stream = codec.stage_stream("encoder", "quantizer", search=False)
    check(streamed(stream, signal, [2000], True), codec.encode(signal, search=False))


def test_a_voice_replaces_features_between_decompressor_and_decoder(whole: Callable) -> None:
    codec, tokens, plain = whole("tiny", "decompressor", "decoder")
    voiced = codec.with_voice(drawn_voice(codec, 40))
    sound = voiced.decode(tokens)
    assert not np.array_equal(sound, plain)
    check(streamed(voiced.stage_stream("decompressor", "decoder", 2), tokens, [7], True), sound)
    features = voiced.decompress(voiced.codes(tokens))
    check(streamed(voiced.stage_stream("decompressor", "decompressor"), tokens, [7]), features)


def test_steps_take_as_few_rows_as_the_stages_can(golden: Callable) -> None:
    tiny, options = golden("tiny").codec, golden("options").codec
    assert tiny.stage_stream("decoder", "decoder").least_rows == 1
    assert tiny.stage_stream("compressor", "quantizer").least_rows == 1
    assert options.stage_stream("compressor", "quantizer").least_rows == 2
    assert tiny.stage_stream("decompressor", "decoder").least_rows == 4
    assert golden("nolookahead").codec.stage_stream("decompressor", "decoder").least_rows == 1
    stream = tiny.stage_stream("encoder", "compressor")
    assert stream.least_rows == tiny.chunk_size
    assert stream.stages == ("encoder", "compressor")
    assert repr(stream) == "<StageStream encoder > compressor>"


def test_what_waits_and_what_counts_as_silence(tiny: Codec) -> None:
    stream = tiny.stage_stream("decompressor", "decompressor")
    assert stream.push([1, 2, 3]).shape == (0, 48)
    assert stream.n_pending == 3
    stream.reset()
    assert stream.n_pending == 0
    assert stream.flush().shape == (0, 48)
    encoder = tiny.stage_stream("encoder", "encoder")
    encoder.push([np.nan] * 3 + [0.0] * 1277)
    assert encoder.n_not_finite == 3
    assert encoder.copy().n_not_finite == 3
    encoder.reset()
    assert encoder.n_not_finite == 0


def test_wrong_names_and_numbers(tiny: Codec) -> None:
    with pytest.raises(ValueError, match=r"the stages are encoder, compressor, .*, not 'vocoder'"):
        tiny.stage_stream("encoder", "vocoder")
    with pytest.raises(ValueError, match="the encoder comes before the decoder"):
        tiny.stage_stream("decoder", "encoder")
    with pytest.raises(ValueError, match="max_chunks"):
        tiny.stage_stream("encoder", "encoder", 0)
    with pytest.raises(ValueError, match="threads"):
        tiny.stage_stream("encoder", "encoder", threads=3)


def test_half_a_model_streams_its_stages(whole: Callable, tmp_path: Path) -> None:
    codec, tokens, features = whole("tiny", "decompressor", "decompressor")
    path = tmp_path / "half.safetensors"
    half = Codec(convert(codec.model.path, path, part="decoder"))
    check(streamed(half.stage_stream("decompressor", "decompressor"), tokens, [3]), features)
    with pytest.raises(fcs_edge.ModelFileError, match="decoder"):
        half.stage_stream("encoder", "encoder")


@pytest.mark.parametrize("first", STAGES)
def test_wrong_rows_change_nothing(first: str, whole: Callable) -> None:
    codec, rows, expected = whole("tiny", first, "decoder")
    stream = codec.stage_stream(first, "decoder")
    before = stream.push(rows[:2])
    for wrong, error in (
        (np.ma.masked_array(rows), TypeError),
        (rows.astype(object), TypeError),
        (rows[None], ValueError),
        (rows[:, None], ValueError),
    ):
        with pytest.raises(error):
            stream.push(wrong)
    check(np.concatenate([before, stream.push(rows[2:]), stream.flush()]), expected)
