"""Codecs and streams that are pickled, copied, or sent to another process or thread.

`tests/kernels/test_aot_library.py` runs this file again, in a process with compiled kernels.
"""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import shutil
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fcs_edge
from fcs_edge import AudioWarning, Codec, FcsError, ModelFileError, StreamDecoder, StreamEncoder
from fcs_edge.convert import convert
from fcs_edge.streams.resumable import ResumableStream

CUT = 9000
"""Samples before a stream is copied: seven chunks of the built-in model and a part of one."""


@pytest.fixture(scope="module")
def codec() -> Codec:
    return fcs_edge.load()


@pytest.fixture(scope="module")
def clip(speech: NDArray[np.float32]) -> NDArray[np.float32]:
    return speech[16000:36000]


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": pickled,
    "copy": copy.copy,
    "deep copy": copy.deepcopy,
    "method": lambda stream: stream.copy(),
    "copies of copies": lambda stream: pickled(copy.deepcopy(pickled(stream))),
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", ["built-in", "tiny", "options", "nolookahead"])
def test_a_copied_stream_continues_to_the_bit(
    name: str, how: str, golden: Callable[[str], Any], clip: NDArray[np.float32]
) -> None:
    codec = fcs_edge.load() if name == "built-in" else golden(name).codec
    signal = clip.copy()
    signal[:3] = np.nan
    with pytest.warns(AudioWarning, match="3 samples are NaN"):
        tokens = codec.encode(signal)
    sound = codec.decode(tokens)
    for max_chunks in (1, 3):
        encoder, decoder = codec.stream_encoder(max_chunks), codec.stream_decoder(max_chunks)
        first = encoder.push(signal[:CUT])
        before = decoder.push(tokens[: first.size - 1])
        others = COPIES[how](encoder), COPIES[how](decoder)
        # What the first ones go on with does not reach the others.
        encoder.push(signal[::-1])
        decoder.push(tokens[::-1])
        assert others[0].n_pending == CUT - first.size * codec.samples_per_token
        assert others[0].n_not_finite == 3
        assert others[1].n_pending == (first.size - 1) % codec.chunk_tokens
        rest = [others[0].push(signal[CUT:]), others[0].flush()]
        np.testing.assert_array_equal(np.concatenate([first, *rest]), tokens)
        more = [others[1].push(tokens[first.size - 1 :]), others[1].flush()]
        np.testing.assert_array_equal(np.concatenate([before, *more]), sound)


def test_a_pickle_holds_no_weights_and_no_workspace(
    codec: Codec, clip: NDArray[np.float32]
) -> None:
    encoder, decoder = codec.stream_encoder(64), codec.stream_decoder()
    decoder.push(encoder.push(clip))
    assert len(pickle.dumps(codec)) < 400
    # 32 MB of workspace; the past of attention and convolutions is less than one.
    assert len(pickle.dumps(encoder)) < 1_000_000
    assert len(pickle.dumps(decoder)) < 200_000


def test_what_is_pickled_together_shares_a_codec(codec: Codec) -> None:
    encoder, decoder, other = pickled([codec.stream_encoder(), codec.stream_decoder(), codec])
    assert encoder._create.__self__ is decoder._create.__self__ is other


def test_a_copy_of_a_codec_is_the_codec(codec: Codec) -> None:
    assert copy.copy(codec) is codec
    assert copy.deepcopy({"codec": codec})["codec"] is codec
    other = copy.deepcopy(codec.stream_encoder())
    assert other._create.__self__ is codec


def test_a_stream_of_no_codec_says_so(codec: Codec) -> None:
    stream = ResumableStream(None, 1)
    for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="no codec created"):
            duplicate(stream)


