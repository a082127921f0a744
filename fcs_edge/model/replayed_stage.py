"""A stage of a stream, whose calls of kernels are kept and made again at once."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, Protocol, cast

from fcs_edge.kernels.runtime.replay import Recording, record
from fcs_edge.model.layers import F32


class Stage(Protocol):
    """One of encoder, compressor, decompressor and decoder, or what stands in for it."""

    def state(self, size: int, /) -> Any:
        """Return the state of a new stream whose calls take up to so many rows or chunks."""

    def __call__(self, x: F32, out: F32, state: Any, /) -> None:
        """Write what becomes of x, and move the state on."""


class RepeatedState:
    """A stage's state, and the calls that it took, by rows."""

    def __init__(self, state: Any) -> None:
        self.state = state
        self.kept: dict[int, tuple[F32, F32, Recording]] = {}

    @property
    def hidden(self) -> F32:
        """What a compressor's state keeps."""
        return cast(F32, self.state.hidden)

    def reset(self) -> None:
        """Start a new stream."""
        self.state.reset()

    def __deepcopy__(self, memo: dict[int, Any]) -> RepeatedState:
        """Copy the state alone: calls are of the arrays that they were made with."""
        return RepeatedState(copy.deepcopy(self.state, memo))


class Repeated:
    """A stage that, from the second call of so many rows on, does without Python.

    Its states take x and out from the start of the same arrays each time, those of the stream.
    Where Numba compiles, and where they are others, the stage is called as ever.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def state(self, size: int) -> RepeatedState:
        """Return the state of a new stream; see `Stage`."""
        return RepeatedState(self._stage.state(size))

    def __call__(self, x: F32, out: F32, state: RepeatedState) -> None:
        """Write what becomes of x, and move the state on."""
        kept = state.kept.get(x.shape[0])
        if kept is not None and kept[0] is _owner(x) and kept[1] is _owner(out):
            kept[2]()
            return
        recording = record(partial(self._stage, x, out, state.state))
        if recording is not None:
            state.kept[x.shape[0]] = _owner(x), _owner(out), recording


def _owner(x: F32) -> Any:
    return x if x.base is None else x.base
