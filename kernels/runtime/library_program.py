"""Programs that the library in use runs: on one thread, or on several that share the calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from fcs_edge.kernels._types import I64
from fcs_edge.kernels.runtime import aot_library, cuts, thread_team
from fcs_edge.kernels.runtime.placement import Layout
from fcs_edge.kernels.runtime.program import Call, calls_of

Lists: TypeAlias = list[list[Call | None]]
"""The calls of each thread, and None for a barrier of all."""


class LibraryProgram:
    """The calls of one thread.

    Parameters
    ----------
    words : numpy.ndarray
        The program; base 0 is zero.
    """

    def __init__(self, words: I64) -> None:
        self.words = words
        self._address, self._n = words.ctypes.data, words.size
        self._run = aot_library.run_program()

    def __call__(self, bases: int) -> None:
        """Make the calls; `bases` is the address of the bases."""
        self._run(self._address, self._n, bases)


class SharedProgram:
    """The calls of several threads.

    Parameters
    ----------
    lists : list
        The calls of each thread.
    layout : Layout
        Places their arrays.
    """

    def __init__(self, lists: Lists, layout: Layout) -> None:
        self._steps = [_steps(calls, layout) for calls in lists]
        table = [(steps.ctypes.data, len(steps)) for _, steps in self._steps]
        self._table = np.array(table, np.int64)
        self._address, self._threads = self._table.ctypes.data, len(lists)

    def __call__(self, bases: int) -> None:
        """Make the calls; return once all threads have finished."""
        thread_team.run(self._address, self._threads, bases)


def _steps(calls: Sequence[Call | None], layout: Layout) -> tuple[I64, I64]:
    """Return words, and two addresses for each step: an adapter, and the words of its call.

    A barrier is two zeros.
    """
    words = layout.words([call for call in calls if call is not None])
    steps: I64 = np.zeros((len(calls), 2), np.int64)
    placed = calls_of(words)
    for step, call in zip(steps, calls, strict=True):
        if call is not None:
            number, given = next(placed)
            step[:] = aot_library.adapters()[number], given.ctypes.data
    return words, steps


def shared_lists(calls: Sequence[Call], threads: int, own: cuts.OwnArrays) -> Lists | None:
    """Return the calls of each thread, None where no call is large enough to be cut.

    Parameters
    ----------
    calls : sequence of Call
        The calls in their order.
    threads : int
        So many threads.
    own : OwnArrays
        Holds what each thread has for itself.
    """
    cut = cuts.cut(calls, threads, own)
    if not any(parts[1] for parts in cut):
        return None
    lists: Lists = [[] for _ in range(threads)]
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
    return lists
