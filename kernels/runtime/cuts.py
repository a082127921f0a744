"""How a recorded call is cut into one for each thread, and which calls must wait for others.

Each kernel computes an output in the same way, whatever outputs a call has beside it. So a call is
cut between outputs: panels, heads or rows. A cut changes no bit. Work below `LEAST_WORK` is not
cut, as a barrier takes about as long.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from fcs_edge.kernels._types import I64
from fcs_edge.kernels.runtime import aot_library, memory
from fcs_edge.kernels.runtime.aot_library import Compiled

LEAST_WORK = 1 << 15
"""Multiply-accumulates of a call that is cut: about a microsecond of one thread."""
_ELEMENT_WORK = 16
"""Multiply-accumulates that take as long as an element of a call that is cut by rows."""

_PRODUCTS = "gemm.products.", "gemm.grouped_products."
_INTEGER = "gemm.products.linear_integer("
_WORKING = _INTEGER, "gemm.grouped_products."
"""Products that have workspace."""
_PRODUCT_LANES = {False: slice(0, 2), True: slice(1, 3)}
"""Where lanes and vectors stand in the name of a product, and of `linear_integer`."""
_WORK, _OUT = -6, -5
"""Where workspace and output stand in the arguments of a product."""
_APPEND, _DUPLICATE = "ops.history.append", "ops.history.duplicate"
_ROWS = {
    "ops.attention.position_gate": (0, 4),
    "ops.dynamic_tanh.dynamic_tanh": (0, 2),
    "ops.focal.aggregate": (0, 1, 3, 4),
    "ops.focal.divide": (0,),
    "ops.focal.modulate": (0, 1),
    "ops.gelu.gelu": (0, 1),
    "ops.history.keep_last": (0,),
    "ops.layer_norm.layer_norm": (0, 4),
    "ops.layer_norm.layer_norm_gelu": (0, 4),
    "ops.residual.add": (0, 1),
    "ops.residual.add_scaled": (0, 1),
    "ops.snake.snake": (0, 3),
}
"""Kernels that compute each row for itself: their arguments that have these rows."""


class Access(NamedTuple):
    """Memory that a call reads or writes: some columns of rows that follow each other."""

    start: int
    stop: int
    """Addresses of the rows."""
    pitch: int
    """Bytes from row to row."""
    columns: tuple[int, int]
    """The first byte of the columns in a row, and the one after the last."""
    written: bool

    def conflicts(self, other: Access) -> bool:
        """Return whether the order of the two accesses matters."""
        if not (self.written or other.written):
            return False
        if self.start >= other.stop or other.start >= self.stop:
            return False
        if self.pitch != other.pitch or (self.start - other.start) % self.pitch:
            return True
        return self.columns[0] < other.columns[1] and other.columns[0] < self.columns[1]


class Call(NamedTuple):
    """A kernel, its arguments, and the memory that it uses."""

    kernel: Compiled
    arguments: tuple[Any, ...]
    accesses: list[Access]


Recorded: TypeAlias = tuple[Compiled, tuple[Any, ...]]
Parts: TypeAlias = list[Call | None]
"""Calls that run at once, one or none for each thread: those that a recorded call is cut into."""


PRIMED: I64 = np.ones(1, np.int64)
"""States that a past is there; the first thread has filled it."""


class OwnArrays:
    """What each thread but the first has for itself, the same in all programs of a stream."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[int, int], Any] = {}

    def like(self, array: Any, thread: int) -> Any:
        """Return a thread's own in place of an array, on cache lines of its own."""
        if not thread:
            return array
        key = array.ctypes.data, thread
        if key not in self._arrays:
            self._arrays[key] = memory.temporary(array.shape, array.dtype)
        return self._arrays[key]

    def works(self, recorded: Sequence[Recorded], threads: int) -> list[Any]:
        """Return the workspace of each thread's products; the first one uses that of its calls."""
        sizes = [a[_WORK].size for kernel, a in recorded if kernel.name.startswith(_WORKING)]
        most = max(sizes, default=0)
        works = [None]
        for thread in range(1, threads):
            held = self._arrays.get((0, thread))
            if held is None or held.size < most:
                held = self._arrays[0, thread] = memory.temporary((most,), np.int8)
            works.append(held)
        return works


