"""The inner loop that only multiplies and adds: what a core can do at most."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from fcs_edge.kernels.gemm.panels import INDEX, intrinsic, memory
from fcs_edge.kernels.gemm.peak_shape import ROWS, TURNS
from fcs_edge.kernels.isa import dot_products, simd
from fcs_edge.kernels.isa.instructions import DOTS
from fcs_edge.kernels.isa.simd import FLOAT, I64, Builder, Value


@intrinsic
def multiply_panel(
    typing: Any, lanes: Any, vectors: Any, dot: Any, factors: Any, count: Any, sums: Any
) -> Any:
    """``sums[m, v] = sum_i x[i % TURNS, m] * y[i % TURNS, v]``, m < ROWS, i < count.

    factors holds x and y of each turn: `ROWS` and `vectors` vectors. As in a product, they come
    from the nearest cache and the sums stay in registers.

    dot is a number of `DOTS`, or negative
    for float32.
    """
    n_lanes, n_vectors, number = (a.literal_value for a in (lanes, vectors, dot))
    which = DOTS[number] if number >= 0 else None
    factor = total = simd.vector(FLOAT, n_lanes)
    if which is not None:
        factor, total = (kind(which, n_lanes) for kind in (dot_products.factors, dot_products.sums))

    def generate(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        x_at, out_at = (memory(context, b, signature.args[i], arguments[i]) for i in (3, 5))
        several = ROWS + n_vectors

        def multiply_add(x: Value, y: Value, z: Value) -> Value:
            if which is None:
                return simd.multiply_add(b, x, y, z)
            return dot_products.emit(b, which, x, y, z)

        def step(i: Value, old: list[Value]) -> list[Value]:
            start = b.mul(b.and_(i, I64(TURNS - 1)), I64(several * factor.count))
            x = [
                simd.load(b, x_at, b.add(start, I64(j * factor.count)), factor)
                for j in range(several)
            ]
            pairs = [(x[m], x[ROWS + v]) for m in range(ROWS) for v in range(n_vectors)]
            return [multiply_add(*pair, z) for pair, z in zip(pairs, old, strict=True)]

        zeros = [ir.Constant(total, None)] * (ROWS * n_vectors)
        for j, value in enumerate(simd.repeat(b, arguments[4], zeros, step)):
            simd.store(b, value, out_at, I64(j * total.count))
        return context.get_dummy_value()

    return types.void(lanes, vectors, dot, factors, INDEX, sums), generate
