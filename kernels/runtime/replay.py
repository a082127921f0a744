"""Recorded calls of AOT-compiled kernels, replayed with no Python between them.

A chunk takes some hundred calls, and Python's part of each is some microseconds: nearly half the
time of a small model. What changes from chunk to chunk lies in arrays: the calls stay the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fcs_edge.kernels._types import I64
from fcs_edge.kernels.runtime import _jit, aot_library, cuts, memory, thread_team

_Calls = Sequence[cuts.Recorded]


class _Steps:
    """Steps with fixed arrays: two addresses each, of a function and of its arguments.

    Each argument is an address too: of an array object or of a number. None is a barrier: two
    zeros.
    """

    def __init__(self, calls: Sequence[cuts.Recorded | None]) -> None:
        total = sum(len(call[1]) for call in calls if call is not None)
        arguments, numbers = np.zeros(total, np.int64), np.zeros(total, np.int64)
        steps: I64 = np.zeros((len(calls), 2), np.int64)
        at = 0
        for step, call in zip(steps, calls, strict=True):
            if call is None:
                continue
            kernel, values = call
            step[:] = kernel.replay_entry, arguments[at:].ctypes.data
            for value, kind in zip(values, kernel.types, strict=True):
                if isinstance(value, np.ndarray):
                    arguments[at] = id(value)
                else:
                    numbers[at:].view(aot_library.NUMBERS[kind])[0] = value
                    arguments[at] = numbers[at:].ctypes.data
                at += 1
        # The objects behind the addresses must live on.
        self._held = calls, arguments, numbers, steps
        self.address, self.n = steps.ctypes.data, len(steps)


class Recording:
    """Calls with fixed arrays, recorded once.

    Parameters
    ----------
    calls : sequence of tuple
        Kernels and their arguments.
    """

    def __init__(self, calls: _Calls) -> None:
        self._steps = _Steps(calls)
        self._address, self._n = self._steps.address, self._steps.n
        self._replay = aot_library.replay()

    def __call__(self) -> None:
        """Make the calls."""
        self._replay(self._address, self._n)


class SharedRecording:
    """Calls with fixed arrays, cut for several threads; see `cuts`.

    Parameters
    ----------
    lists : sequence
        The steps of each thread: kernels and their arguments, and None for a barrier of all.
    """

    def __init__(self, lists: Sequence[Sequence[cuts.Recorded | None]]) -> None:
        self._steps = [_Steps(calls) for calls in lists]
        self._table = np.array([(steps.address, steps.n) for steps in self._steps], np.int64)
        self._address, self._threads = self._table.ctypes.data, len(lists)

    def __call__(self) -> None:
        """Make the calls; return once all threads have made theirs."""
        thread_team.run(self._address, self._threads)


def record(run: Callable[[], None], threads: int = 1) -> Recording | SharedRecording | None:
    """Run a function, and return the calls of kernels that it made.

    Nothing else that it does is recorded. The result is None where a kernel is not of the library
    in use, or returns a value.

    Parameters
    ----------
    run : callable
        What runs, on this thread.
    threads : int
        Threads that replay the calls together. The results are the same, to the bit.
    """
    if _jit.uses_numba():
        run()
        return None
    own = memory.scratch_from(memory.own_scratch())
    with aot_library.recorded_calls() as calls, own:
        run()
    if _jit.uses_numba() or not all(kernel.replay_entry for kernel, _ in calls):
        return None
    return _shared(calls, threads) or Recording(calls)


def _shared(calls: _Calls, threads: int) -> SharedRecording | None:
    """Return calls that several threads replay, None where no call is large enough to be cut."""
    if threads == 1:
        return None
    cut = cuts.cut(calls, threads)
    if not any(parts[1] for parts in cut):
        return None
    lists: list[list[cuts.Recorded | None]] = [[] for _ in range(threads)]
    earlier: list[tuple[int, cuts.Access]] = []
    for parts in cut:
        if cuts.needs_barrier(parts, earlier):
            earlier.clear()
            for each in lists:
                each.append(None)
        for thread, call in enumerate(parts):
            if call is not None:
                lists[thread].append((call.kernel, call.arguments))
                earlier += [(thread, access) for access in call.accesses]
    for each in lists:
        each.append(None)
    return SharedRecording(lists)
