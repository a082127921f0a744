"""How many threads live sound gets, and the decoder on a thread of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge import Codec
from fcs_edge.live import loop as live_loop
from fcs_edge.live import threads
from fcs_edge.live.decoder_thread import DecoderThread
from fcs_edge.live.loop import Loopback


@pytest.mark.parametrize(
    ("milliseconds", "n_cores", "expected"),
    [
        ({1: 40}, 4, 1),
        ({1: 41, 2: 40}, 4, 2),
        ({1: 41}, 1, 1),
        ({1: 100, 2: 60}, 2, 2),
        ({1: 100, 2: 60, 4: 50}, 4, 4),
        ({1: 100, 2: 60, 4: 61}, 4, 2),
        ({1: 100, 2: 101, 4: 102}, 8, 1),
    ],
)
def test_a_chunk_gets_threads_until_it_takes_half_its_time(
    milliseconds: dict[int, float],
    n_cores: int,
    expected: int,
    tiny: Codec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: n_cores)
    monkeypatch.setattr(threads, "uses_numba", lambda: False)
    times = {n: ms / 1e3 * tiny.latency / 0.08 for n, ms in milliseconds.items()}
    monkeypatch.setattr(threads, "_seconds", lambda codec, n, encoder, decoder: times[n])
    choice = threads.choose(tiny, encoder=True, decoder=True)
    assert choice == (expected, times[expected], times[1])


@pytest.mark.parametrize(
    ("encoder", "decoder", "expected"), [(True, True, 2), (True, False, 1), (False, True, 1)]
)
def test_without_a_library_a_second_thread_only_decodes_beside_the_encoder(
    encoder: bool, decoder: bool, expected: int, tiny: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 4)
    monkeypatch.setattr(threads, "uses_numba", lambda: True)
    monkeypatch.setattr(threads, "_seconds", lambda codec, n, encoder, decoder: 10 / n)
    assert threads.choose(tiny, encoder=encoder, decoder=decoder).threads == expected


def test_a_chunk_is_measured(tiny: Codec, speech: NDArray[np.float32]) -> None:
    """The measurement leaves nothing in later streams."""
    chunk = speech[16000 : 16000 + tiny.chunk_size]
    expected = tiny.stream_encoder().push(chunk)
    choice = threads.choose(tiny, encoder=True, decoder=True)
    assert choice.threads in (1, 2, 4)
    assert 0 < choice.seconds < 10
    found: list[Any] = []
    loop = Loopback(tiny, lambda samples, tokens, _: found.append(tokens.copy()), decode=True)
    loop.step(chunk)
    loop.finish()
    np.testing.assert_array_equal(found[0], expected)


@pytest.mark.parametrize("at_once", [False, True])
def test_a_decoder_thread_changes_nothing(
    at_once: bool,
    tiny: Codec,
    speech: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_loop, "uses_numba", lambda: at_once)
    found: list[tuple[Any, ...]] = []

    def sink(samples: Any, tokens: Any, decoded: Any) -> None:
        found.append((samples.copy(), tokens.copy(), decoded.copy()))

    loop = Loopback(tiny.with_threads(2), sink, decode=True)
    assert (loop._decoder_thread is not None) == at_once
    n, size = 5, tiny.chunk_size
    chunks = speech[16000 : 16000 + n * size].reshape(n, size)
    for samples in chunks:
        loop.step(samples)
    loop.finish()
    tokens = np.concatenate([tokens for _, tokens, _ in found])
    np.testing.assert_array_equal([samples for samples, _, _ in found], chunks)
    np.testing.assert_array_equal(tokens, tiny.encode(chunks.reshape(-1)))
    np.testing.assert_array_equal(np.concatenate([d for _, _, d in found]), tiny.decode(tokens))
    assert loop.statistics.times.n == n


def test_an_error_of_the_decoder_thread_reaches_the_caller() -> None:
    handled = []

    def handle(samples: Any, tokens: Any, seconds: float) -> None:
        handled.append(int(tokens[0]))
        if handled == [1, 2]:
            raise OSError("the disk is full")

    thread = DecoderThread(handle, 4, 1)
    for number in (1, 2):
        thread.put(np.zeros(4, np.float32), np.array([number], np.uint16), 0.0)
    with pytest.raises(OSError, match="the disk is full"):
        thread.put(np.zeros(4, np.float32), np.array([3], np.uint16), 0.0)
    thread.put(np.zeros(4, np.float32), np.array([4], np.uint16), 0.0)
    thread.finish()
    thread.finish()
    assert handled == [1, 2, 4]
