"""Transforms of windows side by side, and the power in their bands: the steps of `spectrum`.

Like the microkernels, this module needs Numba; the factory imports it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.gemm.panels import INDEX, intrinsic, memory
from fcs_edge.kernels.isa import simd
from fcs_edge.kernels.isa.simd import FLOAT, I64, Builder, Value
from fcs_edge.kernels.runtime._jit import inline


@intrinsic
def butterfly(
    typing: Any, lanes: Any, work: Any, low: Any, high: Any, roots: Any, root: Any
) -> Any:
    """``x, y = x + r y, x - r y`` of complex x = work[low], y = work[high], r = roots[root].

    work is (size, 2, lanes), real and imaginary parts; lanes is literal.
    """
    n_lanes = lanes.literal_value

    def generate(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        kind = simd.vector(FLOAT, n_lanes)
        base, factors = (memory(context, b, signature.args[i], arguments[i]) for i in (1, 4))
        places = []
        for row in arguments[2:4]:
            real = b.mul(row, I64(2 * n_lanes))
            places += [real, b.add(real, I64(n_lanes))]
        x, x_i, y, y_i = (simd.load(b, base, place, kind) for place in places)
        at = b.mul(arguments[5], I64(2))
        c, s = (
            simd.splat(b, b.load(b.gep(factors, [part])), n_lanes)
            for part in (at, b.add(at, I64(1)))
        )
        turned = simd.multiply_add(b, y, c, b.fneg(b.fmul(y_i, s)))
        turned_i = simd.multiply_add(b, y, s, b.fmul(y_i, c))
        results = b.fadd(x, turned), b.fadd(x_i, turned_i), b.fsub(x, turned), b.fsub(x_i, turned_i)
        for place, result in zip(places, results, strict=True):
            simd.store(b, result, base, place)
        return context.get_dummy_value()

    return types.void(lanes, work, INDEX, INDEX, roots, INDEX), generate


@intrinsic
def band_power(
    typing: Any, lanes: Any, work: Any, weights: Any, first: Any, start: Any, stop: Any, out: Any
) -> Any:
    """``out[i] = sum_k weights[first + k] |work[k, i]| ** 2``, start <= k < stop in rising order.

    work is (size, 2, lanes), real and imaginary parts; out is (lanes,); lanes is literal.
    """
    n_lanes = lanes.literal_value

    def generate(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        kind = simd.vector(FLOAT, n_lanes)
        base, filters, sums = (
            memory(context, b, signature.args[i], arguments[i]) for i in (1, 2, 6)
        )
        first, start, stop = arguments[3:6]

        def step(i: Value, totals: list[Value]) -> list[Value]:
            k = b.add(start, i)
            at = b.mul(k, I64(2 * n_lanes))
            real, imaginary = (simd.load(b, base, b.add(at, I64(n)), kind) for n in (0, n_lanes))
            squares = simd.multiply_add(b, real, real, b.fmul(imaginary, imaginary))
            weight = simd.splat(b, b.load(b.gep(filters, [b.add(first, k)])), n_lanes)
            return [simd.multiply_add(b, weight, squares, totals[0])]

        count = b.sub(stop, start)
        (total,) = simd.repeat(b, count, [ir.Constant(kind, None)], step)
        simd.store(b, total, sums, I64(0))
        return context.get_dummy_value()

    return types.void(lanes, work, weights, INDEX, INDEX, INDEX, out), generate


@inline
def transform(lanes: int, work: F32, roots: F32) -> None:
    """``X[k] = sum_n x[n] exp(-2 pi i n k / size)``, in place; size is a power of two.

    work (size, 2, lanes), real and imaginary parts of windows side by side, holds x in the order of
    its bits reversed; roots (size / 2, 2) holds ``exp(-2 pi i k / size)``; lanes is a constant of
    the caller. Cooley and Tukey, An algorithm for the machine calculation of complex Fourier
    series, Mathematics of Computation 19 (1965).
    """
    size = work.shape[0]
    half = 1
    while half < size:
        step = size // (2 * half)
        for start in range(0, size, 2 * half):
            for k in range(half):
                butterfly(lanes, work, start + k, start + k + half, roots, k * step)
        half *= 2
