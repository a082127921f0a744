"""Memory for packed weights: zeroed, of the shape asked for, and nobody else's."""

from __future__ import annotations

import mmap
import threading
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from fcs_edge.kernels.runtime import memory


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(3,), (70_001,), (257, 300), (5, 7, 40_000), (40 << 20,)])
def test_arrays_are_zeros_and_separate(shape: tuple[int, ...], dtype: Any) -> None:
    arrays = [memory.zeros(shape, dtype) for _ in range(3)]
    for number, array in enumerate(arrays):
        assert (array.shape, array.dtype) == (shape, dtype)
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.flags.aligned
        assert not array.any()
        array[...] = number + 1
    for number, array in enumerate(arrays):
        assert (array == number + 1).all()


def test_blocks_are_shared_and_returned() -> None:
    first, second = (memory.zeros((1 << 17,), np.int8) for _ in range(2))
    assert first.base is not None
    assert second.ctypes.data - first.ctypes.data == 1 << 17 or first.base is not second.base
    large = memory.zeros((100 << 20,), np.int8)
    large[:] = 1

    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * mmap.PAGESIZE

    before = resident()
    del large
    # What is left of its block is the next one's: that takes another.
    memory.zeros((33 << 20,), np.int8)
    assert before - resident() > 90 << 20


def test_each_thread_has_workspace_of_its_own() -> None:
    def address(n_bytes: int) -> int:
        array = memory.scratch(n_bytes)
        assert array.dtype == np.int8
        assert array.size >= n_bytes
        return int(array.ctypes.data)

    here = address(1000)
    assert here % 64 == 0
    assert address(10) == here
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(address(1000)))
    thread.start()
    thread.join()
    assert found != [here]


def test_recorded_calls_have_workspace_of_their_own() -> None:
    shared = memory.scratch(1000)
    own = memory.own_scratch()
    with memory.scratch_from(own):
        first = memory.scratch(1000)
        assert first is memory.scratch(100)
        assert memory.scratch(2000).size >= 2000
    assert not np.shares_memory(first, shared)
    assert memory.scratch(1000) is shared


def test_arrays_that_only_have_addresses_take_no_memory() -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * mmap.PAGESIZE

    before = resident()
    with memory.unused():
        arrays = [memory.new((3, 100_001), np.float32) for _ in range(40)]
        arrays += [memory.zeros((1 << 20,), np.uint16) for _ in range(20)]
        arrays.append(memory.new((0, 5), np.float32))
    assert resident() - before < 4 << 20
    spans = sorted((a.ctypes.data, a.ctypes.data + a.nbytes) for a in arrays if a.size)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert not any(a.any() for a in arrays[::13])
    assert memory.new((2, 3), np.int64).base is None
