"""A second thread that handles each chunk's tokens while the first one encodes the next chunk."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from fcs_edge.model.layers import F32, U16, new


class DecoderThread:
    """Calls a function on a thread of its own, for one chunk at a time.

    Parameters
    ----------
    handle : callable
        Takes a chunk's samples, its tokens, and the seconds that encoding took.
    chunk_size, chunk_tokens : int
        Sizes of a chunk.
    """

    def __init__(
        self, handle: Callable[[F32, U16, float], None], chunk_size: int, chunk_tokens: int
    ) -> None:
        self._handle = handle
        self._samples, self._tokens = new(chunk_size), np.zeros(chunk_tokens, np.uint16)
        self._pool = ThreadPoolExecutor(1, "decoder")
        self._running: Future[None] | None = None

    def put(self, samples: F32, tokens: U16, seconds: float) -> None:
        """Wait for the chunk before, and hand this one over; raise what that one raised."""
        self.finish()
        self._samples[:], self._tokens[:] = samples, tokens
        self._running = self._pool.submit(self._handle, self._samples, self._tokens, seconds)

    def finish(self) -> None:
        """Wait for the last chunk; raise what it raised."""
        running, self._running = self._running, None
        if running is not None:
            running.result()
