"""A stage that replays its recorded kernel calls, so that a chunk takes no Python between them."""

from __future__ import annotations

from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fcs_edge.kernels.runtime.replay import Recording, SharedRecording, record
from fcs_edge.model.layers import F32, Array, State

StateT = TypeVar("StateT", bound=State)


class Stage(Protocol[StateT]):
    """Encoder, compressor, decompressor or decoder, or a wrapper of one."""

    def state(self, size: int, /) -> StateT:
        """Return the state of a new stream whose calls take up to `size` rows or chunks."""

    def __call__(self, x: F32, out: F32, state: StateT, /) -> None:
        """Write the stage's output of x into out, and advance the state."""


class StreamStage(Stage[StateT], Protocol[StateT]):
    """A stage whose stream may end with a partial chunk."""

    def tail(self, x: F32, out: F32, state: StateT, /) -> None:
        """Do what a call does, on a last, partial chunk."""


class ReplayedState(Generic[StateT]):
    """A stage's state, and the recorded calls of each number of rows.

    Parameters
    ----------
    state : State
        The stage's own state.
    """

    def __init__(self, state: StateT) -> None:
        self.state = state
        self.recordings: dict[
            int, tuple[NDArray[Any], NDArray[Any], Recording | SharedRecording]
        ] = {}

    def reset(self) -> None:
        """Start a new stream."""
        self.state.reset()

    def history(self) -> list[Array]:
        """Return what resumes the stream; see `layers.State`."""
        return self.state.history()


class ReplayedStage(Generic[StateT]):
    """A stage whose second call with the same number of rows replays the first.

    A recording holds the addresses of x and out. Each call must pass views that start at the
    beginning of the stream's own arrays; a call with other arrays runs the stage and records again.
    Where Numba compiles the kernels, nothing is recorded and every call runs the stage.

    Parameters
    ----------
    stage : Stage
        The stage that runs.
    threads : int
        Threads that replay its calls.
    """

    def __init__(self, stage: Stage[StateT], threads: int = 1) -> None:
        self._stage, self._threads = stage, threads

    def state(self, size: int) -> ReplayedState[StateT]:
        """Return the state of a new stream; see `Stage`."""
        return ReplayedState(self._stage.state(size))

    def __call__(self, x: F32, out: F32, state: ReplayedState[StateT]) -> None:
        """Write the stage's output of x into out, and advance the state."""
        rows = x.shape[0]
        recorded = state.recordings.get(rows)
        if recorded is not None and recorded[0] is _owner(x) and recorded[1] is _owner(out):
            recorded[2]()
            return
        recording = record(partial(self._stage, x, out, state.state), self._threads)
        if recording is not None:
            state.recordings[rows] = _owner(x), _owner(out), recording

    def tail(self, x: F32, out: F32, state: ReplayedState[StateT]) -> None:
        """Run the stage on a last, partial chunk; nothing is recorded or replayed.

        Its number of rows is seldom the same twice, and the stage may use temporary arrays.
        """
        self._stage(x, out, state.state)


def _owner(x: F32) -> NDArray[Any]:
    """Return the array that owns the memory of x."""
    return x.base if isinstance(x.base, np.ndarray) else x
