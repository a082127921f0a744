"""The sum of squares of the code search, in the same order on every CPU."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from fcs_edge.kernels.gemm.panels import INDEX, intrinsic, memory
from fcs_edge.kernels.isa import simd
from fcs_edge.kernels.isa.simd import FLOAT, I32, I64, Builder, Value

_LANES = 8
"""Partial sums, on every CPU."""


@intrinsic
def sum_of_squares(typing: Any, x: Any, first: Any, size: Any) -> Any:
    """``sum_q x[first + q] ** 2``, q < size, a multiple of 8.

    There are 8 sums, of all q with the same q mod 8; then the last four, two, one are added to the
    first ones.
    """

    def generate(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        kind = simd.vector(FLOAT, _LANES)
        start = b.gep(memory(context, b, signature.args[0], arguments[0]), [arguments[1]])

        def step(i: Value, sums: list[Value]) -> list[Value]:
            value = simd.load(b, start, b.mul(i, I64(_LANES)), kind)
            return [simd.multiply_add(b, value, value, sums[0])]

        blocks = b.sdiv(arguments[2], I64(_LANES))
        (total,) = simd.repeat(b, blocks, [ir.Constant(kind, None)], step)
        lanes = _LANES
        while lanes > 1:
            lanes //= 2
            upper = ir.Constant(simd.vector(I32, lanes), list(range(lanes, 2 * lanes)))
            lower = ir.Constant(simd.vector(I32, lanes), list(range(lanes)))
            parts = (b.shuffle_vector(total, total, half) for half in (lower, upper))
            total = b.fadd(*parts)
        return b.extract_element(total, I32(0))

    return types.float32(x, INDEX, INDEX), generate