def cut(recorded: Sequence[Recorded], threads: int, own: OwnArrays | None = None) -> list[Parts]:
    """Return what recorded calls are cut into, in their order."""
    out: list[Parts] = []
    own = own or OwnArrays()
    works = own.works(recorded, threads)
    for _, same in groupby(recorded, _layer):
        calls = list(same)
        if len(calls) > 1 and len(calls) % threads == 0:
            # The groups of a convolution: to cut one repeats the rounding of its inputs.
            some = [works[i % threads] for i in range(len(calls))]
            dealt: Parts = [
                _product_call(*call, 0, call[1][-1], work)
                for call, work in zip(calls, some, strict=True)
            ]
            out += [dealt[i : i + threads] for i in range(0, len(dealt), threads)]
        else:
            out += [parts for call in calls for parts in _cut(*call, works, own)]
    return out


def _layer(recorded: Recorded) -> tuple[int, ...]:
    """Return what the products of a layer's groups have in common, and other calls do not."""
    kernel, arguments = recorded
    if not kernel.name.startswith(_PRODUCTS):
        return (id(arguments),)
    return id(kernel), id(arguments[_OUT]), arguments[-3]


def _cut(
    kernel: Compiled, arguments: tuple[Any, ...], works: list[Any], own: OwnArrays
) -> list[Parts]:
    """Return what a recorded call is cut into; what must come before it precedes it."""
    name = kernel.name.partition("(")[0]
    found, threads = None, len(works)
    if name.startswith(_PRODUCTS):
        found = _product(kernel, arguments, works)
    elif name == "ops.depthwise.depthwise_panels":
        found = _depthwise(kernel, arguments, threads, own)
    elif name == "ops.attention.attend_panels":
        found = _attention(kernel, arguments, threads, own)
    elif name == _APPEND:
        found = _append(kernel, arguments, threads)
    elif name in _ROWS:
        found = _rows(kernel, arguments, threads, _ROWS[name])
    return found or [_filled([whole(kernel, arguments)], threads)]


def _numbers(kernel: Compiled) -> list[int]:
    """Return the arguments of a kernel's factory, as its name has them."""
    return list(ast.literal_eval(kernel.name[kernel.name.index("(") :]))


def whole(kernel: Compiled, arguments: tuple[Any, ...]) -> Call:
    """Return a call that is not cut."""
    arrays = zip(arguments, kernel.types, strict=True)
    used = [_access(a, t.endswith("w")) for a, t in arrays if isinstance(a, np.ndarray)]
    return Call(kernel, arguments, used)


def needs_barrier(parts: Parts, earlier: list[tuple[int, Access]]) -> bool:
    """Return whether a part must wait for an earlier access of another thread."""
    return any(
        access.conflicts(other)
        for thread, call in enumerate(parts)
        if call is not None
        for access in call.accesses
        for other_thread, other in earlier
        if other_thread != thread
    )


def _access(array: Any, written: bool) -> Access:
    """Return the memory of a whole array."""
    start = array.ctypes.data
    pitch = max(1, array.shape[-1] * array.itemsize)
    return Access(start, start + array.nbytes, pitch, (0, pitch), written)


def _some_columns(array: Any, first: int, last: int) -> Access:
    """Return the memory of some columns of a matrix that is written."""
    columns = first * array.itemsize, last * array.itemsize
    return _access(array, True)._replace(columns=columns)


