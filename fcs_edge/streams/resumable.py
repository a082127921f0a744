"""What all streams share: copies and pickles that continue from a point of the stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

from fcs_edge.arguments import as_count
from fcs_edge.errors import FcsError
from fcs_edge.model.layers import Array

MAX_CHUNKS = 256
"""Most chunks per step: workspace grows with them, by up to some megabytes a chunk."""


class Saved(NamedTuple):
    """What resumes a stream."""

    history: list[Array]
    waiting: Array
    """Samples, tokens or values of rows that wait for the rest of their chunk."""
    ended: bool
    """Whether a partial chunk has ended the stream."""


class StreamState(Protocol):
    """What changes in a stream."""

    def reset(self) -> None:
        """Start a new stream."""

    def saved(self) -> Saved:
        """Return what resumes the stream."""

    def resume(self, saved: Saved, /) -> None:
        """Continue from the point where another stream was."""

    def take(self, other: Any, /) -> None:
        """Continue from the point where another stream of the same kind is."""


StreamT = TypeVar("StreamT", bound="ResumableStream")


class ResumableStream:
    """What the streams share: `create` of a codec creates another one, which takes the history.

    So a copy and a pickle hold the codec and the history only: no workspace, and no programs.
    """

    _state: StreamState

    def __init__(
        self, create: Callable[[int, int], Any] | None, max_chunks: int, threads: int = 1
    ) -> None:
        self._create, self._threads = create, threads
        self._max_chunks = as_max_chunks(max_chunks)
        self._all_chunks = range(1, self._max_chunks + 1)

    def _limit(self) -> str:
        return "one chunk" if self._max_chunks == 1 else f"1 to {self._max_chunks} chunks"

    def __copy__(self: StreamT) -> StreamT:
        """Return an independent stream that continues from this point."""
        other: StreamT = self._creator()(self._max_chunks, self._threads)
        other._state.take(self._state)
        return other

    def __deepcopy__(self: StreamT, memo: dict[int, Any]) -> StreamT:
        """Return an independent stream that continues from this point."""
        return self.__copy__()

    def __reduce__(self) -> tuple[Callable[[int, int], Any], tuple[int, int], Saved]:
        """Return what creates another stream, and what resumes this one there."""
        return self._creator(), (self._max_chunks, self._threads), self._state.saved()

    def _creator(self) -> Callable[[int, int], Any]:
        if self._create is None:
            raise TypeError("a stream that no codec created cannot be copied or pickled")
        return self._create

    def __setstate__(self, saved: Saved) -> None:
        """Continue from the point where another stream was."""
        self._state.resume(saved)


def as_max_chunks(value: Any) -> int:
    """Return the most chunks per step as int.

    Raises
    ------
    TypeError
        It is no integer.
    ValueError
        It is out of range.
    """
    return as_count(value, "max_chunks", 1, MAX_CHUNKS)


def write_history(history: list[Array], saved: list[Array]) -> None:
    """Copy the arrays of another stream's history into this one's."""
    if [(a.shape, a.dtype) for a in history] != [(a.shape, a.dtype) for a in saved]:
        raise FcsError(
            "the state of a pickled stream does not fit: another release saved it, or a machine "
            "whose kernels differ; start the stream anew"
        )
    for array, values in zip(history, saved, strict=True):
        array[:] = values
