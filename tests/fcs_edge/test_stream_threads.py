"""Streams on several threads: the same bits, and no thread that another one waits for in vain.

Numba's kernels run on one thread. So `tests/kernels/test_aot_library.py` runs this file again, in a
process with compiled kernels, where calls are cut however small they are.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fcs_edge
from fcs_edge import Codec
from fcs_edge.convert import convert
from fcs_edge.kernels.runtime import (
    _jit,
    aot_library,
    cuts,
    thread_team,
    thread_team_layout,
)
from fcs_edge.link.conceal import Concealer
from fcs_edge.live.loop import Loopback
from fcs_edge.streams import memory
from fcs_edge.streams.memory import Programs, SharedProgram

compiled_only = pytest.mark.skipif("_jit.uses_numba()", reason="Numba's kernels run on one thread")


@pytest.fixture(autouse=True)
def small_calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Cut all calls, and leave no thread behind."""
    monkeypatch.setattr(cuts, "LEAST_WORK", 0)
    yield
    thread_team._stop_idle()


@pytest.fixture(scope="module")
def codec() -> Codec:
    return fcs_edge.load()


@pytest.fixture(scope="module")
def clip(speech: NDArray[np.float32]) -> NDArray[np.float32]:
    return speech[16000:28000]


def results(codec: Codec, clip: NDArray[np.float32], threads: int, chunks: int) -> list[bytes]:
    """Run a stream in uneven pushes, ended and started anew, and a whole signal."""
    encoder = codec.stream_encoder(chunks, threads=threads)
    decoder = codec.stream_decoder(chunks, threads=threads)
    found = []
    for _ in range(2):
        for part in np.array_split(clip, (900, 7000, 9000)):
            tokens = encoder.push(part)
            found += [tokens, decoder.push(tokens[:-1]), decoder.push(tokens[-1:])]
        found += [encoder.flush(), decoder.flush()]
        encoder.push(clip[:3000])
        encoder.reset()
    other = codec.with_threads(threads)
    found.append(other.encode(clip))
    return [array.tobytes() for array in (*found, other.decode(found[-1]))]


@pytest.mark.parametrize("scheme", ["built-in", "f32", "f16", "int8", "int4", "noisy"])
def test_the_number_of_threads_changes_no_bit(
    scheme: str,
    codec: Codec,
    request: pytest.FixtureRequest,
    clip: NDArray[np.float32],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if scheme == "noisy":
        codec = request.getfixturevalue("noisy")
    elif scheme != "built-in":
        if _jit.uses_numba():
            pytest.skip("Numba's kernels run on one thread")
        floats: Path = request.getfixturevalue("floats")
        convert(floats, tmp_path / "model.safetensors", weights=scheme)
        codec = fcs_edge.load(tmp_path / "model.safetensors")
    shared = []

    class Counted(SharedProgram):
        def __init__(self, lists: Any, layout: Any) -> None:
            shared.append(len(lists))
            super().__init__(lists, layout)

    monkeypatch.setattr(memory, "SharedProgram", Counted)
    for chunks in (1, 3):
        expected = results(codec, clip, 1, chunks)
        assert not shared
        for threads in (2, 4):
            assert results(codec, clip, threads, chunks) == expected
            assert (threads in shared) != _jit.uses_numba()
        shared.clear()


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_continue_with_as_many_threads(
    how: Callable[[Any], Any], codec: Codec, clip: NDArray[np.float32]
) -> None:
    shared = codec.with_threads(2)
    encoder, decoder = shared.stream_encoder(), shared.stream_decoder()
    tokens = encoder.push(clip[:9000])
    decoder.push(tokens)
    others = how(encoder), how(decoder)
    for stream in others:
        assert stream._threads == 2
    assert how(shared).threads == 2
    later = encoder.push(clip[9000:])
    np.testing.assert_array_equal(others[0].push(clip[9000:]), later)
    np.testing.assert_array_equal(others[1].push(later), decoder.push(later))


def test_threads_are_checked(codec: Codec) -> None:
    calls: list[Callable[[Any], object]] = [
        lambda n: fcs_edge.load(threads=n),
        lambda n: Codec(codec.model, threads=n),
        lambda n: codec.stream_encoder(threads=n),
        lambda n: codec.stream_decoder(1, n),
        codec.with_threads,
    ]
    for call in calls:
        for number in (0, 3, 8, -1):
            with pytest.raises(ValueError, match=f"threads must be 1, 2 or 4, not {number}"):
                call(number)
        for value in (True, 2.0, "2"):
            with pytest.raises(TypeError, match="threads"):
                call(value)
    assert fcs_edge.load(threads=4).threads == 4
    assert codec.threads == 1


def test_streams_on_threads_of_their_own(codec: Codec, clip: NDArray[np.float32]) -> None:
    expected = results(codec, clip, 1, 1)
    with ThreadPoolExecutor(3) as pool:
        found = pool.map(lambda _: results(codec, clip, 2, 1), range(3))
        assert all(each == expected for each in found)


def test_four_threads_on_one_core(codec: Codec, clip: NDArray[np.float32]) -> None:
    expected = codec.encode(clip)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        found = codec.stream_encoder(threads=4).push(clip)
    finally:
        os.sched_setaffinity(0, before)
    np.testing.assert_array_equal(found, expected[: found.size])


@compiled_only
def test_calls_that_are_cut_by_rows_write_nothing_else() -> None:
    opened = aot_library.library()
    assert opened is not None
    for name, by_row in cuts._ROWS.items():
        types = opened[1][name][1]
        written = {i for i, kind in enumerate(types) if kind.endswith("w")}
        assert written, name
        assert written <= set(by_row), name


def _child(encoder: Any, clip: NDArray[np.float32], pipe: Any) -> None:
    pipe.send(encoder.push(clip))


def test_a_forked_process_continues(codec: Codec, clip: NDArray[np.float32]) -> None:
    encoder = codec.stream_encoder(threads=2)
    encoder.push(clip[:9000])
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = context.Process(target=_child, args=(encoder, clip[9000:], there))
        child.start()
    assert here.poll(60)
    np.testing.assert_array_equal(here.recv(), encoder.push(clip[9000:]))
    child.join(60)
    assert child.exitcode == 0


PROGRAM = """
import sys, numpy, fcs_edge
from fcs_edge.kernels.runtime import cuts
cuts.LEAST_WORK = 0
codec = fcs_edge.load(threads=4)
encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
sound = decoder.push(encoder.push(numpy.zeros(6400, numpy.float32)))
print(sound.size)
"""


def test_the_interpreter_ends(codec: Codec) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "9600", "")


