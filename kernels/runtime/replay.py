"""Recorded calls of AOT-compiled kernels, replayed with no Python between them.

A chunk takes some hundred calls, and Python's part of each is some microseconds: nearly half the
time of a small model. What changes from chunk to chunk lies in arrays: the calls stay the same.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fcs_edge.kernels.runtime import _jit, aot_library


class Recording:
    """Calls with fixed arrays, recorded once.

    Parameters
    ----------
    calls : list of tuple
        Kernels and their arguments. A step is two addresses: of a function, and of its arguments.
        Each argument is an address too: of an array object or of a number.
    """

    def __init__(self, calls: list[tuple[aot_library.Compiled, tuple[object, ...]]]) -> None:
        total = sum(len(arguments) for _, arguments in calls)
        arguments, numbers = np.zeros(total, np.int64), np.zeros(total, np.int64)
        self._steps = np.zeros((len(calls), 2), np.int64)
        at = 0
        for step, (kernel, values) in zip(self._steps, calls, strict=True):
            step[:] = kernel.replay_entry, arguments[at:].ctypes.data
            for value, kind in zip(values, kernel.types, strict=True):
                if isinstance(value, np.ndarray):
                    arguments[at] = id(value)
                else:
                    numbers[at:].view(aot_library.NUMBERS[kind])[0] = value
                    arguments[at] = numbers[at:].ctypes.data
                at += 1
        # The objects behind the addresses must live on.
        self._held = calls, arguments, numbers
        self._address = self._steps.ctypes.data
        self._replay = aot_library.replay()

    def __call__(self) -> None:
        """Make the calls."""
        self._replay(self._address, len(self._steps))


def record(run: Callable[[], None]) -> Recording | None:
    """Run a function, and return the calls of kernels that it made.

    Nothing else that it does is recorded. The result is None where a kernel is not of the library
    in use, or returns a value.
    """
    if _jit.uses_numba():
        run()
        return None
    with aot_library.recorded_calls() as calls:
        run()
    if _jit.uses_numba() or not all(kernel.replay_entry for kernel, _ in calls):
        return None
    return Recording(calls)
