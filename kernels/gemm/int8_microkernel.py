"""The inner loop of products with 8-bit weights: activations of 12 bits, sums exact in int32.

Where the CPU multiplies 8 bits by 8 the fastest, an activation q goes in as h and l of 8 bits,
``q = 16 h + l``, -8 <= l < 8.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from fcs_edge.kernels.gemm.packing import BLOCK
from fcs_edge.kernels.gemm.panels import AHEAD, INDEX, intrinsic, memory, spread
from fcs_edge.kernels.isa import simd
from fcs_edge.kernels.isa.instructions import BY_LANE, DEPTH, DOTS, SPLIT
from fcs_edge.kernels.isa.simd import FLOAT, I8, I16, I32, I64, Builder, Value

ROUND = 16
"""Inputs that one round of the loop takes."""


@intrinsic
def int8_panel(
    typing: Any,
    rows: Any,
    lanes: Any,
    vectors: Any,
    kind: Any,
    q: Any,
    q0: Any,
    pitch: Any,
    weight: Any,
    w0: Any,
    size: Any,
    scale: Any,
    s0: Any,
    row_scale: Any,
    offset: Any,
    r0: Any,
    out: Any,
    o0: Any,
    stride: Any,
) -> Any:
    """For m < rows and n < lanes * vectors, k < size, a multiple of `ROUND`.

    ``out[o0 + m * stride + n] += scale[s0 + n] * row_scale[r0 + m] * sum_k q[m, k] * w[k, n]``

    kind is a number of `DOTS`, depth the products a lane of it. q holds rows from q0 on, pitch
    apart: int16, or int8 where the kind is in `SPLIT`, l `BLOCK` numbers after h. weight is int8
    in steps of lanes * vectors outputs of depth products each. For vpdpbusd it is uint8, w + 128,
    and ``offset[r0 + m]`` int32, ``-128 sum_k q[m, k]``. The rest is float32.
    """
    n_rows, n_lanes, n_vectors = (a.literal_value for a in (rows, lanes, vectors))
    dot = DOTS[kind.literal_value]
    depth = DEPTH[dot]
    parts = 2 if dot in SPLIT else 1
    element = I8 if dot in SPLIT else I16
    factors = simd.vector(element, n_lanes * depth)
    total = simd.vector(I32, n_lanes)
    steps = ROUND // depth
    kind_f = simd.vector(FLOAT, n_lanes)

    def weights_of(b: Builder, panel: Value, i: Value) -> list[Value]:
        """Return the weights of round i, step by step and vector by vector."""
        size = n_lanes * depth
        first = b.mul(i, I64(ROUND * n_lanes * n_vectors))
        if n_rows > 1:
            simd.prefetch(b, panel, b.add(first, I64(AHEAD)), ROUND * n_lanes * n_vectors)
        found = []
        for j in range(steps * n_vectors):
            at = b.add(first, I64(j * size))
            raw = simd.load(b, panel, at, simd.vector(I8, size))
            found.append(raw if element == I8 else b.sext(raw, factors))
        return found

    def generate(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        q_at, w_at, scale_at, row_at, offset_at, out_at = (
            memory(context, b, signature.args[i], arguments[i]) for i in (4, 7, 10, 12, 13, 15)
        )
        q0, pitch, w0, size, s0, r0, o0, stride = (
            arguments[i] for i in (5, 6, 8, 9, 11, 14, 16, 17)
        )
        row = [b.gep(q_at, [b.add(q0, b.mul(pitch, I64(m)))]) for m in range(n_rows)]
        panel = b.gep(w_at, [w0])

        def round_(i: Value, sums: list[Value]) -> list[Value]:
            weights = weights_of(b, panel, i)
            added = list(sums)
            for m in range(n_rows):
                for part in range(parts):
                    first = b.add(b.mul(i, I64(ROUND)), I64(part * BLOCK))
                    values = spread(b, row[m], first, factors, depth, steps, dot in BY_LANE)
                    for s, value in enumerate(values):
                        for v in range(n_vectors):
                            j = (m * parts + part) * n_vectors + v
                            w = weights[s * n_vectors + v]
                            added[j] = simd.dot(b, dot, w, value, added[j])
            return added

        zeros = [ir.Constant(total, None)] * (n_rows * parts * n_vectors)
        sums = simd.repeat(b, b.sdiv(size, I64(ROUND)), zeros, round_)
        for m in range(n_rows):
            r = b.add(r0, I64(m))
            by_row = simd.splat(b, b.load(b.gep(row_at, [r])), n_lanes)
            for v in range(n_vectors):
                whole = sums[m * parts * n_vectors + v]
                if parts > 1:
                    shift = ir.Constant(total, [4] * n_lanes)
                    whole = b.add(b.shl(whole, shift), sums[(m * parts + 1) * n_vectors + v])
                if dot == "vpdpbusd":
                    whole = b.add(whole, simd.splat(b, b.load(b.gep(offset_at, [r])), n_lanes))
                by_output = simd.load(b, scale_at, b.add(s0, I64(v * n_lanes)), kind_f)
                at = b.add(b.add(o0, b.mul(stride, I64(m))), I64(v * n_lanes))
                old = simd.load(b, out_at, at, kind_f)
                scaled = b.fmul(by_output, by_row)
                new = simd.multiply_add(b, b.sitofp(whole, kind_f), scaled, old)
                simd.store(b, new, out_at, at)
        return context.get_dummy_value()

    index = (INDEX,)
    arrays = (
        *(q, *index * 2, weight, *index * 2, scale, *index),
        *(row_scale, offset, *index, out, *index * 2),
    )
    return types.void(rows, lanes, vectors, kind, *arrays), generate
