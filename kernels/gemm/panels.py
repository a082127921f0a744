"""Microkernels' common parts, and the microkernel of float weights.

A microkernel is the inner loop of a matrix product: one panel of outputs, a few rows, sums in
registers. Each is one intrinsic, emitted for the row count, vector width and weight type of the
call. Its first arguments are literal numbers, or constants of the function around. It takes
memory as pointers, grouped in named tuples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import extending, types

from fcs_edge.kernels.isa import simd
from fcs_edge.kernels.isa.simd import FLOAT, HALF, I64, Builder, Value

INDEX = types.intp
PREFETCH_BYTES = 8192
"""Distance of prefetches for weights of less than 32 bits that several rows share.

A line of weights then takes so long that the CPU fetches too few of the next ones by itself.
"""


def prefetch_level(lanes: int) -> int:
    """Return the cache that prefetches go to: the first one of Zen 5 waits for enough lines.

    There, products of four rows take 8 % less time with int8, and 16 to 25 % less with int4 while
    another core reads memory.
    """
    return 1 if lanes == 16 else 2


class Rows(NamedTuple):
    """Rows of numbers in memory."""

    start: Any
    """Pointer to the first row."""
    pitch: Any
    """Numbers from one row's start to the next one's."""


class IntegerRows(NamedTuple):
    """Rows of quantised activations, and the numbers of their groups.

    Arrays are arrays in `panel_rows`, and pointers in the microkernels.
    """

    q: Any
    pitch: Any
    """Numbers of q from one row's start to the next one's."""
    scale: Any
    offset: Any
    groups: Any
    """Numbers of scale and offset from one row's start to the next one's."""


class IntegerPanel(NamedTuple):
    """A panel of integer weights; arrays are pointers."""

    weight: Any
    scale: Any
    size: Any
    """Inputs: a multiple of the microkernel's `ROUND`."""
    group: Any
    """Inputs that share a scale."""


def intrinsic(function: Callable[..., Any]) -> Any:
    """Make an intrinsic whose literal arguments are known where it is emitted."""
    return extending.intrinsic(prefer_literal=True)(function)


def memory(context: Any, b: Builder, kind: Any, array: Any) -> Value:
    """Return the address of the first number of an array, or a pointer as it is."""
    if isinstance(kind, types.CPointer):
        return array
    return context.make_array(kind)(context, b, array).data


def members(b: Builder, kind: Any, value: Value) -> Any:
    """Return a named tuple's members as a named tuple of LLVM values."""
    return kind.instance_class(*(b.extract_value(value, i) for i in range(len(kind.types))))


def row_starts(b: Builder, start: Value, pitch: Value, rows: int) -> list[Value]:
    """Return the addresses of so many rows."""
    return [b.gep(start, [b.mul(pitch, I64(m))]) for m in range(rows)]


def spread(
    b: Builder, row: Value, first: Value, factors: ir.VectorType, depth: int, steps: int, lane: bool
) -> list[Value]:
    """Return a row's activations from `first` on, by step of `depth`, each in all lanes.

    With `lane`, one load of 16 bytes serves several steps: they are multiplied by lane.
    """
    word = ir.IntType(factors.element.width * depth)
    lanes = factors.count // depth
    spread_out = []
    if lane:
        count = 128 // word.width
        for s in range(0, steps, count):
            several = simd.load(b, row, b.add(first, I64(s * depth)), simd.vector(word, count))
            spread_out += [simd.splat_lane(b, several, i, lanes) for i in range(count)]
    else:
        for s in range(steps):
            one = simd.load(b, row, b.add(first, I64(s * depth)), word)
            spread_out.append(simd.splat(b, one, lanes))
    return [b.bitcast(value, factors) for value in spread_out]