def _replaced_work(monkeypatch: pytest.MonkeyPatch, work: Callable[[int, int], int]) -> None:
    """Let new threads run something else."""
    thread_team._stop_idle()
    functions = thread_team._functions()._replace(work=work)
    monkeypatch.setattr(thread_team, "_functions", lambda: functions)


@compiled_only
def test_what_a_thread_raises_reaches_the_caller(
    codec: Codec, clip: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = codec.encode(clip)

    def work(words: int, number: int) -> int:
        raise MemoryError("no memory for a thread")

    with monkeypatch.context() as patch:
        _replaced_work(patch, work)
        with pytest.raises(MemoryError, match="no memory for a thread"):
            codec.stream_encoder(threads=4).push(clip)
    np.testing.assert_array_equal(codec.with_threads(4).encode(clip), expected)


@compiled_only
def test_a_thread_that_does_not_come_ends_the_wait(
    codec: Codec, clip: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(words: int, number: int) -> int:
        time.sleep(1)
        return 0

    monkeypatch.setattr(thread_team, "MAX_SLEEPS", 3)
    _replaced_work(monkeypatch, work)
    with pytest.raises(RuntimeError, match="does not answer"):
        codec.stream_encoder(threads=2).push(clip)


@compiled_only
def test_a_thread_that_cannot_start_leaves_none_behind(
    codec: Codec, clip: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    start, started = threading.Thread.start, list[threading.Thread]()

    def limited(thread: threading.Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        start(thread)
        started.append(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", limited)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            codec.stream_encoder(threads=4).push(clip)
    assert len(started) == 2
    assert not any(thread.is_alive() for thread in started)


@compiled_only
def test_threads_that_have_ended_are_replaced(codec: Codec, clip: NDArray[np.float32]) -> None:
    expected = codec.encode(clip)
    encoder = codec.stream_encoder(threads=2)
    tokens = [encoder.push(clip[:9000])]
    (idle,) = thread_team._idle[2]
    thread_team._functions().stop(idle.words.ctypes.data)
    for worker in idle.workers:
        worker.join(60)
    tokens.append(encoder.push(clip[9000:]))
    found = np.concatenate(tokens)
    np.testing.assert_array_equal(found, expected[: found.size])
    assert thread_team._idle[2] != [idle]


@compiled_only
def test_threads_on_one_core_know_it(codec: Codec, clip: NDArray[np.float32]) -> None:
    """They wait without a pause there; the results are the same."""
    allowed = os.sched_getaffinity(0)
    core = min(allowed)
    encoder = codec.stream_encoder(threads=2)
    os.sched_setaffinity(0, {core})
    try:
        tokens = encoder.push(clip)
    finally:
        os.sched_setaffinity(0, allowed)
    (idle,) = thread_team._idle[2]
    assert (
        idle.words[thread_team_layout.CORES : thread_team_layout.CORES + 2].tolist()
        == [core + 1] * 2
    )
    np.testing.assert_array_equal(tokens, codec.encode(clip)[: tokens.size])


@compiled_only
def test_live_sound_traces_no_call_once_it_runs(
    codec: Codec, clip: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first chunk is as fast as the others, and the samples before it leave nothing."""
    found: list[NDArray[np.uint16]] = []
    shared = codec.with_threads(2)
    loop = Loopback(shared, lambda samples, tokens, sound: found.append(tokens.copy()), decode=True)
    concealer = Concealer(shared)
    monkeypatch.setattr(Programs, "_new", lambda *_: pytest.fail("calls are traced"))
    for chunk in clip[:3840].reshape(3, 1280):
        loop.step(chunk)
    tokens = np.concatenate(found)
    sound = [concealer.play(part) for part in found]
    monkeypatch.undo()
    np.testing.assert_array_equal(tokens, codec.encode(clip[:3840]))
    np.testing.assert_array_equal(np.concatenate(sound), codec.decode(tokens))


@compiled_only
def test_a_chunk_allocates_nothing(codec: Codec, clip: NDArray[np.float32]) -> None:
    encoder, decoder = codec.stream_encoder(threads=2), codec.stream_decoder(threads=2)
    samples, tokens = clip[:1280].copy(), np.zeros(4, np.uint16)
    sound = np.zeros(1920, np.float32)

    def step(n: int) -> None:
        for _ in range(n):
            encoder.step(samples, tokens)
            decoder.step(tokens, sound)

    step(5)
    before = sys.getallocatedblocks()
    step(50)
    assert sys.getallocatedblocks() - before < 10
