"""Calls of kernels compiled ahead, kept to be made again with no Python between them.

A chunk takes some hundred calls, and Python's part of each is some microseconds: nearly half of
what a small model takes. What changes from chunk to chunk lies in arrays, so the calls are always
the same.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fcs_edge.kernels.runtime import _jit, aot_library


class Recording:
    """Calls that were made once, with these arrays.

    Parameters
    ----------
    calls : list of tuple
        Kernels and what each was called with. A step is two addresses: of a function, and of its
        arguments; of these each is an address too, of an array object or of a number.
    """

    def __init__(self, calls: list[tuple[aot_library.Compiled, tuple[object, ...]]]) -> None:
        total = sum(len(arguments) for _, arguments in calls)
        arguments, numbers = np.zeros(total, np.int64), np.zeros(total, np.int64)
        self._steps = np.zeros((len(calls), 2), np.int64)
        at = 0
        for step, (kernel, given) in zip(self._steps, calls, strict=True):
            step[:] = kernel.again, arguments[at:].ctypes.data
            for value, kind in zip(given, kernel.types, strict=True):
                if isinstance(value, np.ndarray):
                    arguments[at] = id(value)
                else:
                    numbers[at:].view(aot_library.NUMBERS[kind])[0] = value
                    arguments[at] = numbers[at:].ctypes.data
                at += 1
        # What addresses point to has to stay.
        self._held = calls, arguments, numbers
        self._address = self._steps.ctypes.data
        self._replay = aot_library.replay()

    def __call__(self) -> None:
        """Make the calls again."""
        self._replay(self._address, len(self._steps))


def record(run: Callable[[], None]) -> Recording | None:
    """Run something, and return the calls of kernels that it made.

    Whatever else it does is not part of them. None is returned where not all kernels that it
    called are of the library in use, or one of them returns something.
    """
    if _jit.uses_numba():
        run()
        return None
    with aot_library.kept_calls() as calls:
        run()
    if _jit.uses_numba() or not all(kernel.again for kernel, _ in calls):
        return None
    return Recording(calls)