def add_to_rows(b: Builder, sums: list[Value], vectors: int, out: Any) -> None:
    """Add sums, row by row and vector by vector, to the rows `out`."""
    for i, total in enumerate(sums):
        m, v = divmod(i, vectors)
        at = b.add(b.mul(out.pitch, I64(m)), I64(v * total.type.count))
        old = simd.load(b, out.start, at, total.type)
        simd.store(b, b.fadd(old, total), out.start, at)


@intrinsic
def float_panel(
    typing: Any, rows: Any, lanes: Any, vectors: Any, x: Any, weight: Any, depth: Any, out: Any
) -> Any:
    """For m < rows and n < lanes * vectors, k in rising order, each weight read once.

    ``out[m, n] += sum_{k < depth} x[m, k] * weight[k, n]``

    x, weight and out are `Rows`. x and out are float32; weight is float32, or float16 held in
    uint16.
    """
    n_rows, n_lanes, n_vectors = (a.literal_value for a in (rows, lanes, vectors))
    half = weight.types[0].dtype == types.uint16

    def generate(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        x_rows, panel, out_rows = (members(b, signature.args[i], arguments[i]) for i in (3, 4, 6))
        row = row_starts(b, x_rows.start, x_rows.pitch, n_rows)
        stored = simd.vector(HALF if half else FLOAT, n_lanes)
        used = simd.vector(FLOAT, n_lanes)

        def step(k: Value, sums: list[Value]) -> list[Value]:
            at = b.mul(k, panel.pitch)
            size = 2 * n_lanes * n_vectors
            # Narrow panels would prefetch every line twice.
            if half and n_rows > 1 and 2 * size > simd.LINE:
                later = b.add(at, I64(PREFETCH_BYTES // 2))
                simd.prefetch(b, panel.start, later, size, prefetch_level(n_lanes))
            weights = []
            for v in range(n_vectors):
                loaded = simd.load(b, panel.start, b.add(at, I64(v * n_lanes)), stored)
                weights.append(b.fpext(loaded, used) if half else loaded)
            added = []
            for m in range(n_rows):
                value = simd.splat(b, b.load(b.gep(row[m], [k])), n_lanes)
                for v in range(n_vectors):
                    total = sums[m * n_vectors + v]
                    added.append(simd.multiply_add(b, value, weights[v], total))
            return added

        zeros = [ir.Constant(used, None)] * (n_rows * n_vectors)
        sums = simd.repeat(b, arguments[5], zeros, step)
        add_to_rows(b, sums, n_vectors, out_rows)
        return context.get_dummy_value()

    return types.void(rows, lanes, vectors, x, weight, INDEX, out), generate


@intrinsic
def stack(typing: Any, dtype: Any, size: Any) -> Any:
    """Return a pointer to `size` uninitialised numbers on the stack; `size` is literal.

    They belong to the compiled function around, once, wherever in it this stands.
    """
    element = dtype.dtype
    count = size.literal_value

    def generate(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        kind = ir.ArrayType(context.get_data_type(element), count)
        with b.goto_entry_block():
            # Not cgutils.alloca_once: that would fill all of it with zeros at every call.
            memory = b.alloca(kind)
            memory.align = 64
        return b.bitcast(memory, context.get_value_type(signature.return_type))

    kind: Any = types.CPointer
    return kind(element)(dtype, size), generate


@intrinsic
def part(typing: Any, array: Any, first: Any, dtype: Any) -> Any:
    """Return a pointer to numbers of a type, at byte `first` of an array of bytes."""
    kind: Any = types.CPointer

    def generate(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        at = b.gep(memory(context, b, array, arguments[0]), [arguments[1]])
        return b.bitcast(at, context.get_value_type(signature.return_type))

    return kind(dtype.dtype)(array, INDEX, dtype), generate


@intrinsic
def pointer(typing: Any, array: Any, first: Any) -> Any:
    """Return a pointer to number `first` of an array's memory."""

    def generate(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        return b.gep(memory(context, b, array, arguments[0]), [arguments[1]])

    kind: Any = types.CPointer
    return kind(array.dtype)(array, INDEX), generate