def _shares(n: int, threads: int, work: float) -> list[tuple[int, int]]:
    """Cut n panels, heads or rows into a range for each thread; none where it does not pay."""
    if work < LEAST_WORK or n < 2:
        return []
    ranges = min(n, threads)
    return [(i * n // ranges, (i + 1) * n // ranges) for i in range(ranges)]


def _filled(calls: list[Call], threads: int) -> Parts:
    """Return calls, and none for the threads that have none."""
    return [*calls, *[None] * (threads - len(calls))]


def _product(kernel: Compiled, arguments: tuple[Any, ...], works: list[Any]) -> list[Parts] | None:
    """Cut a matrix product by panels; see `kernels.gemm.products`."""
    first, last = arguments[-2:]
    # Weights, whole panels of them: as many as the rows have inputs and outputs.
    size = arguments[_OUT].shape[0] * arguments[2].size
    shares = _shares(last - first, len(works), size)
    calls = [
        _product_call(kernel, arguments, first + a, first + b, work)
        for (a, b), work in zip(shares, works, strict=False)
    ]
    return [_filled(calls, len(works))] if calls else None


def _product_call(
    kernel: Compiled, arguments: tuple[Any, ...], first: int, last: int, work: Any
) -> Call:
    """Return the call of some panels, with workspace of its thread's own where it is one."""
    if work is not None and kernel.name.startswith(_WORKING):
        arguments = *arguments[:_WORK], work, *arguments[_OUT:]
    *others, out, column, _, _, _ = arguments
    lanes, vectors = _numbers(kernel)[_PRODUCT_LANES[kernel.name.startswith(_INTEGER)]]
    width = lanes * vectors
    columns = (min(column + panel * width, out.shape[1]) for panel in (first, last))
    kinds = zip(others, kernel.types, strict=False)
    used = [_access(a, kind.endswith("w")) for a, kind in kinds if isinstance(a, np.ndarray)]
    used.append(_some_columns(out, *columns))
    return Call(kernel, (*arguments[:-2], first, last), used)


def _depthwise(
    kernel: Compiled, arguments: tuple[Any, ...], threads: int, own: OwnArrays
) -> list[Parts] | None:
    """Cut a depthwise convolution by panels; each thread but the first has its own cursor."""
    x, ring, cursor, weight, bias, out, first, last = arguments
    shares = _shares(last - first, threads, out.size * weight.shape[1])
    copies = _copies(cursor, len(shares), own)
    if copies is None:
        return None
    lanes, vectors = _numbers(kernel)[:2]
    width = lanes * vectors
    calls = []
    for (start, stop), at in zip(shares, (cursor, *copies[1]), strict=True):
        used = [_access(x, False), _access(ring[start:stop], True), _access(at, True)]
        written = _some_columns(out, start * width, min(stop * width, out.shape[1]))
        arrays = x, ring, at, weight, bias, out
        own_arguments = *arrays, first + start, first + stop
        calls.append(Call(kernel, own_arguments, [*used, written]))
    return [_filled([call], threads) for call in copies[0]] + [_filled(calls, threads)]


def _attention(
    kernel: Compiled, arguments: tuple[Any, ...], threads: int, own: OwnArrays
) -> list[Parts] | None:
    """Cut attention by heads; each thread but the first has its own cursor and scores."""
    qkv, gate, bias, keys, values, cursor, scores, out, first, last = arguments
    rows, heads = gate.shape
    head_dim = out.shape[1] // heads
    work = 2 * rows * heads * head_dim * values.shape[2]
    shares = _shares(last - first, threads, work)
    copies = _copies(cursor, len(shares), own)
    if copies is None:
        return None
    calls = []
    for thread, ((start, stop), at) in enumerate(zip(shares, (cursor, *copies[1]), strict=True)):
        workspace = own.like(scores, thread)
        arrays = qkv, gate, bias, keys, values, at, workspace, out
        own_arguments = *arrays, first + start, first + stop
        used = [_access(qkv, False), _access(gate, False)]
        written = [keys[start:stop], values[start:stop], at, workspace]
        used += [_access(array, True) for array in written]
        used.append(_some_columns(out, start * head_dim, stop * head_dim))
        calls.append(Call(kernel, own_arguments, used))
    return [_filled([call], threads) for call in copies[0]] + [_filled(calls, threads)]


def _copies(cursor: I64, threads: int, own: OwnArrays) -> tuple[list[Call], list[I64]] | None:
    """Return calls that copy a cursor for each thread but the first, and the copies."""
    duplicate = aot_library.find(_DUPLICATE)
    if threads < 2 or not isinstance(duplicate, Compiled):
        return None
    copies = [own.like(cursor, thread) for thread in range(1, threads)]
    return [whole(duplicate, (cursor, copy)) for copy in copies], copies


def _append(kernel: Compiled, arguments: tuple[Any, ...], threads: int) -> list[Parts] | None:
    """Cut the copy of new rows behind a past of one group; the first thread fills the past."""
    x, n_past, primed, buffer = arguments
    if len(buffer) > 1:
        return None
    calls = []
    for start, stop in _shares(x.shape[0], threads, x.size * _ELEMENT_WORK):
        rows, own = x[start:stop], PRIMED if start else primed
        written = buffer[0, n_past + start if start else 0 : n_past + stop]
        used = [_access(rows, False), _access(own, not start), _access(written, True)]
        calls.append(Call(kernel, (rows, n_past + start, own, buffer), used))
    return [_filled(calls, threads)] if calls else None


def _rows(
    kernel: Compiled, arguments: tuple[Any, ...], threads: int, by_row: tuple[int, ...]
) -> list[Parts] | None:
    """Cut a call by rows."""
    array = arguments[by_row[0]]
    calls = []
    for start, stop in _shares(array.shape[0], threads, array.size * _ELEMENT_WORK):
        own_arguments = (a[start:stop] if i in by_row else a for i, a in enumerate(arguments))
        calls.append(whole(kernel, tuple(own_arguments)))
    return [_filled(calls, threads)] if calls else None
