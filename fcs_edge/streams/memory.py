"""The memory of a stream, and how its steps run.

Where a library is in use, the steps of a kind of stream are traced once: with arrays that stand for
those of any stream, and with kernels that note their arguments and do nothing else. All streams of
the kind run the programs that this gives, each in one block of memory: what later chunks read, then
work memory. Where Numba compiles the kernels, a stream has arrays of its own, and each step calls
the kernels from Python.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fcs_edge.kernels._types import I64
from fcs_edge.kernels.runtime import _jit, cuts, memory, program
from fcs_edge.kernels.runtime.aot_library import recorded_calls
from fcs_edge.kernels.runtime.library_program import (
    LibraryProgram,
    Lists,
    SharedProgram,
    shared_lists,
)
from fcs_edge.kernels.runtime.placement import Layout, Tracer
from fcs_edge.kernels.runtime.program import Call, Parameter, Tail
from fcs_edge.model.layers import Array, State
from fcs_edge.streams.resumable import write_history

_MOST_KINDS = 8
"""Kinds of streams whose programs a codec retains: each holds a voice, if it has one."""
_LARGE = 1 << 20
"""Bytes of a state from which on it lies in large pages."""
_TRACED_TAILS = 6
"""Tails of one number of whole chunks that are traced each; further ones follow from these."""

_FEW = 16
"""Rows of a chunk whose tails are all traced."""


Runnable: TypeAlias = LibraryProgram | SharedProgram


class Steps(Protocol):
    """What the steps of a kind of stream do; see `steps`."""

    @property
    def chunk_rows(self) -> int:
        """Rows of input of a chunk: samples, tokens, features or latents."""

    def state(self, max_chunks: int, /) -> State:
        """Return the state of a new stream whose steps take up to `max_chunks` chunks."""

    def arrays(self, max_chunks: int, /) -> tuple[Array, Array]:
        """Return arrays for the input and the output of the largest step."""

    def n_rows(self, n_rows: int, /) -> int:
        """Return how many rows of output so many rows of input give."""

    def tables(self) -> list[Array]:
        """Return weights of which a step reads a part that depends on its length."""

    def parameters(self) -> list[Parameter]:
        """Return what the sizes of a partial chunk depend on."""

    def __call__(self, x: Any, out: Any, state: Any, /) -> None:
        """Make the calls of a step."""


class SplitSteps(Steps, Protocol):
    """Steps of two parts."""

    def first(self, x: Any, out: Any, state: Any, /) -> None:
        """Make the calls of the first part."""

    def rest(self, x: Any, out: Any, state: Any, /) -> None:
        """Make the calls after these."""


class StreamMemory(Protocol):
    """What a stream retains from chunk to chunk, and its work memory."""

    def run(self, x: Array, out: Array) -> None:
        """Run a step, or a tail; both arrays are contiguous, and out is another one than x."""

    def reset(self) -> None:
        """Start a new stream."""

    def history(self) -> list[Array]:
        """Return what resumes the stream, as arrays that may be written."""

    def take(self, other: StreamMemory) -> None:
        """Continue from the point where another stream of the same kind is."""


class DirectMemory:
    """Arrays of a stream's own: its steps call the kernels one by one.

    Parameters
    ----------
    steps : Steps
        What its steps do.
    max_chunks : int
        Most chunks per step.
    """

    def __init__(self, steps: Steps, max_chunks: int) -> None:
        self._steps, self._state = steps, steps.state(max_chunks)

    def run(self, x: Array, out: Array) -> None:
        """Run a step; see `StreamMemory`."""
        self._steps(x, out, self._state)

    def reset(self) -> None:
        """Start a new stream."""
        self._state.reset()

    def history(self) -> list[Array]:
        """Return what resumes the stream; see `StreamMemory`."""
        return self._state.history()

    def take(self, other: StreamMemory) -> None:
        """Continue from another stream's point; see `StreamMemory`."""
        write_history(self.history(), other.history())


class _SharedWork:
    """Makes the calls of steps and runs none; all calls have the same workspace.

    The longest step must be traced first.
    """

    def __init__(self) -> None:
        self._create = memory.own_scratch()

    def calls(self, step: Callable[[], None]) -> list[Call]:
        """Return the calls that a step makes."""
        calls: list[Call] = []
        # The workspace has its size after the first time.
        for _ in range(2):
            with memory.scratch_from(self._create), recorded_calls(execute=False) as found:
                step()
            calls = list(found)
        return calls


