"""Memory for packed weights and long pasts, in large pages where Linux gives them.

A chunk reads all of it once: with pages of 4 KB the CPU looks up tens of thousands of addresses
for that, and fetches nothing ahead across a page's end.
"""

from __future__ import annotations

import contextlib
import mmap
import threading
from typing import Any

import numpy as np

_PAGE = 2 << 20
_BLOCK = 32 << 20
"""Bytes asked of the system at a time; it gives memory to what is written alone."""
_LEAST = 64 << 10
"""Bytes of an array from which on it goes into a block."""
_LINE = 64

_lock = threading.Lock()
_block: Any = np.empty(0, np.uint8)
"""What is left of the last block; arrays hold on to the blocks that they lie in."""


def zeros(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return an array of zeros, (shape), contiguous, to stay as long as a model or a stream."""
    global _block
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size < _LEAST or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.zeros(shape, dtype)
    with _lock:
        if size > _block.size:
            _block = _new_block(size)
        taken, _block = _block[:size], _block[-(-size // _LINE) * _LINE :]
    return taken.view(dtype).reshape(shape)


def _new_block(size: int) -> Any:
    """Return at least so many bytes, zeroed, from the start of a large page on."""
    whole = -(-max(size, _BLOCK) // _PAGE) * _PAGE
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    mapped = mmap.mmap(-1, whole + _PAGE, flags=private)
    # Where the system has no large pages they are small.
    with contextlib.suppress(OSError):
        mapped.madvise(mmap.MADV_HUGEPAGE)
    memory = np.frombuffer(mapped, np.uint8)
    start = -memory.ctypes.data % _PAGE
    return memory[start : start + whole]
