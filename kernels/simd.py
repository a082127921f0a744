"""The inner loop of a matrix product, written in vector instructions.

LLVM does not keep a block of sums in registers across a plain loop. `panel_product` emits that
loop as LLVM vector operations, for any row count and vector width; LLVM then picks the CPU's own
instructions (AVX-512, AVX2, NEON, ...).
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_FLOAT = ir.FloatType()
_INT = ir.IntType(64)
_LANE_INDEX = ir.IntType(32)


def host_lanes() -> int:
    """Return how many float32 numbers a vector register of this CPU holds."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 16
    return 8 if features.get("avx") else 4


def _declare(module: ir.Module, name: str, vector: ir.Type) -> ir.Function:
    """Declare an LLVM intrinsic of three vectors and a vector result."""
    known = module.globals.get(name)
    return known or ir.Function(module, ir.FunctionType(vector, [vector] * 3), name)


def panel_product(rows: int, lanes: int, vectors: int) -> Any:
    """Return an intrinsic that adds one panel's products to `rows` rows of the output.

    For m < rows and n < vectors * lanes::

        out[o0 + m * stride + n] += sum_k x[x0 + m * step + k] * weight[w0 + k * width + n]

    with width = vectors * lanes and k < depth, in rising order of k. All sums stay in registers;
    each weight is read once for all rows. Called as ``(x, x0, step, weight, w0, depth, out, o0,
    stride)``: contiguous float32 arrays, of which only the memory is used, and integers.
    """
    vector = ir.VectorType(_FLOAT, lanes)
    width = lanes * vectors

    def splat(b: ir.IRBuilder, scalar: ir.Value) -> ir.Value:
        undefined = ir.Constant(vector, ir.Undefined)
        first = b.insert_element(undefined, scalar, _LANE_INDEX(0))
        zeros = ir.Constant(ir.VectorType(_LANE_INDEX, lanes), [0] * lanes)
        return b.shuffle_vector(first, undefined, zeros)

    def address(b: ir.IRBuilder, base: ir.Value, offset: ir.Value) -> ir.Value:
        return b.bitcast(b.gep(base, [offset]), vector.as_pointer())

    def load(b: ir.IRBuilder, pointer: ir.Value) -> ir.Value:
        loaded = b.load(pointer)
        loaded.align = 4
        return loaded

    def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        x, weight, out = (
            context.make_array(signature.args[i])(context, b, arguments[i]).data for i in (0, 3, 6)
        )
        x0, step, w0, depth, o0, stride = (arguments[i] for i in (1, 2, 4, 5, 7, 8))
        multiply_add = _declare(b.module, f"llvm.fmuladd.v{lanes}f32", vector)
        row = [b.gep(x, [b.add(x0, b.mul(step, _INT(m)))]) for m in range(rows)]
        panel = b.gep(weight, [w0])

        before, loop, after = b.block, b.append_basic_block("k"), b.append_basic_block("done")
        b.cbranch(b.icmp_signed(">", depth, _INT(0)), loop, after)
        b.position_at_end(loop)
        k = b.phi(_INT)
        k.add_incoming(_INT(0), before)
        sums = [[b.phi(vector) for _ in range(vectors)] for _ in range(rows)]
        at = b.mul(k, _INT(width))
        weights = [load(b, address(b, panel, b.add(at, _INT(v * lanes)))) for v in range(vectors)]
        added = []
        for m in range(rows):
            value = splat(b, b.load(b.gep(row[m], [k])))
            added.append(
                [b.call(multiply_add, [value, weights[v], sums[m][v]]) for v in range(vectors)]
            )
        following = b.add(k, _INT(1))
        k.add_incoming(following, loop)
        zero = ir.Constant(vector, None)
        for m in range(rows):
            for v in range(vectors):
                sums[m][v].add_incoming(zero, before)
                sums[m][v].add_incoming(added[m][v], loop)
        b.cbranch(b.icmp_signed("<", following, depth), loop, after)

        b.position_at_end(after)
        totals = [[b.phi(vector) for _ in range(vectors)] for _ in range(rows)]
        for m in range(rows):
            start = b.add(o0, b.mul(stride, _INT(m)))
            for v in range(vectors):
                totals[m][v].add_incoming(zero, before)
                totals[m][v].add_incoming(added[m][v], loop)
                to = address(b, out, b.add(start, _INT(v * lanes)))
                stored = b.store(b.fadd(load(b, to), totals[m][v]), to)
                stored.align = 4
        return context.get_dummy_value()

    @intrinsic
    def product(
        typing: Any,
        x: Any,
        x0: Any,
        step: Any,
        weight: Any,
        w0: Any,
        depth: Any,
        out: Any,
        o0: Any,
        stride: Any,
    ) -> Any:
        at = types.intp
        return types.void(x, at, at, weight, at, at, out, at, at), generate

    return product
