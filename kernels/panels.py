"""The inner loops of matrix products: one panel of outputs, a few rows, sums in registers.

Each is one intrinsic, emitted for the row count, vector width and weight type it is called with.
Arrays are contiguous, of any shape: only their memory is used. The first arguments are literal
numbers, or constants of the function around.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import extending, types

from fcs_edge.kernels import simd
from fcs_edge.kernels.instructions import DEPTH, Dot
from fcs_edge.kernels.simd import FLOAT, HALF, I8, I16, I32, I64, Builder, Value

_INDEX = types.intp
DOTS: tuple[Dot, ...] = ("pmaddwd", "sdot", "smlal")
"""What integer panels call by number: kernels are told apart by the numbers in them."""
AHEAD = 4096
"""Bytes that weights are prefetched ahead, where that gains: 10 to 40 % for float16 and 4 bits over
several rows, on AVX-512 and AVX2. Float32 reads at the memory's full rate without."""

SPLIT = 16
"""sdot multiplies 8 bits by 8: an activation q goes in as h and l, q = 16 h + l, -8 <= l < 8."""


def _intrinsic(function: Callable[..., Any]) -> Any:
    return extending.intrinsic(prefer_literal=True)(function)


def _memory(context: Any, b: Builder, kind: Any, array: Any) -> Value:
    if isinstance(kind, types.CPointer):
        return array
    return context.make_array(kind)(context, b, array).data


@_intrinsic
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
            _memory(context, b, signature.args[i], arguments[i]) for i in (3, 6, 10)
        )
        x0, step, w0, pitch, depth, o0, stride = (arguments[i] for i in (4, 5, 7, 8, 9, 11, 12))
        row = [b.gep(x_at, [b.add(x0, b.mul(step, I64(m)))]) for m in range(n_rows)]
        panel = b.gep(w_at, [w0])
        stored = simd.vector(HALF if half else FLOAT, n_lanes)
        used = simd.vector(FLOAT, n_lanes)

        def step_k(k: Value, sums: list[Value]) -> list[Value]:
            at = b.mul(k, pitch)
            if half and n_rows > 1:
                size = 2 * n_lanes * n_vectors
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
        for m in range(n_rows):
            for v in range(n_vectors):
                at = b.add(b.add(o0, b.mul(stride, I64(m))), I64(v * n_lanes))
                old = simd.load(b, out_at, at, used)
                simd.store(b, b.fadd(old, sums[m * n_vectors + v]), out_at, at)
        return context.get_dummy_value()

    index = (_INDEX,) * 2
    arrays = (x, *index, weight, *index, _INDEX, out, *index)
    return types.void(rows, lanes, vectors, *arrays), generate


