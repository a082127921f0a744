"""Cutting pieces into runs of whole chunks, against a plain reference."""

from __future__ import annotations

import copy
import itertools
import tracemalloc

import numpy as np
import pytest

from fcs_edge.streams.chunker import Chunker


def cuts(random: np.random.Generator, n: int) -> list[slice]:
    """Return slices of random lengths, some of them empty, that cover n items."""
    ends = np.sort(random.integers(0, n + 1, random.integers(0, 30)))
    edges = [0, *ends.tolist(), n]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
@pytest.mark.parametrize(("size", "max_chunks"), [(1, 1), (1, 5), (4, 1), (7, 3), (64, 8)])
def test_any_cutting_yields_the_same_chunks(size: int, max_chunks: int, dtype: type) -> None:
    random = np.random.default_rng(size)
    for _ in range(50):
        items = random.integers(0, 1000, random.integers(0, 20 * size)).astype(dtype)
        chunker = Chunker(size, max_chunks, dtype)
        seen: list[int] = []
        read = 0
        for part in cuts(random, items.size):
            expected = (read + items[part].size) // size - read // size
            assert chunker.whole_chunks(items[part].size) == expected
            runs = [run.copy() for run in chunker.runs(items[part])]
            assert all(run.size % size == 0 for run in runs)
            assert all(size <= run.size <= max_chunks * size for run in runs)
            assert sum(run.size for run in runs) == expected * size
            seen += [item for run in runs for item in run.tolist()]
            read += items[part].size
            assert chunker.n_pending == read % size
            assert chunker.rest().tolist() == items[read - read % size : read].tolist()
        assert seen == items[: items.size // size * size].tolist()


def test_runs_are_as_long_as_they_may_be() -> None:
    chunker = Chunker(4, 3, np.uint16)
    items = np.arange(40, dtype=np.uint16)
    assert [run.size for run in chunker.runs(items[:30])] == [12, 12, 4]
    assert [run.tolist() for run in chunker.runs(items[30:32])] == [[28, 29, 30, 31]]
    assert [run.size for run in chunker.runs(items[32:33])] == []
    assert [run.size for run in chunker.runs(items[33:])] == [4, 4]


def test_a_reset_drops_the_rest_and_a_copy_retains_it() -> None:
    chunker = Chunker(4, 2, np.uint16)
    items = np.arange(7, dtype=np.uint16)
    assert len(list(chunker.runs(items))) == 1
    other = copy.deepcopy(chunker)
    chunker.reset()
    assert (chunker.n_pending, chunker.rest().size) == (0, 0)
    assert [run.tolist() for run in other.runs(items[:1])] == [[4, 5, 6, 0]]
    assert [run.tolist() for run in chunker.runs(items[:4])] == [[0, 1, 2, 3]]


def test_chunks_allocate_nothing() -> None:
    chunker = Chunker(1000, 1, np.float32)
    items = np.zeros(10_500, np.float32)
    list(chunker.runs(items[:500]))
    tracemalloc.start()
    try:
        for _ in chunker.runs(items):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # One chunk takes 4000 bytes.
    assert peak < 2000
