"""Sums of float32 rows in vector lanes, in the one order of `isa.lanes`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fcs_edge.kernels.runtime._jit import intrinsic


@intrinsic
def total(typing: Any, x: Any) -> Any:
    """``sum_i x[i]``; x (size,) float32, contiguous."""
    from fcs_edge.kernels.isa.simd import Builder, Value

    def step(b: Builder, parts: list[Value], sums: Value, _: list[Value]) -> Value:
        return b.fadd(sums, parts[0])

    return _sum([x], [], step)


@intrinsic
def squares(typing: Any, x: Any, mean: Any) -> Any:
    """``sum_i (x[i] - mean) ** 2``, product and sum fused; x (size,) float32, contiguous."""
    from fcs_edge.kernels.isa import lanes, simd
    from fcs_edge.kernels.isa.simd import Builder, Value

    def step(b: Builder, parts: list[Value], sums: Value, numbers: list[Value]) -> Value:
        distance = b.fsub(parts[0], simd.splat(b, numbers[0], lanes.LANES))
        return simd.multiply_add(b, distance, distance, sums)

    return _sum([x], [mean], step)


@intrinsic
def dot(typing: Any, x: Any, y: Any) -> Any:
    """``sum_i x[i] * y[i]``, product and sum fused; x and y (size,) float32, contiguous."""
    from fcs_edge.kernels.isa import simd
    from fcs_edge.kernels.isa.simd import Builder, Value

    def step(b: Builder, parts: list[Value], sums: Value, _: list[Value]) -> Value:
        return simd.multiply_add(b, parts[0], parts[1], sums)

    return _sum([x, y], [], step)


def _sum(arrays: list[Any], numbers: list[Any], step: Callable[..., Any]) -> Any:
    """Return signature and emitter of a sum over arrays, whose step takes numbers too.

    What stands in for numbers beyond the end is 0, or where there is one, the number.
    """
    from llvmlite import ir
    from numba import types

    from fcs_edge.kernels.isa import lanes
    from fcs_edge.kernels.isa.simd import FLOAT, Builder, Value

    if not all(_is_row(array) for array in arrays) or any(n != types.float32 for n in numbers):
        return None

    def generate(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        rows = [
            context.make_array(kind)(context, b, value)
            for kind, value in zip(signature.args, arguments, strict=False)
            if isinstance(kind, types.Array)
        ]
        others = list(arguments[len(rows) :])
        fills = (others or [ir.Constant(FLOAT, 0.0)]) * len(rows)
        size = b.extract_value(rows[0].shape, 0)
        return lanes.sum_up(
            b,
            [row.data for row in rows],
            size,
            fills,
            lambda parts, sums: step(b, parts, sums, others),
        )

    return types.float32(*arrays, *numbers), generate


def _is_row(kind: Any) -> bool:
    from numba import types

    return (
        isinstance(kind, types.Array)
        and kind.dtype == types.float32
        and kind.ndim == 1
        and kind.layout == "C"
    )
