"""Where the arrays of traced calls lie: each becomes a base and an offset.

What calls write is memory of a stream; what they only read is weights. Arrays that overlap form an
extent and keep their distances; arrays that lie side by side do not. Extents are ordered by their
first use, so that addresses decide nothing: two layouts of one model are equal.

A stream's memory is *history*, which later chunks read, or *work*. Work is shared by liveness: two
extents may lie in the same place where no program needs both at once.
"""

from __future__ import annotations

import ctypes
import hashlib
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcs_edge.kernels._types import I64
from fcs_edge.kernels.runtime import memory
from fcs_edge.kernels.runtime.aot_library import recorded_calls
from fcs_edge.kernels.runtime.program import IN, OUT, STATE, WEIGHTS, Call, words_of

LINE = 64
"""Alignment of extents."""

_NEVER = 1 << 60, -1
"""The life of what a program does not use."""


class Tracer:
    """Makes the calls of steps and runs none; each call has workspace of its own.

    The n-th call that needs workspace has the same one in each trace, so that the layout of one
    trace serves the others. The longest step must be traced first.
    """

    def __init__(self) -> None:
        self._scratch: list[Any] = []
        self._n_used = 0

    def calls(self, step: Callable[[], None]) -> list[Call]:
        """Return the calls that a step makes."""
        self._n_used = 0
        own = memory.scratch_from(self._workspace)
        with memory.unused(), own, recorded_calls(execute=False) as calls:
            step()
        return list(calls)

    def _workspace(self, n_bytes: int) -> Any:
        if self._n_used == len(self._scratch):
            self._scratch.append(memory.new((n_bytes,), np.int8))
        whole = self._scratch[self._n_used]
        if whole.size < n_bytes:
            raise ValueError("a longer step must be traced first")
        self._n_used += 1
        return whole


