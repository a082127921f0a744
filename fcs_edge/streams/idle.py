"""Streams that wait at their start for the next signal: a new one takes time and memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

StreamT = TypeVar("StreamT")


class IdleStreams(Generic[StreamT]):
    """Retains the stream that was used last, for the next call that needs one of its kind.

    Threads may share it: a stream is handed to one of them at a time, and others create theirs.
    """

    def __init__(self) -> None:
        self._idle: list[tuple[Hashable, StreamT]] = []
        """One at most: it takes as much memory as one call."""

    @contextmanager
    def taken(self, kind: Hashable, create: Callable[[], StreamT]) -> Iterator[StreamT]:
        """Yield a stream at its start, which the block must leave at its start.

        After an exception it is dropped.

        Parameters
        ----------
        kind : hashable
            What `create` depends on.
        create : callable
            Returns a new stream.
        """
        try:
            found, stream = self._idle.pop()
        except IndexError:
            found = None
        if found != kind:
            stream = create()
        yield stream
        self._idle[:] = [(kind, stream)]
