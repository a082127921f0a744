"""The inner loop of products with 8-bit weights: activations of 12 bits, sums exact in int32.

Where the CPU multiplies 8 bits by 8 fastest, an activation q goes in as two numbers of 8 bits:
h and l, ``q = 16 h + l``, -8 <= l < 8.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from fcs_edge.kernels.gemm.packing import BLOCK
from fcs_edge.kernels.gemm.panels import (
    PREFETCH_BYTES,
    intrinsic,
    members,
    prefetch_level,
    row_starts,
    spread,
)
from fcs_edge.kernels.isa import dot_products, simd
from fcs_edge.kernels.isa.instructions import DOTS
from fcs_edge.kernels.isa.simd import FLOAT, I8, I64, Builder, Value

ROUND = 16
"""Inputs that one round of the loop takes."""


@intrinsic
def int8_panel(
    typing: Any, rows: Any, lanes: Any, vectors: Any, dot: Any, x: Any, panel: Any, out: Any
) -> Any:
    """For m < rows and n < lanes * vectors, k < panel.size.

    ``out[m, n] += panel.scale[n] * x.scale[m] * sum_k x.q[m, k] * panel.weight[k, n]``

    dot is a number of `DOTS`, depth the products of its lane. x is `IntegerRows`, panel
    `IntegerPanel`, out `Rows`.

    q is int16, or int8 where activations are split, l `BLOCK` numbers
    after h. The weight is int8 in steps of lanes * vectors outputs of depth products each. Where
    the instruction takes unsigned weights it is uint8, w + 128, and ``x.offset[m]`` is int32,
    ``-128 sum_k q[m, k]``. The rest is float32. A row is one group.
    """
    n_rows, n_lanes, n_vectors = (a.literal_value for a in (rows, lanes, vectors))
    which = DOTS[dot.literal_value]
    depth, parts = which.depth, 2 if which.split else 1
    factors, total = (kind(which, n_lanes) for kind in (dot_products.factors, dot_products.sums))
    steps = ROUND // depth
    kind_f = simd.vector(FLOAT, n_lanes)

    def weights_of(b: Builder, weight: Value, i: Value) -> list[Value]:
        """Return the weights of round i, step by step and vector by vector."""
        size = n_lanes * depth
        first = b.mul(i, I64(ROUND * n_lanes * n_vectors))
        if n_rows > 1:
            later = b.add(first, I64(PREFETCH_BYTES))
            simd.prefetch(b, weight, later, ROUND * n_lanes * n_vectors, prefetch_level(n_lanes))
        weights = []
        for j in range(steps * n_vectors):
            at = b.add(first, I64(j * size))
            raw = simd.load(b, weight, at, simd.vector(I8, size))
            weights.append(raw if factors.element == I8 else b.sext(raw, factors))
        return weights

    def generate(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        x_rows, weights_at, out_rows = (
            members(b, signature.args[i], arguments[i]) for i in (4, 5, 6)
        )
        row = row_starts(b, x_rows.q, x_rows.pitch, n_rows)

        def round_(i: Value, sums: list[Value]) -> list[Value]:
            weights = weights_of(b, weights_at.weight, i)
            added = list(sums)
            for m in range(n_rows):
                for part in range(parts):
                    first = b.add(b.mul(i, I64(ROUND)), I64(part * BLOCK))
                    values = spread(b, row[m], first, factors, depth, steps, which.by_lane)
                    for s, value in enumerate(values):
                        for v in range(n_vectors):
                            j = (m * parts + part) * n_vectors + v
                            w = weights[s * n_vectors + v]
                            added[j] = dot_products.emit(b, which, w, value, added[j])
            return added

        zeros = [ir.Constant(total, None)] * (n_rows * parts * n_vectors)
        sums = simd.repeat(b, b.sdiv(weights_at.size, I64(ROUND)), zeros, round_)
        for m in range(n_rows):
            by_row = simd.splat(b, b.load(b.gep(x_rows.scale, [I64(m)])), n_lanes)
            for v in range(n_vectors):
                summed = sums[m * parts * n_vectors + v]
                if parts > 1:
                    shift = ir.Constant(total, [4] * n_lanes)
                    summed = b.add(b.shl(summed, shift), sums[(m * parts + 1) * n_vectors + v])
                if which.unsigned_weights:
                    offset = b.load(b.gep(x_rows.offset, [I64(m)]))
                    summed = b.add(summed, simd.splat(b, offset, n_lanes))
                by_output = simd.load(b, weights_at.scale, I64(v * n_lanes), kind_f)
                at = b.add(b.mul(out_rows.pitch, I64(m)), I64(v * n_lanes))
                old = simd.load(b, out_rows.start, at, kind_f)
                scaled = b.fmul(by_output, by_row)
                # Not fused: where a panel is wider than out, `old` is a zero of a tile.
                product = b.fmul(b.sitofp(summed, kind_f), scaled)
                simd.store(b, b.fadd(old, product), out_rows.start, at)
        return context.get_dummy_value()

    return types.void(rows, lanes, vectors, dot, x, panel, out), generate
