"""Several signals or rows of tokens in one call: each worker's stream takes one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from fcs_edge.errors import FcsError

ItemT = TypeVar("ItemT")
OutT = TypeVar("OutT")


class Pushable(Protocol):
    """A stream encoder or decoder."""

    def push(self, values: Any, /) -> Any:
        """Return the output of the chunks that these values complete."""

    def flush(self) -> Any:
        """Return the output of what waits, and start a new stream."""


StreamT = TypeVar("StreamT", bound=Pushable)


def checked(
    items: Iterable[ArrayLike], check: Callable[[ArrayLike], ItemT], name: str
) -> list[ItemT]:
    """Return all items as `check` returns them; an error says which one it refused.

    Raises
    ------
    TypeError, ValueError
        `check` refuses an item.
    """
    out = []
    for i, item in enumerate(items):
        with numbered(name, i):
            out.append(check(item))
    return out


@contextmanager
def numbered(name: str, i: int) -> Iterator[None]:
    """Put the name and the number of an item before the text of an error."""
    try:
        yield
    except (TypeError, ValueError, FcsError) as error:
        error.args = (f"{name} {i}: {error}",)
        raise


def run(items: Sequence[Any], streams: Sequence[StreamT], name: str) -> list[Any]:
    """Return what a stream of its own gives for each item.

    Parameters
    ----------
    items : sequence
        What a stream takes: checked signals or tokens.
    streams : sequence
        Streams at their start, one for each worker. Each takes the next item that waits.
    name : str
        What an error calls an item, before its number.
    """
    idle = list(streams)

    def run_one(i: int, item: Any) -> Any:
        # There are as many threads as streams: one is always idle here.
        stream = idle.pop()
        try:
            with numbered(name, i):
                return np.concatenate([stream.push(item), stream.flush()])
        finally:
            idle.append(stream)

    if len(streams) <= 1:
        return [run_one(i, item) for i, item in enumerate(items)]
    with ThreadPoolExecutor(len(streams)) as pool:
        return list(pool.map(run_one, range(len(items)), items))
