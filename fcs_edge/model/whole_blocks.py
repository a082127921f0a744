"""What stages without causality share: they run over a whole signal, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Protocol, TypeVar

from fcs_edge.model.layers import F32, new
from fcs_edge.modelfile.stream_memory import BLOCK_ROWS as BLOCK_ROWS

StateT = TypeVar("StateT")


class Conv(Protocol[StateT]):
    """A causal convolution of `fcs_edge.model.layers`."""

    def state(self, max_rows: int) -> StateT:
        """Return the state of a new stream whose calls take up to `max_rows` rows."""

    def __call__(self, x: F32, out: F32, state: StateT) -> None:
        """Write the convolution of x into out."""


def blocks(rows: int, size: int | None = None) -> Iterator[slice]:
    """Cut rows into slices of `size` rows, absent `BLOCK_ROWS`, the last one of what is left."""
    size = BLOCK_ROWS if size is None else size
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def rows_of(x: F32) -> Iterator[F32]:
    """Return the rows of x, block by block."""
    return (x[block] for block in blocks(x.shape[0]))


def rows_ahead(taps: int) -> int:
    """Return how many rows after its own one a row of a centred convolution reads.

    It reads as many before, or with an even number of taps one less.
    """
    return taps // 2


def centred(
    conv: Conv[StateT], taps: int, inputs: int, outputs: int, signal: Iterable[F32]
) -> Iterator[F32]:
    """Convolve a whole signal, with zeros before and after it, to as many rows.

    A row of a causal convolution reads its own row of the signal and those before. So the results
    of a centred one are those of a causal one, a few rows later.

    Parameters
    ----------
    conv : Conv
        The convolution, of stride 1; its history starts as zeros.
    taps, inputs, outputs : int
        Its kernel, and the columns of its rows.
    signal : iterable of numpy.ndarray
        (rows, inputs) float32, up to `BLOCK_ROWS` rows each.

    Yields
    ------
    numpy.ndarray
        (rows, outputs) float32. The next one takes its memory.
    """
    ahead = rows_ahead(taps)
    state, out = conv.state(BLOCK_ROWS), new(BLOCK_ROWS, outputs)
    zeros = new(min(ahead, BLOCK_ROWS), inputs)
    after = (zeros[: block.stop - block.start] for block in blocks(ahead))
    left_out = ahead
    for x in chain(signal, after):
        rows = x.shape[0]
        conv(x, out[:rows], state)
        first = min(left_out, rows)
        left_out -= first
        if rows > first:
            yield out[first:rows]
