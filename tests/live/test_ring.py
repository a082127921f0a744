"""The ring between a callback and the worker."""

import threading

import numpy as np

from fcs_edge.live.ring import SampleRing


def test_what_goes_in_comes_out_in_order() -> None:
    ring = SampleRing(17)
    random = np.random.default_rng(1)
    sent = np.arange(5000, dtype=np.float32)
    got: list[np.ndarray] = []
    at = 0
    while sum(part.size for part in got) < sent.size:
        at += ring.write(sent[at : at + random.integers(0, 20)])
        out = np.full(random.integers(0, 20), np.nan, np.float32)
        n = ring.read(out)
        assert np.isnan(out[n:]).all()
        got.append(out[:n])
        assert 0 <= ring.level <= ring.capacity
    np.testing.assert_array_equal(np.concatenate(got), sent)


def test_what_does_not_fit_is_not_taken() -> None:
    ring = SampleRing(4)
    assert ring.write(np.arange(3, dtype=np.float32)) == 3
    assert ring.write(np.arange(3, 6, dtype=np.float32)) == 1
    assert ring.skip(2) == 2
    out = np.zeros(9, np.float32)
    assert ring.read(out) == 2
    assert out[:2].tolist() == [2, 3]
    assert ring.skip(5) == 0


def test_two_threads() -> None:
    ring = SampleRing(1000)
    n = 200_000
    out = np.zeros(n, np.float32)

    def write() -> None:
        at = 0
        while at < n:
            at += ring.write(np.arange(at, min(n, at + 333), dtype=np.float32))

    writer = threading.Thread(target=write)
    writer.start()
    at = 0
    while at < n:
        at += ring.read(out[at : at + 77])
    writer.join()
    np.testing.assert_array_equal(out, np.arange(n, dtype=np.float32))
