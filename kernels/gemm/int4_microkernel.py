"""The inner loop of products with 4-bit weights: activations of 8 bits, groups of inputs scaled.

Weights go in as numbers from 0 to 15, a value plus 8, for two of them unpack in two operations;
``sum q * (u - 8) = sum q * u - 8 * sum q``, and the last sum is the same for all outputs.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from fcs_edge.kernels.gemm.panels import AHEAD, INDEX, add_to_rows, intrinsic, memory, spread
from fcs_edge.kernels.isa import simd
from fcs_edge.kernels.isa.instructions import BY_LANE, INT4_DEPTH, INT4_DOTS, NARROW
from fcs_edge.kernels.isa.simd import FLOAT, HALF, I8, I16, I32, I64, Builder, Value

ROUND = 32
"""Inputs that one round of the loop takes; a group is a multiple of it."""

_CHAINS = 4
"""Sums that the steps of one row take turns in: a step need not wait for the one before."""


@intrinsic
def int4_panel(
    typing: Any,
    rows: Any,
    lanes: Any,
    vectors: Any,
    kind: Any,
    q: Any,
    q0: Any,
    pitch: Any,
    row_scale: Any,
    offset: Any,
    r0: Any,
    row_groups: Any,
    weight: Any,
    w0: Any,
    size: Any,
    group: Any,
    scale: Any,
    s0: Any,
    out: Any,
    o0: Any,
    stride: Any,
) -> Any:
    """For m < rows and n < width, g in rising order, k through group g, sums in int32.

    ``out[o0 + m * stride + n] += sum_g scale[s0 + g * width + n] * row_scale[r(m, g)]
    * (offset[r(m, g)] + sum_k q[q0 + m * pitch + k] * u[k, n])``

    where ``r(m, g) = r0 + m * row_groups + g`` and k < size, a multiple of `ROUND`, as group is.
    kind is a number of `INT4_DOTS`. q is int8, -127 to 127; weight is uint8 and holds u in
    loads of lanes * depth bytes, two vectors in each, one in the low four bits and the next, in
    the order of steps and vectors, in the high ones. scale is float32, or float16 held in
    uint16; offset is int32, row_scale and out are float32. width is lanes * vectors.
    """
    n_rows, n_lanes, n_vectors = (a.literal_value for a in (rows, lanes, vectors))
    dot = INT4_DOTS[kind.literal_value]
    depth = INT4_DEPTH[dot]
    load_size = n_lanes * depth
    steps = ROUND // depth
    factors = simd.vector(I8, load_size)
    total = simd.vector(I32, n_lanes)
    narrow = simd.vector(I16, n_lanes * (2 if dot == "pmaddubsw" else 1))
    fold_after = NARROW.get(dot, 0)
    # Sums in int16 are folded so often that their steps hardly wait for each other.
    chains = _CHAINS if n_rows == 1 and not fold_after else 1
    width = n_lanes * n_vectors
    panel_size = ROUND * width // 2
    half = scale.dtype == types.uint16

    def unpacked(b: Builder, panel: Value, j: Value) -> list[Value]:
        """Return the weights of round j, step by step and vector by vector."""
        at = b.mul(j, I64(panel_size))
        if n_rows > 1:
            simd.prefetch(b, panel, b.add(at, I64(AHEAD)), panel_size)
        found = []
        for i in range(panel_size // load_size):
            word = simd.load(b, panel, b.add(at, I64(i * load_size)), factors)
            found.append(b.and_(word, ir.Constant(factors, [15] * load_size)))
            found.append(b.lshr(word, ir.Constant(factors, [4] * load_size)))
        return found

    def generate(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        q_at, row_at, offset_at, w_at, scale_at, out_at = (
            memory(context, b, signature.args[i], arguments[i]) for i in (4, 7, 8, 11, 15, 17)
        )
        q0, pitch, r0, row_groups, w0 = (arguments[i] for i in (5, 6, 9, 10, 12))
        size, group, s0, o0, stride = (arguments[i] for i in (13, 14, 16, 18, 19))
        row = [b.gep(q_at, [b.add(q0, b.mul(pitch, I64(m)))]) for m in range(n_rows)]
        panel = b.gep(w_at, [w0])

        def round_(j: Value, sums: list[Value]) -> list[Value]:
            weights = unpacked(b, panel, j)
            first = b.mul(j, I64(ROUND))
            added = list(sums)
            for m in range(n_rows):
                by_step = spread(b, row[m], first, factors, depth, steps, dot in BY_LANE)
                for v in range(n_vectors):
                    at = (m * n_vectors + v) * chains
                    if not fold_after:
                        for s in range(steps):
                            c = at + s % chains
                            w = weights[s * n_vectors + v]
                            added[c] = simd.int4_dot(b, dot, w, by_step[s], added[c])
                        continue
                    for start in range(0, steps, fold_after):
                        part = ir.Constant(narrow, None)
                        for s in range(start, start + fold_after):
                            w = weights[s * n_vectors + v]
                            part = simd.int4_dot(b, dot, w, by_step[s], part)
                        added[at] = simd.fold(b, part, added[at])
            return added

        def group_(g: Value, sums: list[Value]) -> list[Value]:
            first = b.mul(g, group)
            left = b.sub(size, first)
            inputs = b.select(b.icmp_signed("<", group, left), group, left)
            r = [b.add(b.add(r0, b.mul(row_groups, I64(m))), g) for m in range(n_rows)]
            starts = []
            for m in range(n_rows):
                start = simd.splat(b, b.load(b.gep(offset_at, [r[m]])), n_lanes)
                starts += ([start] + [ir.Constant(total, None)] * (chains - 1)) * n_vectors
            base = b.sdiv(first, I64(ROUND))
            whole = simd.repeat(
                b,
                b.sdiv(inputs, I64(ROUND)),
                starts,
                lambda i, values: round_(b.add(base, i), values),
            )
            scales_at = b.add(s0, b.mul(g, I64(width)))
            stored = simd.vector(HALF if half else FLOAT, n_lanes)
            kind_f = simd.vector(FLOAT, n_lanes)
            by_output = []
            for v in range(n_vectors):
                loaded = simd.load(b, scale_at, b.add(scales_at, I64(v * n_lanes)), stored)
                by_output.append(b.fpext(loaded, kind_f) if half else loaded)
            added = []
            for m in range(n_rows):
                by_row = simd.splat(b, b.load(b.gep(row_at, [r[m]])), n_lanes)
                for v in range(n_vectors):
                    at = (m * n_vectors + v) * chains
                    summed = whole[at]
                    for other in whole[at + 1 : at + chains]:
                        summed = b.add(summed, other)
                    old = sums[m * n_vectors + v]
                    scaled = b.fmul(by_output[v], by_row)
                    added.append(simd.multiply_add(b, b.sitofp(summed, kind_f), scaled, old))
            return added

        kind_f = simd.vector(FLOAT, n_lanes)
        zeros = [ir.Constant(kind_f, None)] * (n_rows * n_vectors)
        groups = b.sdiv(b.add(size, b.sub(group, I64(1))), group)
        sums = simd.repeat(b, groups, zeros, group_)
        add_to_rows(b, sums, n_vectors, out_at, o0, stride)
        return context.get_dummy_value()

    index = (INDEX,)
    arrays = (
        *(q, *index * 2, row_scale, offset, *index * 2, weight, *index * 3),
        *(scale, *index, out, *index * 2),
    )
    return types.void(rows, lanes, vectors, kind, *arrays), generate
