"""Recorded calls of AOT-compiled kernels, replayed with no Python between them.

A chunk takes some hundred calls, and Python's part of each is some microseconds: nearly half the
time of a small model. What changes from chunk to chunk lies in arrays: the calls stay the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fcs_edge.kernels._types import I64
from fcs_edge.kernels.runtime import _jit, aot_library, cuts, memory, thread_team
from fcs_edge.kernels.runtime.aot_library import Compiled

_Calls = Sequence[cuts.Recorded]


_BASES = np.zeros(4, np.int64)
"""Every offset is an address."""


def _words(kernel: Compiled, arguments: tuple[Any, ...]) -> list[int]:
    """Return the arguments of a call as its adapter reads them; see `Compiled.number`."""
    words: list[int] = []
    for value, kind in zip(arguments, kernel.types, strict=True):
        if isinstance(value, np.ndarray):
            words += [0, value.ctypes.data, *value.shape]
        elif kind == "float":
            words.append(int(np.float32(value).view(np.uint32)))
        else:
            words.append(int(value))
    return words


class _Steps:
    """A thread's steps: two addresses each, of an adapter and of its words.

    None is a barrier: two zeros.
    """

    def __init__(self, calls: Sequence[cuts.Recorded | None]) -> None:
        each = [_words(*call) if call is not None else [] for call in calls]
        words = np.array([word for some in each for word in some], np.int64)
        steps: I64 = np.zeros((len(calls), 2), np.int64)
        at = 0
        for step, call, some in zip(steps, calls, each, strict=True):
            if call is not None:
                step[:] = aot_library.adapters()[call[0].number], words[at:].ctypes.data
            at += len(some)
        # The memory behind the addresses must live on.
        self._held = calls, words, steps
        self.address, self.n = steps.ctypes.data, len(steps)


class Recording:
    """Calls with fixed arrays, recorded once.

    Parameters
    ----------
    calls : sequence of tuple
        Kernels and their arguments.
    """

    def __init__(self, calls: _Calls) -> None:
        each = [(kernel.number, _words(kernel, arguments)) for kernel, arguments in calls]
        program = [word for n, some in each for word in (n, len(some), *some)]
        self._words = np.array(program, np.int64)
        self._held = calls
        self._arguments = self._words.ctypes.data, self._words.size, _BASES.ctypes.data
        self._run = aot_library.run_program()

    def __call__(self) -> None:
        """Make the calls."""
        self._run(*self._arguments)


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
        thread_team.run(self._address, self._threads, _BASES.ctypes.data)


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
    if _jit.uses_numba() or not all(kernel.number >= 0 for kernel, _ in calls):
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
