"""Pieces of any length to runs of whole chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

ItemT = TypeVar("ItemT", bound=np.generic)


class Chunker(Generic[ItemT]):
    """Collects the input of a stream and yields runs of whole chunks.

    A run has one chunk where an earlier piece began it, and up to `max_chunks` otherwise. Runs are
    views: of the input, or of one buffer that the next call overwrites. No chunk allocates memory.
    `resume` continues the stream of another chunker from its `rest`.

    Parameters
    ----------
    size : int
        Items per chunk.
    max_chunks : int
        Most chunks per run.
    dtype : type
        The items' NumPy type.
    """

    def __init__(self, size: int, max_chunks: int, dtype: type[ItemT]) -> None:
        self._size, self._max_chunks = size, max_chunks
        self._pending = np.zeros(size, dtype)
        self._n_pending = 0

    @property
    def n_pending(self) -> int:
        """Items that wait for the rest of their chunk."""
        return self._n_pending

    def whole_chunks(self, n_items: int) -> int:
        """Return how many chunks `n_items` further items complete."""
        return (self._n_pending + n_items) // self._size

    def runs(self, items: NDArray[ItemT]) -> Iterator[NDArray[ItemT]]:
        """Collect items and yield the chunks that they complete.

        The iterator must be exhausted: it stores the items that remain when it ends.

        Parameters
        ----------
        items : numpy.ndarray
            (n,) items, n any number, 0 included.

        Yields
        ------
        numpy.ndarray
            (chunks * size,) items, 1 to `max_chunks` chunks, in the order of the input.
        """
        start = 0
        if self._n_pending:
            start = min(self._size - self._n_pending, items.size)
            self._pending[self._n_pending : self._n_pending + start] = items[:start]
            self._n_pending += start
            if self._n_pending < self._size:
                return
            self._n_pending = 0
            yield self._pending
        while items.size - start >= self._size:
            stop = start + min((items.size - start) // self._size, self._max_chunks) * self._size
            yield items[start:stop]
            start = stop
        self._n_pending = items.size - start
        self._pending[: self._n_pending] = items[start:]

    def rest(self) -> NDArray[ItemT]:
        """Return the items that wait, (n_pending,), as a view."""
        return self._pending[: self._n_pending]

    def resume(self, waiting: NDArray[ItemT]) -> None:
        """Continue a stream whose last items wait, fewer than a chunk."""
        self._n_pending = waiting.size
        self._pending[: waiting.size] = waiting

    def reset(self) -> None:
        """Start a new stream: the items that wait are dropped."""
        self._n_pending = 0
