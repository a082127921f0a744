"""The inner loop that only multiplies and adds: what a core can do at most."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from fcs_edge.kernels.gemm.core_limits import ROWS, TURNS
from fcs_edge.kernels.gemm.panels import INDEX, intrinsic, memory
from fcs_edge.kernels.isa import simd
from fcs_edge.kernels.isa.instructions import DEPTH, DOTS, INT4_DEPTH, INT4_DOTS, NARROW, SPLIT
from fcs_edge.kernels.isa.simd import FLOAT, I8, I16, I32, I64, Builder, Value


@intrinsic
def multiply_panel(
    typing: Any,
    lanes: Any,
    vectors: Any,
    bits: Any,
    dot: Any,
    factors: Any,
    count: Any,
    sums: Any,
) -> Any:
    """``sums[m, v] = sum_i x[i % TURNS, m] * y[i % TURNS, v]``, m < ROWS, i < count.

    factors holds x and y of each turn, `ROWS` and `vectors` vectors; like those of a product,
    they come from the nearest cache and the sums stay in registers. bits is 32, float32, or 8 or
    4, and dot a number of `instructions.DOTS` or `INT4_DOTS`.
    """
    n_lanes, n_vectors, n_bits, which = (a.literal_value for a in (lanes, vectors, bits, dot))
    eight, four = DOTS[which], INT4_DOTS[which]
    if n_bits == 32:
        factor = total = simd.vector(FLOAT, n_lanes)
    elif n_bits == 8:
        factor = simd.vector(I8 if eight in SPLIT else I16, n_lanes * DEPTH[eight])
        total = simd.vector(I32, n_lanes)
    else:
        factor = simd.vector(I8, n_lanes * INT4_DEPTH[four])
        narrow = simd.vector(I16, n_lanes * (2 if four == "pmaddubsw" else 1))
        total = narrow if four in NARROW else simd.vector(I32, n_lanes)

    def generate(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        x_at, out_at = (memory(context, b, signature.args[i], arguments[i]) for i in (4, 6))
        several = ROWS + n_vectors

        def multiply_add(x: Value, y: Value, z: Value) -> Value:
            if n_bits == 32:
                return simd.multiply_add(b, x, y, z)
            if n_bits == 8:
                return simd.dot(b, eight, x, y, z)
            return simd.int4_dot(b, four, x, y, z)

        def step(i: Value, old: list[Value]) -> list[Value]:
            start = b.mul(b.and_(i, I64(TURNS - 1)), I64(several * factor.count))
            x = [
                simd.load(b, x_at, b.add(start, I64(j * factor.count)), factor)
                for j in range(several)
            ]
            pairs = [(x[m], x[ROWS + v]) for m in range(ROWS) for v in range(n_vectors)]
            return [multiply_add(*pair, z) for pair, z in zip(pairs, old, strict=True)]

        zeros = [ir.Constant(total, None)] * (ROWS * n_vectors)
        for j, value in enumerate(simd.repeat(b, arguments[5], zeros, step)):
            simd.store(b, value, out_at, I64(j * total.count))
        return context.get_dummy_value()

    return types.void(lanes, vectors, bits, dot, factors, INDEX, sums), generate
