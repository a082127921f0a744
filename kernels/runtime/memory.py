"""Memory for packed weights and long histories, in large pages where Linux has them.

A chunk reads all of it once. With pages of 4 KB the CPU translates tens of thousands of addresses
for that, and prefetches nothing across the end of a page.
"""

from __future__ import annotations

import contextlib
import mmap
import threading
from typing import Any

import numpy as np

_PAGE = 2 << 20
_BLOCK = 32 << 20
"""Bytes requested from the system at a time; only pages that are written take memory."""
_LEAST = 64 << 10
"""Bytes of the smallest array that goes into a block."""
_LINE = 64

_lock = threading.Lock()
_block: Any = np.empty(0, np.uint8)
"""The free rest of the last block; arrays keep the blocks alive that they lie in."""


def zeros(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return a contiguous array of zeros that lives as long as a model or a stream."""
    global _block
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
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


def _new_block(size: int) -> Any:
    """Return at least so many zeroed bytes, from the start of a large page."""
    capacity = -(-max(size, _BLOCK) // _PAGE) * _PAGE
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    mapped = mmap.mmap(-1, capacity + _PAGE, flags=private)
    # Without large pages the system uses small ones.
    with contextlib.suppress(OSError):
        mapped.madvise(mmap.MADV_HUGEPAGE)
    memory = np.frombuffer(mapped, np.uint8)
    start = -memory.ctypes.data % _PAGE
    return memory[start : start + capacity]
