"""Integer dot products as LLVM instructions: one function for each record of `instructions.DOTS`.

Each function takes a builder, weights, activations and sums, and returns
``sums[i] + sum_j weight[i * n + j] * activation[i * n + j]``, n as `Dot` says.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from fcs_edge.kernels.isa.instructions import Dot
from fcs_edge.kernels.isa.simd import I8, I16, I32, Builder, Value, call, vector


def _vpdpbusd(b: Builder, weight: Value, activation: Value, sums: Value) -> Value:
    words = [b.bitcast(factor, sums.type) for factor in (weight, activation)]
    return call(b, f"llvm.x86.avx512.vpdpbusd.{32 * sums.type.count}", sums.type, sums, *words)


def _pmaddwd(b: Builder, weight: Value, activation: Value, sums: Value) -> Value:
    names = {4: "sse2.pmadd.wd", 8: "avx2.pmadd.wd", 16: "avx512.pmaddw.d.512"}
    name = f"llvm.x86.{names[sums.type.count]}"
    return b.add(sums, call(b, name, sums.type, weight, activation))


BYTES = "fcs_dot_bytes"
"""Function of `PMADDWD_BYTES`: a target with such an instruction gives it another body."""


def _pmaddwd_bytes(b: Builder, weight: Value, activation: Value, sums: Value) -> Value:
    function = b.module.globals.get(BYTES)
    if function is None:
        kind = ir.FunctionType(sums.type, [weight.type, activation.type, sums.type])
        function = ir.Function(b.module, kind, BYTES)
        function.linkage = "linkonce_odr"
        inner = ir.IRBuilder(function.append_basic_block())
        inner.ret(_pairs_of_bytes(inner, *function.args))
    return b.call(function, [weight, activation, sums])


def _pairs_of_bytes(b: Builder, weight: Value, activation: Value, sums: Value) -> Value:
    """Multiply bytes 0 and 2 of each lane, then 1 and 3, each as a pair of int16."""
    pairs = vector(I16, 2 * sums.type.count)
    eight = ir.Constant(pairs, [8] * pairs.count)
    weights, activations = b.bitcast(weight, pairs), b.bitcast(activation, pairs)
    even = b.and_(weights, ir.Constant(pairs, [255] * pairs.count))
    sums = _pmaddwd(b, even, b.ashr(b.shl(activations, eight), eight), sums)
    return _pmaddwd(b, b.lshr(weights, eight), b.ashr(activations, eight), sums)


def _pmaddubsw(b: Builder, weight: Value, activation: Value, sums: Value) -> Value:
    names = {32: "avx2.pmadd.ub.sw", 64: "avx512.pmaddubs.w.512"}
    name = f"llvm.x86.{names[weight.type.count]}"
    return b.add(sums, call(b, name, sums.type, weight, activation))


def _sdot(b: Builder, weight: Value, activation: Value, sums: Value) -> Value:
    name = "llvm.aarch64.neon.sdot.v4i32.v16i8"
    return call(b, name, sums.type, sums, weight, activation)


def _smlal(b: Builder, weight: Value, activation: Value, sums: Value) -> Value:
    return b.add(sums, b.mul(b.sext(weight, sums.type), b.sext(activation, sums.type)))


def _mla(b: Builder, weight: Value, activation: Value, sums: Value) -> Value:
    return b.add(sums, b.mul(b.zext(weight, sums.type), b.sext(activation, sums.type)))


def _smull(b: Builder, weight: Value, activation: Value, sums: Value) -> Value:
    return multiply_across(b, weight, activation, sums)


def multiply_across(b: Builder, weight: Value, activation: Value, sums: Value | None) -> Value:
    """Return ``sums[i] + weight[i] * activation[i] + weight[i + 8] * activation[i + 8]``, i < 8.

    The factors are int8 and the sums int16. Without sums the products are returned.
    """
    added = sums
    for half in range(2):
        lanes = ir.Constant(vector(I32, 8), list(range(8 * half, 8 * half + 8)))
        parts = [b.shuffle_vector(factor, factor, lanes) for factor in (weight, activation)]
        product = call(b, "llvm.aarch64.neon.smull.v8i16", vector(I16, 8), *parts)
        added = product if added is None else b.add(added, product)
    return added


def sum_across(b: Builder, lanes: list[Value]) -> Value:
    """Return ``sum_i lanes[n][i]`` as int32 lane n < 4, of vectors of eight int16.

    Each sum must fit into int16.
    """
    name, kind = "llvm.aarch64.neon.addp.v8i16", lanes[0].type
    pairs = [call(b, name, kind, lanes[n], lanes[n + 1]) for n in (0, 2)]
    both = call(b, name, kind, *pairs)
    return call(b, "llvm.aarch64.neon.saddlp.v4i32.v8i16", vector(I32, 4), both)


def _sadalp(b: Builder, weight: Value, activation: Value, sums: Value) -> Value:
    """Add products of inputs i and i + 8 in int16, then neighbours of these in int32."""
    products = None
    for first in (0, 8):
        half = ir.Constant(vector(I32, 8), list(range(first, first + 8)))
        halves = [
            b.sext(b.shuffle_vector(x, x, half), vector(I16, 8)) for x in (weight, activation)
        ]
        product = b.mul(*halves)
        products = product if products is None else b.add(products, product)
    name = "llvm.aarch64.neon.saddlp.v4i32.v8i16"
    return b.add(sums, call(b, name, sums.type, products))


_EMIT: dict[str, Callable[[Builder, Value, Value, Value], Value]] = {
    "vpdpbusd": _vpdpbusd,
    "pmaddwd": _pmaddwd,
    "pmaddubsw": _pmaddubsw,
    "sdot": _sdot,
    "smlal": _smlal,
    "mla": _mla,
    "smull": _smull,
    "sadalp": _sadalp,
    "pmaddwd_bytes": _pmaddwd_bytes,
}


def emit(b: Builder, dot: Dot, weight: Value, activation: Value, sums: Value) -> Value:
    """Emit one step of a dot product; see `factors` and `sums` for the types."""
    return _EMIT[dot.name](b, weight, activation, sums)


def factors(dot: Dot, lanes: int) -> ir.VectorType:
    """Return the type of weights and activations of one step with so many int32 lanes."""
    return vector(I8 if dot.factor_bits == 8 else I16, lanes * dot.depth)


def sums(dot: Dot, lanes: int) -> ir.VectorType:
    """Return the type of the sums of one step with so many int32 lanes."""
    return vector(I16 if dot.fold_after else I32, lanes * dot.sums_per_lane)


def fold(b: Builder, narrow: Value, total: Value) -> Value:
    """Add int16 sums to int32: one a lane, or two side by side."""
    if narrow.type.count == total.type.count:
        return b.add(total, b.sext(narrow, total.type))
    return _pmaddwd(b, narrow, ir.Constant(narrow.type, [1] * narrow.type.count), total)
