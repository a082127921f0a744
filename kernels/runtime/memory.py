"""Memory for packed weights and long histories, in large pages where Linux has them.

A chunk reads all of it once. With pages of 4 KB the CPU translates tens of thousands of addresses
for that, and prefetches nothing across the end of a page.
"""

from __future__ import annotations

import contextlib
import mmap
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

_PAGE = 2 << 20
_BLOCK = 32 << 20
"""Bytes requested from the system at a time; only pages that are written take memory."""
_LEAST = 64 << 10
"""Bytes of the smallest array that goes into a block."""
_LINE = 64
_ADDRESSES = 16 << 20
"""Bytes of address space that are taken at a time."""

_lock = threading.Lock()
_block: Any = np.empty(0, np.uint8)
"""The free rest of the last block; arrays keep the blocks alive that they lie in."""


def new(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return a contiguous array of zeros."""
    return np.zeros(shape, dtype) if _thread.address_space is None else _part(shape, dtype)


def zeros(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return a contiguous array of zeros that lives as long as a model or a stream."""
    global _block
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if _thread.address_space is not None:
        return _part(shape, dtype)
    if size < _LEAST or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.zeros(shape, dtype)
    with _lock:
        if size > _block.size:
            _block = _new_block(size)
        array, _block = _block[:size], _block[-(-size // _LINE) * _LINE :]
    return array.view(dtype).reshape(shape)


def temporary(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return a contiguous array of zeros, from the start of a cache line, that lives shortly."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + _LINE, np.uint8)
    start = -memory.ctypes.data % _LINE
    return memory[start : start + size].view(dtype).reshape(shape)


class _Thread(threading.local):
    """What a thread's calls use as workspace."""

    create: Callable[[int], Any] | None = None
    held: Any = np.empty(0, np.int8)
    address_space: Any = None
    """What is left of memory that nobody reads or writes."""


_thread = _Thread()


def scratch(n_bytes: int) -> Any:
    """Return at least so many bytes of workspace, int8, for the next call of this thread."""
    if _thread.create is not None:
        return _thread.create(n_bytes)
    if _thread.held.size < n_bytes:
        _thread.held = temporary((n_bytes,), np.int8)
    return _thread.held


@contextlib.contextmanager
def scratch_from(create: Callable[[int], Any]) -> Iterator[None]:
    """Take this thread's workspace from a function of its bytes: calls that are recorded own it."""
    before, _thread.create = _thread.create, create
    try:
        yield
    finally:
        _thread.create = before


def own_scratch() -> Callable[[int], Any]:
    """Return a function that gives the same growing workspace to all calls; see `scratch_from`."""
    held = [np.empty(0, np.int8)]

    def create(n_bytes: int) -> Any:
        if held[0].size < n_bytes:
            held[0] = temporary((n_bytes,), np.int8)
        return held[0]

    return create


@contextlib.contextmanager
def unused() -> Iterator[None]:
    """Return arrays that only have addresses: no page is taken until something is written."""
    _thread.address_space = np.empty(0, np.uint8)
    try:
        yield
    finally:
        _thread.address_space = None


def _part(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return the next array of the address space."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size > _thread.address_space.size:
        _thread.address_space = _mapped(max(size, _ADDRESSES))
    part = _thread.address_space[:size]
    _thread.address_space = _thread.address_space[-(-size // _LINE) * _LINE :]
    return part.view(dtype).reshape(shape)


def _mapped(size: int) -> Any:
    """Return zeroed bytes from the system."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return np.zeros(size, np.uint8)
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    return np.frombuffer(mmap.mmap(-1, size, flags=private), np.uint8)


def _new_block(size: int) -> Any:
    """Return at least so many zeroed bytes, from the start of a large page."""
    capacity = -(-max(size, _BLOCK) // _PAGE) * _PAGE
    memory = _mapped(capacity + _PAGE)
    # Without large pages the system uses small ones.
    with contextlib.suppress(OSError):
        memory.base.obj.madvise(mmap.MADV_HUGEPAGE)
    start = -memory.ctypes.data % _PAGE
    return memory[start : start + capacity]