class Programs:
    """The programs of all streams of a kind.

    Parameters
    ----------
    steps : Steps
        What the steps do.
    max_chunks : int
        Most chunks per step.
    threads : int
        Threads that share the calls of a step.
    first : callable, optional
        Makes the first calls of a step, which are then a program of their own.
    """

    def __init__(
        self,
        steps: Steps,
        max_chunks: int,
        threads: int,
        first: Callable[[Any, Any, Any], None] | None = None,
    ) -> None:
        self._steps, self._threads, self._first = steps, threads, first
        self._max_chunks = max_chunks
        self._lock = threading.Lock()
        with memory.unused():
            self._state = steps.state(max_chunks)
            """With the next two: what stands for the memory of any stream. No call is executed."""
            self._input, self._output = steps.arrays(max_chunks)
        self._state.reset()
        self._tracer: Tracer | _SharedWork = Tracer() if threads == 1 else _SharedWork()
        self._own = cuts.OwnArrays()
        most = self._calls(len(self._input))
        traced = [[call for calls in most for call in calls]]
        if threads > 1:
            traced.append([call for each in self._lists(most) for call in each if call])
        history = self._state.history()
        self.layout = Layout(
            *(traced, [*history, cuts.PRIMED], [self._input], [self._output]),
            tables=steps.tables(),
            share=threads == 1,
        )
        self.state_bytes, self.history_bytes = self.layout.state_bytes, self.layout.history_bytes
        words = self.layout.initial().view(np.int64)
        self.started: I64 = np.flatnonzero(words)
        """Words of the history that are not 0 at a stream's start, and their values."""
        self.start: I64 = words[self.started]
        self._history = [(a.shape, a.dtype, a.strides, self._offset(a)) for a in history]
        self._programs = {len(self._input): [self._runnable(calls) for calls in most]}
        self._tails: dict[int, Tail | None] = {}
        """Of so many whole chunks and a partial one; None where each length is traced."""
        self._traced: dict[int, dict[int, I64]] = {}

    def _offset(self, array: Array) -> int:
        return self.layout.place(array)[1] if array.size else 0

    def of(self, n_rows: int) -> Sequence[Runnable]:
        """Return the programs of a step of so many rows, traced where they are not known.

        There is none where Numba has taken the kernels over: its calls cannot be traced.
        """
        found = self._programs.get(n_rows)
        return found if found is not None else self._new(n_rows)

    def _new(self, n_rows: int) -> Sequence[Runnable]:
        with self._lock:
            if _jit.uses_numba():
                return []
            if n_rows % self._steps.chunk_rows:
                built: list[Runnable] = [LibraryProgram(self._tail(n_rows))]
            else:
                built = [self._runnable(calls) for calls in self._calls(n_rows)]
                self._programs[n_rows] = built
            return built

    def _runnable(self, calls: Sequence[Call]) -> Runnable:
        lists = self._lists([calls])
        if len(lists) > 1:
            return SharedProgram(lists, self.layout)
        return LibraryProgram(self.layout.words(calls))

    def _calls(self, n_rows: int) -> list[list[Call]]:
        """Return the calls of each program of a step of so many rows."""
        x, out = self._input[:n_rows], self._output[: self._steps.n_rows(n_rows)]
        calls = self._tracer.calls(partial(self._steps, x, out, self._state))
        if self._first is None:
            return [calls]
        n = len(self._tracer.calls(partial(self._first, x, out, self._state)))
        return [calls[:n], calls[n:]]

    def _lists(self, parts: Sequence[Sequence[Call]]) -> Lists:
        """Return the calls of each thread, one list where one thread makes them all."""
        lists: Lists = [[] for _ in range(self._threads)]
        for calls in parts:
            cut = shared_lists(calls, self._threads, self._own) if self._threads > 1 else None
            if cut is None:
                lists[0] += calls
            else:
                for to, some in zip(lists, cut, strict=True):
                    to += some
        return lists if any(lists[1:]) else lists[:1]

    def _tail(self, n_rows: int) -> I64:
        """Return the program of rows whose last chunk is partial."""
        chunks = n_rows // self._steps.chunk_rows
        tail = self._tails.get(chunks)
        if tail is not None:
            return tail.of((chunks + 1) * self._steps.chunk_rows - n_rows)
        traced = self._traced.setdefault(chunks, {})
        if n_rows in traced:
            return traced[n_rows]
        words = self._words(n_rows)
        if len(traced) < _TRACED_TAILS:
            traced[n_rows] = words
        elif chunks not in self._tails:
            self._tails[chunks] = self._fitted(chunks)
        return words

    def _words(self, n_rows: int) -> I64:
        return self.layout.words([call for calls in self._calls(n_rows) for call in calls])

    def _fitted(self, chunks: int) -> Tail | None:
        """Return the tail of so many whole chunks and a partial one, None where there is none."""
        rows, parameters = self._steps.chunk_rows, self._steps.parameters()
        missing = set(range(rows)) if rows <= _FEW else {0, 1, rows - 1}
        # Each number rises where others do not: where one more of its rows is missing.
        units = [1]
        for source, factor, divisor in parameters:
            units.append(max(1, units[source] * divisor // factor))
            missing |= {units[-1] - 1, units[-1]}
        whole = (chunks + 1) * rows
        # The longest step first: the others use its workspace.
        programs = {n: self._words(whole - n) for n in sorted(missing) if n < rows}
        try:
            return program.fitted(programs, parameters)
        except ValueError:
            return None

    def direct(self) -> DirectMemory:
        """Return the memory of a stream without programs."""
        return DirectMemory(self._steps, self._max_chunks)

    def history(self, block: NDArray[np.uint8]) -> list[Array]:
        """Return the arrays of the history of a stream whose memory is a block."""
        return [
            np.ndarray(shape, dtype, block, offset, strides)
            for shape, dtype, strides, offset in self._history
        ]


class ProgramMemory:
    """One block of memory: what later chunks read, then work memory.

    Parameters
    ----------
    programs : Programs
        The programs of the stream's kind.
    """

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        create = memory.zeros if programs.state_bytes >= _LARGE else memory.temporary
        self._block: NDArray[np.uint8] = create((programs.state_bytes,), np.uint8)
        self._words = self._block[: programs.history_bytes].view(np.int64)
        self._words[programs.started] = programs.start
        self._bases = np.zeros(program.N_BASES, np.int64)
        self._bases[program.STATE] = self._block.ctypes.data
        self._address = self._bases.ctypes.data
        self._direct: DirectMemory | None = None
        """What the stream goes on with, once it needs a program that cannot be traced."""

    def run(self, x: Array, out: Array) -> None:
        """Run a step; see `StreamMemory`."""
        if self._direct is not None:
            self._direct.run(x, out)
            return
        programs = self.prepared(x, out)
        for runnable in programs:
            runnable(self._address)
        if not programs:
            direct = self._programs.direct()
            direct.take(self)
            self._direct = direct
            direct.run(x, out)

    def timed(self, x: Array, out: Array) -> list[int]:
        """Run a step; return the nanoseconds of each of its programs."""
        times = [time.perf_counter_ns()]
        for runnable in self.prepared(x, out):
            runnable(self._address)
            times.append(time.perf_counter_ns())
        return [after - before for before, after in pairwise(times)]

    def prepared(self, x: Array, out: Array) -> Sequence[Runnable]:
        """Return the programs of a step, which read and write these arrays."""
        bases = self._bases
        bases[program.IN] = x.__array_interface__["data"][0]
        bases[program.OUT] = out.__array_interface__["data"][0]
        return self._programs.of(len(x))

    def reset(self) -> None:
        """Start a new stream."""
        self._direct = None
        self._words[:] = 0
        self._words[self._programs.started] = self._programs.start

    def history(self) -> list[Array]:
        """Return what resumes the stream; see `StreamMemory`."""
        if self._direct is not None:
            return self._direct.history()
        return self._programs.history(self._block)

    def take(self, other: StreamMemory) -> None:
        """Continue from another stream's point; see `StreamMemory`."""
        if isinstance(other, ProgramMemory) and self._is_like(other):
            self._words[:] = other._words
        else:
            write_history(self.history(), other.history())

    def _is_like(self, other: ProgramMemory) -> bool:
        """Return whether both are blocks of the same layout."""
        direct = self._direct, other._direct
        return other._programs is self._programs and direct == (None, None)


class StreamPrograms:
    """The programs of a codec's streams, by what they depend on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: OrderedDict[Hashable, Programs] = OrderedDict()

    def memory(
        self, kind: Hashable, create: Callable[[], Steps], max_chunks: int, threads: int
    ) -> StreamMemory:
        """Return the memory of a new stream.

        Parameters
        ----------
        kind : hashable
            What `create` depends on.
        create : callable
            Returns what the steps do.
        max_chunks : int
            Most chunks per step.
        threads : int
            Threads that share the calls of a step.
        """
        key = kind, max_chunks, threads
        if _jit.uses_numba():
            return DirectMemory(create(), max_chunks)
        with self._lock:
            programs = self._found.pop(key, None)
            if programs is None:
                steps = create()
                programs = programs_of(steps, max_chunks, threads)
                if programs is None:
                    return DirectMemory(steps, max_chunks)
            self._found[key] = programs
            if len(self._found) > _MOST_KINDS:
                self._found.popitem(last=False)
        return ProgramMemory(programs)


def programs_of(
    steps: Steps,
    max_chunks: int,
    threads: int,
    first: Callable[[Any, Any, Any], None] | None = None,
) -> Programs | None:
    """Return the programs of a kind of stream, None where Numba compiles its kernels."""
    if _jit.uses_numba():
        return None
    programs = Programs(steps, max_chunks, threads, first)
    # A kernel that the library lacks.
    return None if _jit.uses_numba() else programs