@_intrinsic
def integer_panel(
    typing: Any,
    rows: Any,
    lanes: Any,
    vectors: Any,
    kind: Any,
    bits: Any,
    x: Any,
    x0: Any,
    step: Any,
    weight: Any,
    w0: Any,
    steps: Any,
    scale: Any,
    s0: Any,
    row_scale: Any,
    r0: Any,
    out: Any,
    o0: Any,
    stride: Any,
) -> Any:
    """For m < rows and n < lanes * vectors, sums in int32, exact in any order.

    ``out[o0 + m * stride + n] += scale[s0 + n] * row_scale[r0 + m] * sum_k q[m, k] * w[k, n]``

    kind is a number of `DOTS`, depth the products a lane of it. x holds q as int16, or, for
    sdot, as int8, four h and four l in turn (`SPLIT`). weight is int8: `steps` steps of
    lanes * vectors outputs of depth products each; 4-bit weights lie as `nibbles` says. scale,
    row_scale and out are float32.
    """
    n_rows, n_lanes, n_vectors = (a.literal_value for a in (rows, lanes, vectors))
    n_bits = bits.literal_value
    dot = DOTS[kind.literal_value]
    depth = DEPTH[dot]
    element = I8 if dot == "sdot" else I16
    factors = simd.vector(element, n_lanes * depth)
    total = simd.vector(I32, n_lanes)
    parts = 2 if dot == "sdot" else 1
    # Steps that one round of the loop takes: a load of 4-bit weights holds several vectors.
    unroll = max(1, nibbles(n_lanes, dot)[0] // n_vectors) if n_bits == 4 else 1

    def unpacked(b: Builder, panel: Value, i: Value) -> list[Value]:
        """Return the weights of one round, step by step and vector by vector."""
        if n_bits == 8:
            size = n_lanes * depth
            at = b.mul(i, I64(n_vectors * size))
            raw = [
                simd.load(b, panel, b.add(at, I64(v * size)), simd.vector(I8, size))
                for v in range(n_vectors)
            ]
            return raw if element == I8 else [b.sext(r, factors) for r in raw]
        per_load, size = nibbles(n_lanes, dot)
        loads = unroll * n_vectors // per_load
        at = b.mul(i, I64(loads * size))
        simd.prefetch(b, panel, b.add(at, I64(AHEAD)), loads * size)
        found = []
        for j in range(loads):
            word = simd.load(b, panel, b.add(at, I64(j * size)), factors)
            top = element.width - 4
            for nibble in range(per_load):
                high = b.shl(word, ir.Constant(factors, [top - 4 * nibble] * factors.count))
                found.append(b.ashr(high, ir.Constant(factors, [top] * factors.count)))
        return found

    def generate(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        x_at, w_at, scale_at, row_at, out_at = (
            _memory(context, b, signature.args[i], arguments[i]) for i in (5, 8, 11, 13, 15)
        )
        x0, step, w0, steps, s0, r0, o0, stride = (
            arguments[i] for i in (6, 7, 9, 10, 12, 14, 16, 17)
        )
        row = [b.gep(x_at, [b.add(x0, b.mul(step, I64(m)))]) for m in range(n_rows)]
        panel = b.gep(w_at, [w0])

        def activation(m: int, k: Value, part: int) -> Value:
            if depth == 1:
                return simd.splat(b, b.load(b.gep(row[m], [k])), n_lanes)
            # A step is four bytes of each part, counted in x's own elements.
            size = 4 if dot == "sdot" else 2
            at = b.add(b.mul(k, I64(parts * size)), I64(part * size))
            several = simd.load(b, row[m], at, I32)
            return b.bitcast(simd.splat(b, several, n_lanes), factors)

        def round_(i: Value, sums: list[Value]) -> list[Value]:
            weights = unpacked(b, panel, i)
            added = list(sums)
            for s in range(unroll):
                k = b.add(b.mul(i, I64(unroll)), I64(s))
                for m in range(n_rows):
                    for part in range(parts):
                        value = activation(m, k, part)
                        for v in range(n_vectors):
                            j = (m * parts + part) * n_vectors + v
                            added[j] = simd.dot(b, dot, weights[s * n_vectors + v], value, added[j])
            return added

        zeros = [ir.Constant(total, None)] * (n_rows * parts * n_vectors)
        rounds = b.sdiv(steps, I64(unroll))
        sums = simd.repeat(b, rounds, zeros, round_)
        kind_f = simd.vector(FLOAT, n_lanes)
        for m in range(n_rows):
            by_row = simd.splat(b, b.load(b.gep(row_at, [b.add(r0, I64(m))])), n_lanes)
            for v in range(n_vectors):
                whole = sums[m * parts * n_vectors + v]
                if parts > 1:
                    shift = ir.Constant(total, [4] * n_lanes)
                    whole = b.add(b.shl(whole, shift), sums[(m * parts + 1) * n_vectors + v])
                by_output = simd.load(b, scale_at, b.add(s0, I64(v * n_lanes)), kind_f)
                at = b.add(b.add(o0, b.mul(stride, I64(m))), I64(v * n_lanes))
                old = simd.load(b, out_at, at, kind_f)
                scaled = b.fmul(by_output, by_row)
                new = simd.multiply_add(b, b.sitofp(whole, kind_f), scaled, old)
                simd.store(b, new, out_at, at)
        return context.get_dummy_value()

    index = (_INDEX,) * 2
    arrays = (x, *index, weight, *index, scale, _INDEX, row_scale, _INDEX, out, *index)
    return types.void(rows, lanes, vectors, kind, bits, *arrays), generate


def nibbles(lanes: int, dot: Dot) -> tuple[int, int]:
    """Return how many vectors of 4-bit weights one load holds, and its bytes.

    The load is as wide as a vector of factors. Its int16 (for sdot int8) element e holds, from
    the lowest four bits up, element e of vectors 0, 1, ... in the order of steps and vectors.
    """
    elements = lanes * DEPTH[dot]
    return (2, elements) if dot == "sdot" else (4, 2 * elements)


@_intrinsic
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

    pointer: Any = types.CPointer
    return pointer(element)(dtype, size), generate
