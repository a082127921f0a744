"""The inner loop of products with 4-bit weights: activations of 8 bits, groups of inputs scaled.

Weights go in as numbers from 0 to 15, a value plus 8: two of them unpack in two operations.
``sum q * (u - 8) = sum q * u - 8 * sum q``, and the last sum is the same for all outputs.
`int4_across_microkernel` takes other weights.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from fcs_edge.kernels.gemm.int4_across_microkernel import across_inputs
from fcs_edge.kernels.gemm.integer_sums import MAGIC, float_of, group_scales
from fcs_edge.kernels.gemm.panels import (
    PREFETCH_BYTES,
    add_to_rows,
    intrinsic,
    members,
    prefetch_level,
    row_starts,
    spread,
)
from fcs_edge.kernels.isa import dot_products, simd
from fcs_edge.kernels.isa.instructions import DOTS
from fcs_edge.kernels.isa.simd import FLOAT, I32, I64, Builder, Value

ROUND = 32
"""Inputs that one round of the loop takes; a group is a multiple of it."""

_SUMS, _CHAINS = 8, 4
"""Sums of one row, and at most those of an output: a step need not wait for the one before."""


@intrinsic
def int4_panel(
    typing: Any, rows: Any, lanes: Any, vectors: Any, dot: Any, x: Any, panel: Any, out: Any
) -> Any:
    """For m < rows and n < width, g in rising order, k through group g, sums in int32.

    ``out[m, n] += sum_g panel.scale[g, n] * x.scale[m, g]
    * (x.offset[m, g] + sum_k x.q[m, k] * u[k, n])``, k < panel.size

    dot is a number of `DOTS`; x is `IntegerRows`, panel `IntegerPanel`, out `Rows`. q is int8,
    -127 to 127. The weight is uint8 and holds u in loads of lanes * depth bytes, two vectors in
    each: one in the low four bits, the next (by steps, then vectors) in the high ones. For a dot
    product across inputs it holds u - 8, and the offset is not used.

    panel.scale is float32, or float16 held in uint16, in rows of width = lanes * vectors.
    offset is int32, x.scale and out are float32.
    """
    n_rows, n_lanes, n_vectors = (a.literal_value for a in (rows, lanes, vectors))
    which = DOTS[dot.literal_value]
    depth, fold_after = which.depth, which.fold_after
    load_size = n_lanes * depth
    steps = ROUND // depth
    factors, narrow = (kind(which, n_lanes) for kind in (dot_products.factors, dot_products.sums))
    total = simd.vector(I32, n_lanes)
    # Sums in int16 are folded so often that their steps hardly wait for each other.
    chains = min(_CHAINS, _SUMS // n_vectors) if n_rows == 1 and not fold_after else 1
    width, level = n_lanes * n_vectors, prefetch_level(n_lanes)
    # To the first-level cache, twice the distance takes 1 to 2 % less time with these weights. With
    # int8 and float16 ones it takes 1 % more.
    ahead = 2 * PREFETCH_BYTES if level == 1 else PREFETCH_BYTES
    panel_size = ROUND * width // 2
    half = panel.types[1].dtype == types.uint16
    typed = types.void(rows, lanes, vectors, dot, x, panel, out)
    if which.across:
        return typed, across_inputs(n_rows, which, half)

    def fetch(b: Builder, weight: Value, j: Value) -> None:
        """Prefetch what a later round than j reads."""
        at = b.mul(j, I64(panel_size))
        if n_rows > 1:
            simd.prefetch(b, weight, b.add(at, I64(ahead)), panel_size, level)
        else:
            # One row leaves little time for prefetches: every other line is enough.
            for line in range(0, panel_size, 2 * simd.LINE):
                simd.prefetch(b, weight, b.add(at, I64(ahead + line)), simd.LINE, level)

    def unpacked(b: Builder, weight: Value, j: Value, first: int, count: int) -> list[Value]:
        """Return the weights of so many steps of round j, step by step and vector by vector."""
        at = b.mul(j, I64(panel_size))
        weights = []
        for i in range(first * n_vectors // 2, -(-(first + count) * n_vectors // 2)):
            word = simd.load(b, weight, b.add(at, I64(i * load_size)), factors)
            weights.append(b.and_(word, ir.Constant(factors, [15] * load_size)))
            weights.append(b.lshr(word, ir.Constant(factors, [4] * load_size)))
        return weights

    def generate(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        x_rows, weights_at, out_rows = (
            members(b, signature.args[i], arguments[i]) for i in (4, 5, 6)
        )
        size, group = weights_at.size, weights_at.group
        row = row_starts(b, x_rows.q, x_rows.pitch, n_rows)

        def added_by_step(j: Value, sums: list[Value]) -> list[Value]:
            """Add round j to sums: few weights are unpacked at once."""
            added = list(sums)
            # A load of activations, and one of weights, serve so many steps.
            shared, unpacked_at_once = 16 // depth, 1 if n_vectors > 1 else 2
            for start in range(0, steps, shared):
                first = b.add(b.mul(j, I64(ROUND)), I64(start * depth))
                values = [
                    spread(b, row[m], first, factors, depth, shared, True) for m in range(n_rows)
                ]
                for s in range(start, start + shared, unpacked_at_once):
                    weights = unpacked(b, weights_at.weight, j, s, unpacked_at_once)
                    for i, w in enumerate(weights):
                        step, v = s + i // n_vectors, i % n_vectors
                        for m in range(n_rows):
                            c = (m * n_vectors + v) * chains + step % chains
                            value = values[m][step - start]
                            added[c] = dot_products.emit(b, which, w, value, added[c])
            return added

        def round_(j: Value, sums: list[Value]) -> list[Value]:
            fetch(b, weights_at.weight, j)
            if which.by_lane and not fold_after:
                return added_by_step(j, sums)
            weights = unpacked(b, weights_at.weight, j, 0, steps)
            first = b.mul(j, I64(ROUND))
            added = list(sums)
            for m in range(n_rows):
                by_step = spread(b, row[m], first, factors, depth, steps, which.by_lane)
                for v in range(n_vectors):
                    at = (m * n_vectors + v) * chains
                    if not fold_after:
                        for s in range(steps):
                            c = at + s % chains
                            w = weights[s * n_vectors + v]
                            added[c] = dot_products.emit(b, which, w, by_step[s], added[c])
                        continue
                    for start in range(0, steps, fold_after):
                        part = ir.Constant(narrow, None)
                        for s in range(start, start + fold_after):
                            w = weights[s * n_vectors + v]
                            part = dot_products.emit(b, which, w, by_step[s], part)
                        added[at] = dot_products.fold(b, part, added[at])
            return added

        def group_(g: Value, sums: list[Value]) -> list[Value]:
            first = b.mul(g, group)
            rest = b.sub(size, first)
            inputs = b.select(b.icmp_signed("<", group, rest), group, rest)
            r = [b.add(b.mul(x_rows.groups, I64(m)), g) for m in range(n_rows)]
            starts = []
            for m in range(n_rows):
                offset = simd.splat(b, b.load(b.gep(x_rows.offset, [r[m]])), n_lanes)
                start = b.add(offset, ir.Constant(total, [MAGIC] * n_lanes))
                starts += ([start] + [ir.Constant(total, None)] * (chains - 1)) * n_vectors
            base = b.sdiv(first, I64(ROUND))
            chained = simd.repeat(
                b,
                b.sdiv(inputs, I64(ROUND)),
                starts,
                lambda i, values: round_(b.add(base, i), values),
            )
            scales_at = b.mul(g, I64(width))
            if n_rows > 1 and level == 1 and half:
                # A line for each group: the CPU fetches too few of them by itself.
                later = b.add(scales_at, I64(ahead // 16))
                simd.prefetch(b, weights_at.scale, later, 2 * width, level)
            by_output = group_scales(b, weights_at.scale, scales_at, half, kind_f, n_vectors)
            added = []
            for m in range(n_rows):
                by_row = simd.splat(b, b.load(b.gep(x_rows.scale, [r[m]])), n_lanes)
                for v in range(n_vectors):
                    at = (m * n_vectors + v) * chains
                    summed = chained[at]
                    for other in chained[at + 1 : at + chains]:
                        summed = b.add(summed, other)
                    old = sums[m * n_vectors + v]
                    scaled = b.fmul(by_output[v], by_row)
                    number = float_of(b, summed, kind_f)
                    added.append(simd.multiply_add(b, number, scaled, old))
            return added

        kind_f = simd.vector(FLOAT, n_lanes)
        zeros = [ir.Constant(kind_f, None)] * (n_rows * n_vectors)
        groups = b.sdiv(b.add(size, b.sub(group, I64(1))), group)
        sums = simd.repeat(b, groups, zeros, group_)
        add_to_rows(b, sums, n_vectors, out_rows)
        return context.get_dummy_value()

    return typed, generate