class TestModelFile:
    @pytest.fixture
    def path(self, golden: Callable[[str], Any], tmp_path: Path) -> Path:
        return Path(shutil.copy(golden("tiny").model, tmp_path / "model.safetensors"))

    def test_a_relative_path_is_found_from_another_folder(
        self, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        codec = fcs_edge.load("model.safetensors")
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert pickled(codec).fingerprint == codec.fingerprint

    def test_a_name_is_the_built_in_model_whatever_lies_there(
        self, codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / codec.name).mkdir()
        monkeypatch.chdir(tmp_path)
        assert pickled(codec).fingerprint == codec.fingerprint

    def test_other_weights_are_refused(
        self, path: Path, golden: Callable[[str], Any], clip: NDArray[np.float32]
    ) -> None:
        codec = fcs_edge.load(path)
        stream = codec.stream_encoder()
        stream.push(clip[:CUT])
        saved = [pickle.dumps(codec), pickle.dumps(stream)]
        # Another kind of weights has the same fingerprint and other tokens.
        quantised = path.with_name("int8.safetensors")
        convert(path, quantised, "tiny", "int8")
        assert fcs_edge.load(quantised).fingerprint == codec.fingerprint
        for other in (quantised, golden("options").model):
            shutil.copy(other, path.with_name("new"))
            path.with_name("new").replace(path)
            for data in saved:
                with pytest.raises(ModelFileError, match="not the model of the pickled") as error:
                    pickle.loads(data)
                assert str(path) in str(error.value)
                assert "\n" not in str(error.value)

    def test_a_file_that_is_gone(self, path: Path) -> None:
        data = pickle.dumps(fcs_edge.load(path))
        path.unlink()
        with pytest.raises(ModelFileError, match="of a pickled codec cannot be loaded") as error:
            pickle.loads(data)
        assert str(path) in str(error.value)


def test_a_state_that_does_not_fit(codec: Codec, clip: NDArray[np.float32]) -> None:
    """As another release, or a machine with registers of other sizes, would have saved it."""
    for stream in (codec.stream_encoder(), codec.stream_decoder()):
        create, arguments, saved = stream.__reduce__()
        shorter = saved._replace(history=saved.history[:-1])
        array = saved.history[-1]
        wider = saved._replace(history=[*saved.history[:-1], np.repeat(array, 2, -1)])
        other = saved._replace(history=[*saved.history[:-1], array.astype(np.float64)])
        for wrong in (shorter, wider, other):
            with pytest.raises(FcsError, match="the state of a pickled stream does not fit"):
                create(*arguments).__setstate__(wrong)


def encode_there(context: str, codec: Codec, clip: NDArray[np.float32]) -> list[Any]:
    """Encode and decode in another process: whole signals, and the rest of two streams."""
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    tokens = encoder.push(clip[:CUT])
    decoder.push(tokens)
    calls: list[tuple[Callable[[Any], Any], Any]] = [
        (codec.encode, clip),
        (codec.decode, tokens),
        (encoder.push, clip[CUT:]),
        (decoder.push, tokens),
    ]
    with warnings.catch_warnings():
        # Python warns of any fork beside threads, and this process has those of its test runner.
        warnings.simplefilter("ignore", DeprecationWarning)
        with ProcessPoolExecutor(1, multiprocessing.get_context(context)) as pool:
            found = [pool.submit(call, argument) for call, argument in calls]
            return [future.result(timeout=120) for future in found]


@pytest.mark.parametrize("context", ["spawn", "forkserver", "fork"])
def test_another_process_gives_the_same(
    context: str, codec: Codec, clip: NDArray[np.float32]
) -> None:
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    tokens = encoder.push(clip[:CUT])
    sound = codec.decode(tokens)
    decoder.push(tokens)
    expected = [codec.encode(clip), sound, encoder.push(clip[CUT:]), decoder.push(tokens)]
    for found, serial in zip(encode_there(context, codec, clip), expected, strict=True):
        np.testing.assert_array_equal(found, serial)


def test_threads_with_streams_of_their_own_give_the_same(
    codec: Codec, clip: NDArray[np.float32]
) -> None:
    """Copies of two streams, each on a thread, of a codec that has prepared no weights yet."""
    tokens = codec.encode(clip)
    sound = codec.decode(tokens)
    new = pickled(codec)
    start = threading.Barrier(4)

    def work(stream: StreamEncoder | StreamDecoder) -> Any:
        start.wait()
        whole: NDArray[Any] = clip if isinstance(stream, StreamEncoder) else tokens
        parts = [stream.push(part) for part in np.array_split(whole, 30)]
        return np.concatenate([*parts, stream.flush()])

    streams = [pickled(new.stream_encoder()), new.stream_encoder(),
               copy.copy(new.stream_decoder()), new.stream_decoder()]  # fmt: skip
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, streams))
    for result, expected in zip(found, (tokens, tokens, sound, sound), strict=True):
        np.testing.assert_array_equal(result, expected)