class Weights:
    """The image of all weights of a model; equal ones lie there once."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._offsets: dict[bytes, int] = {}
        self.size = 0

    def add(self, data: bytes) -> int:
        """Return the offset of these bytes."""
        key = hashlib.sha256(data).digest()
        if key not in self._offsets:
            self._offsets[key] = self.size
            padded = data + bytes(-len(data) % LINE)
            self._pieces.append(padded)
            self.size += len(padded)
        return self._offsets[key]

    def pieces(self) -> list[bytes]:
        """Return all bytes, in pieces."""
        return self._pieces


class _Extent:
    """A run of memory that arrays share."""

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop
        self.base = WEIGHTS
        self.offset = 0
        self.order = -1
        """When it is first used; -1: never."""
        self.is_written = self.is_shared = False
        """Whether a call writes it; whether another one has some of its memory."""
        self.lives: list[tuple[int, int]] = []
        """The first and the last call that uses it, for each program."""

    @property
    def size(self) -> int:
        return self.stop - self.start


class Layout:
    """Places for the arrays of some programs.

    Parameters
    ----------
    programs : sequence of sequence of Call
        The calls of a stream: of each number of chunks, and of tails.
    history : iterable of numpy.ndarray
        Arrays that later chunks read, or views of them, as they are at a stream's start.
    inputs, outputs : iterable of numpy.ndarray
        What the caller passes and receives; each has offset 0.
    tables : iterable of numpy.ndarray
        Weights that are placed as a whole, although calls use parts.
    weights : Weights, optional
        Takes the weights; absent, their offsets are addresses.
    share : bool
        Whether work is shared by liveness.
    """

    def __init__(
        self,
        programs: Sequence[Sequence[Call]],
        history: Iterable[Any],
        inputs: Iterable[Any],
        outputs: Iterable[Any],
        tables: Iterable[Any] = (),
        weights: Weights | None = None,
        share: bool = True,
    ) -> None:
        history, inputs, outputs, tables = list(history), list(inputs), list(outputs), list(tables)
        used = [a for _, _, a in _arrays(programs)]
        self.held = used, history, inputs, outputs, tables
        """Arrays whose memory the places stand for; weights that have addresses must live on."""
        self._n_used, self._is_placed = 0, False
        arrays = (*used, *history, *inputs, *outputs, *tables)
        self._spans = {id(a): _span(a) for a in arrays if a.size}
        """Of the arrays held: their addresses, which take long to read."""
        self._extents = _merged(self._spans.values())
        self._starts = [extent.start for extent in self._extents]
        self._extent_of = {key: self._around(span) for key, span in self._spans.items()}
        for calls in programs:
            self._note_uses(calls)
        if any(self._extent(array).is_written for array in inputs):
            raise ValueError("a call writes what the caller passes")
        for array in (*history, *tables):
            # No call of these programs uses it, but those of another one may.
            if array.size:
                self._note_order(self._extent(array))
        in_order = sorted((e for e in self._extents if e.order >= 0), key=lambda e: e.order)
        for base, own in ((IN, inputs), (OUT, outputs)):
            for array in own:
                self._extent(array).base = base
        self.history_bytes = 0
        self._history = self._place_history(in_order, history)
        self._work = [e for e in in_order if e.base == WEIGHTS and e.is_written]
        self.state_bytes = _place_work(self._work, self.history_bytes, share)
        self._sharing = _overlaps(self._work)
        """Which pairs of work share memory: a matrix of bool."""
        for extent, shared in zip(self._work, self._sharing, strict=True):
            extent.is_shared = bool(shared.any())
        for extent in in_order:
            if extent.base == WEIGHTS:
                extent.offset = extent.start if weights is None else weights.add(_bytes(extent))
        self._is_placed = True
        self._known = {
            (id(kernel), i, id(a)): self._extent(a) for kernel, i, a in _arrays(programs) if a.size
        }
        """Of each argument that was checked."""
        self._known_places = {id(a): self.place(a) for a in used if a.size}
        self._patterns: set[tuple[tuple[int, _Extent], ...]] = set()

    def words(self, calls: Sequence[Call]) -> I64:
        """Return the program of some calls, which use no arrays but those of the layout.

        Raises
        ------
        ValueError
            An array is not of the layout, weights are written, or two arrays that share memory are
            needed at once.
        """
        places = self._known_places.copy()
        uses: list[tuple[int, _Extent]] = []
        for number, (kernel, arguments) in enumerate(calls):
            for i, value in enumerate(arguments):
                if not isinstance(value, np.ndarray) or not value.size:
                    continue
                extent = self._known.get((id(kernel), i, id(value)))
                if extent is None:
                    extent = self._checked(kernel, i, value)
                    places[id(value)] = self._place(value, extent)
                if extent.is_shared:
                    uses.append((number, extent))
        self._check_lives(uses)
        return words_of(calls, places)

    def _check_lives(self, uses: list[tuple[int, _Extent]]) -> None:
        """Refuse uses of extents by calls of which two need the same memory at once."""
        pattern = tuple(uses)
        if pattern in self._patterns:
            return
        lives: dict[_Extent, tuple[int, int]] = {}
        for number, extent in uses:
            lives[extent] = lives.get(extent, (number, number))[0], number
        needed = _meetings([[lives.get(extent, _NEVER) for extent in self._work]])
        if (needed & self._sharing).any():
            raise ValueError("two arrays that share memory are needed at once")
        self._patterns.add(pattern)

    def place(self, array: Any) -> tuple[int, int]:
        """Return the base and the offset of an array."""
        return self._place(array, self._extent(array))

    def _place(self, array: Any, extent: _Extent) -> tuple[int, int]:
        start, _ = self._spans.get(id(array)) or _span(array)
        return extent.base, extent.offset + start - extent.start

    def initial(self) -> Any:
        """Return the history as the arrays are now: at the start of a stream."""
        image = np.zeros(self.history_bytes, np.uint8)
        for extent in self._history:
            at = slice(extent.offset, extent.offset + extent.size)
            image[at] = np.frombuffer(_bytes(extent), np.uint8)
        return image

    def work_ranges(self) -> list[tuple[int, int]]:
        """Return where each extent of work begins and ends in a state, in the order of use."""
        return [(extent.offset, extent.offset + extent.size) for extent in self._work]

    def _extent(self, array: Any) -> _Extent:
        extent = self._extent_of.get(id(array)) or self._around(_span(array))
        if extent is None:
            raise ValueError(f"an array {array.shape} of {array.dtype} is not of the layout")
        return extent

    def _around(self, span: tuple[int, int]) -> _Extent | None:
        """Return the extent that has these bytes, None where there is none."""
        start, stop = span
        index = bisect_right(self._starts, start) - 1
        return None if index < 0 or stop > self._extents[index].stop else self._extents[index]

    def _checked(self, kernel: Any, argument: int, array: Any) -> _Extent:
        """Return the extent of an argument; refuse an array that the kernel does not take."""
        kind: str = kernel.types[argument]
        if (array.dtype.char, array.ndim) != (kind[0], int(kind[1])):
            raise ValueError(f"{kernel.name} takes {kind}, not {array.dtype} {array.shape}")
        if not array.flags.c_contiguous:
            raise ValueError(f"{kernel.name} is called with an array with gaps")
        extent = self._extent(array)
        if self._is_placed and kind[-1] == "w" and extent.base in (WEIGHTS, IN):
            raise ValueError(f"{kernel.name} writes what no traced call writes")
        return extent

    def _note_uses(self, calls: Sequence[Call]) -> None:
        """Note which calls of a program use each extent."""
        for extent in self._extents:
            extent.lives.append(_NEVER)
        for number, (kernel, arguments) in enumerate(calls):
            for i, value in enumerate(arguments):
                if not isinstance(value, np.ndarray) or not value.size:
                    continue
                extent = self._checked(kernel, i, value)
                extent.lives[-1] = min(extent.lives[-1][0], number), number
                extent.is_written |= kernel.types[i].endswith("w")
                self._note_order(extent)

    def _note_order(self, extent: _Extent) -> None:
        if extent.order < 0:
            extent.order = self._n_used
            self._n_used += 1

    def _place_history(self, in_order: Sequence[_Extent], history: Sequence[Any]) -> list[_Extent]:
        own = {id(self._extent(array)) for array in history if array.size}
        placed = [e for e in in_order if id(e) in own]
        for extent in placed:
            extent.base, extent.offset = STATE, self.history_bytes
            self.history_bytes += _lines(extent.size)
        return placed


def _arrays(programs: Sequence[Sequence[Call]]) -> Iterator[tuple[Any, int, Any]]:
    """Yield the kernel, the number and the array of each argument that is an array."""
    for calls in programs:
        for kernel, arguments in calls:
            for i, value in enumerate(arguments):
                if isinstance(value, np.ndarray):
                    yield kernel, i, value


def _place_work(work: Sequence[_Extent], start: int, share: bool) -> int:
    """Place work behind so many bytes, each where it first fits; return where all of it ends.

    Of two orders, by first use and by size, the one that takes less memory is taken.
    """
    sizes = [_lines(extent.size) for extent in work]
    lives = [[extent.lives[i] for extent in work] for i in range(len(work[0].lives) if work else 0)]
    needed = (_meetings(lives) if share else np.ones((len(work), len(work)), bool)).tolist()
    by_use = range(len(work))
    fits = [
        _first_fit(order, sizes, needed, start)
        for order in (by_use, sorted(by_use, key=lambda i: -work[i].size))
    ]
    end, offsets = min(fits, key=lambda fit: fit[0])
    for extent, offset in zip(work, offsets, strict=True):
        extent.base, extent.offset = STATE, offset
    return end


def _first_fit(
    order: Sequence[int], sizes: Sequence[int], needed: Sequence[Sequence[bool]], start: int
) -> tuple[int, list[int]]:
    """Return where all work ends, and the offset of each extent."""
    offsets, end = [start] * len(sizes), start
    placed: list[tuple[int, int]] = []
    """Offsets and extents, by offset."""
    for i in order:
        at, others = start, needed[i]
        for offset, j in placed:
            if others[j] and at + sizes[i] > offset:
                at = max(at, offset + sizes[j])
        offsets[i], end = at, max(end, at + sizes[i])
        insort(placed, (at, i))
    return end, offsets


def _meetings(programs: Sequence[Sequence[tuple[int, int]]]) -> NDArray[np.bool_]:
    """Return which lives have a call in common, in one of the programs."""
    n = len(programs[0]) if programs else 0
    found = np.zeros((n, n), bool)
    for lives in programs:
        first, last = np.array(lives, np.int64).reshape(n, 2).T
        found |= (first[:, None] <= last) & (first <= last[:, None])
    return found


def _overlaps(work: Sequence[_Extent]) -> NDArray[np.bool_]:
    """Return which extents share memory with another one."""
    start = np.array([extent.offset for extent in work], np.int64)
    stop = start + np.array([extent.size for extent in work], np.int64)
    found: NDArray[np.bool_] = (start[:, None] < stop) & (start < stop[:, None])
    np.fill_diagonal(found, False)
    return found


def _lines(n: int) -> int:
    return -(-n // LINE) * LINE


def _span(array: Any) -> tuple[int, int]:
    """Return the addresses of an array's first byte and of the one after its last."""
    start = int(array.__array_interface__["data"][0])
    if array.flags.c_contiguous:
        return start, start + int(array.nbytes)
    last = sum((n - 1) * step for n, step in zip(array.shape, array.strides, strict=True))
    return start, start + int(last) + int(array.itemsize)


def _merged(spans: Iterable[tuple[int, int]]) -> list[_Extent]:
    """Return extents by address: spans that overlap are one, adjacent ones are two."""
    merged: list[_Extent] = []
    for start, stop in sorted(spans):
        if merged and start < merged[-1].stop:
            merged[-1].stop = max(stop, merged[-1].stop)
        else:
            merged.append(_Extent(start, stop))
    return merged


def _bytes(extent: _Extent) -> bytes:
    return ctypes.string_at(extent.start, extent.size)
