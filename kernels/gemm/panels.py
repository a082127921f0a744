"""The inner loops of matrix products: one panel of outputs, a few rows, sums in registers.

Each is one intrinsic, emitted for the row count, vector width and weight type it is called with.
Arrays are contiguous, of any shape, or pointers: only their memory is used. The first arguments
are literal numbers, or constants of the function around.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import extending, types

from fcs_edge.kernels.isa import simd
from fcs_edge.kernels.isa.simd import FLOAT, HALF, I64, Builder, Value

INDEX = types.intp
AHEAD = 8192
"""Bytes that weights of less than 32 bits are prefetched ahead, where several rows share them: a
line then takes so long that too few of the next are asked for. This gains 25 to 35 %."""


def intrinsic(function: Callable[..., Any]) -> Any:
    """Make an intrinsic whose literal arguments are known where it is emitted."""
    return extending.intrinsic(prefer_literal=True)(function)


def memory(context: Any, b: Builder, kind: Any, array: Any) -> Value:
    """Return where the numbers of an array, or a pointer, start."""
    if isinstance(kind, types.CPointer):
        return array
    return context.make_array(kind)(context, b, array).data


def spread(
    b: Builder, row: Value, first: Value, factors: ir.VectorType, depth: int, steps: int, lane: bool
) -> list[Value]:
    """Return a row's activations from `first` on, by step of `depth`, each in all lanes.

    With `lane` one load of 16 bytes serves several steps: they are multiplied by lane.
    """
    word = ir.IntType(factors.element.width * depth)
    lanes = factors.count // depth
    found = []
    if lane:
        count = 128 // word.width
        for s in range(0, steps, count):
            several = simd.load(b, row, b.add(first, I64(s * depth)), simd.vector(word, count))
            found += [simd.splat_lane(b, several, i, lanes) for i in range(count)]
    else:
        for s in range(steps):
            one = simd.load(b, row, b.add(first, I64(s * depth)), word)
            found.append(simd.splat(b, one, lanes))
    return [b.bitcast(value, factors) for value in found]


def add_to_rows(
    b: Builder, sums: list[Value], vectors: int, out: Value, o0: Value, stride: Value
) -> None:
    """Add sums, row by row and vector by vector, to rows of out that start `stride` apart."""
    for i, summed in enumerate(sums):
        m, v = divmod(i, vectors)
        at = b.add(b.add(o0, b.mul(stride, I64(m))), I64(v * summed.type.count))
        old = simd.load(b, out, at, summed.type)
        simd.store(b, b.fadd(old, summed), out, at)


@intrinsic
def float_panel(
    typing: Any,
    rows: Any,
    lanes: Any,
    vectors: Any,
    x: Any,
    x0: Any,
    step: Any,
    weight: Any,
    w0: Any,
    pitch: Any,
    depth: Any,
    out: Any,
    o0: Any,
    stride: Any,
) -> Any:
    """For m < rows and n < lanes * vectors, k in rising order, each weight read once.

    ``out[o0 + m * stride + n] += sum_k x[x0 + m * step + k] * weight[w0 + k * pitch + n]``

    k < depth. x and out are float32; weight is float32, or float16 held in uint16.
    """
    n_rows, n_lanes, n_vectors = (a.literal_value for a in (rows, lanes, vectors))
    half = weight.dtype == types.uint16

    def generate(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        x_at, w_at, out_at = (
            memory(context, b, signature.args[i], arguments[i]) for i in (3, 6, 10)
        )
        x0, step, w0, pitch, depth, o0, stride = (arguments[i] for i in (4, 5, 7, 8, 9, 11, 12))
        row = [b.gep(x_at, [b.add(x0, b.mul(step, I64(m)))]) for m in range(n_rows)]
        panel = b.gep(w_at, [w0])
        stored = simd.vector(HALF if half else FLOAT, n_lanes)
        used = simd.vector(FLOAT, n_lanes)

        def step_k(k: Value, sums: list[Value]) -> list[Value]:
            at = b.mul(k, pitch)
            size = 2 * n_lanes * n_vectors
            # Narrow panels would ask for every line twice.
            if half and n_rows > 1 and 2 * size > simd.LINE:
                simd.prefetch(b, panel, b.add(at, I64(AHEAD // 2)), size)
            weights = []
            for v in range(n_vectors):
                loaded = simd.load(b, panel, b.add(at, I64(v * n_lanes)), stored)
                weights.append(b.fpext(loaded, used) if half else loaded)
            added = []
            for m in range(n_rows):
                value = simd.splat(b, b.load(b.gep(row[m], [k])), n_lanes)
                for v in range(n_vectors):
                    total = sums[m * n_vectors + v]
                    added.append(simd.multiply_add(b, value, weights[v], total))
            return added

        zeros = [ir.Constant(used, None)] * (n_rows * n_vectors)
        sums = simd.repeat(b, depth, zeros, step_k)
        add_to_rows(b, sums, n_vectors, out_at, o0, stride)
        return context.get_dummy_value()

    index = (INDEX,) * 2
    arrays = (x, *index, weight, *index, INDEX, out, *index)
    return types.void(rows, lanes, vectors, *arrays), generate


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
def pointer(typing: Any, array: Any, first: Any) -> Any:
    """Return a pointer to number `first` of an array's memory."""

    def generate(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        return b.gep(memory(context, b, array, arguments[0]), [arguments[1]])

    kind: Any = types.CPointer
    return kind(array.dtype)(array, INDEX), generate
