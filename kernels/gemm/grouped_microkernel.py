"""The inner loop of products of 8-bit weights with activations of 8 bits in groups of inputs.

An activation goes in as ``a = q - base``: a signed or an unsigned number of 8 bits, as the CPU
multiplies it, or q itself in 16 bits, with a base of 0. ``sum q w = sum a w + base * sum w``, and
packing computes the last sum.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from fcs_edge.kernels.gemm.integer_sums import MAGIC, float_of
from fcs_edge.kernels.gemm.packing import GROUP
from fcs_edge.kernels.gemm.panels import (
    PREFETCH_BYTES,
    intrinsic,
    members,
    prefetch_level,
    row_starts,
    spread,
)
from fcs_edge.kernels.isa import dot_products, simd
from fcs_edge.kernels.isa.instructions import DOTS, Dot
from fcs_edge.kernels.isa.simd import FLOAT, I8, I16, I32, I64, Builder, Value

ROUND = 16
"""Inputs that one round of the loop takes."""

_CHAINS = 2
"""Sums that the steps of one row take in turn: a step need not wait for the one before."""


class GroupedPanel(NamedTuple):
    """A panel of 8-bit weights, pointers: values, sums of values by group, and scales."""

    weight: Any
    sums: Any
    scale: Any
    size: Any
    """Inputs: a multiple of `ROUND`."""


@intrinsic
def grouped_panel(
    typing: Any, rows: Any, lanes: Any, vectors: Any, dot: Any, x: Any, panel: Any, out: Any
) -> Any:
    """For m < rows and n < lanes * vectors, g in rising order, k through group g.

    ``out[m, n] += panel.scale[n] * sum_g x.scale[m, g] * (
    x.offset[m, g] * panel.sums[g, n] + sum_k x.q[m, k] * panel.weight[k, n])``, k < panel.size

    The sums over k are exact in int32. dot is a number of `DOTS`; x is `IntegerRows`, panel
    `GroupedPanel`, out `Rows`. x.q is int8, uint8 or int16, x.offset int32, the base of a group.
    panel.weight is int8 in steps of lanes * vectors outputs of depth products each, panel.sums is
    int16 in rows of lanes * vectors; a group has `GROUP` inputs. The rest is float32.
    """
    n_rows, n_lanes, n_vectors = (a.literal_value for a in (rows, lanes, vectors))
    which = DOTS[dot.literal_value]
    kind_f, total = simd.vector(FLOAT, n_lanes), simd.vector(I32, n_lanes)
    width = n_lanes * n_vectors
    chains = _CHAINS if n_rows == 1 and not which.across else 1
    magic = ir.Constant(total, [MAGIC] * n_lanes)

    def started(b: Builder, x_rows: Any, sums_at: Value, r: list[Value]) -> list[Value]:
        """Return what the sums of a group start at: base times the sum of weights, and `MAGIC`."""
        if which.factor_bits == 16:
            return [magic] * (n_rows * n_vectors)
        sums = []
        for v in range(n_vectors):
            stored = simd.load(b, sums_at, I64(v * n_lanes), simd.vector(I16, n_lanes))
            sums.append(b.sext(stored, total))
        starts = []
        for m in range(n_rows):
            base = simd.splat(b, b.load(b.gep(x_rows.offset, [r[m]])), n_lanes)
            starts += [b.add(magic, b.mul(base, s)) for s in sums]
        return starts

    def generate(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        x_rows, weights_at, out_rows = (
            members(b, signature.args[i], arguments[i]) for i in (4, 5, 6)
        )
        row = row_starts(b, x_rows.q, x_rows.pitch, n_rows)
        group = I64(GROUP)

        def group_(g: Value, scaled: list[Value]) -> list[Value]:
            first = b.mul(g, group)
            rest = b.sub(weights_at.size, first)
            inputs = b.select(b.icmp_signed("<", group, rest), group, rest)
            r = [b.add(b.mul(x_rows.groups, I64(m)), g) for m in range(n_rows)]
            starts = started(b, x_rows, b.gep(weights_at.sums, [b.mul(g, I64(width))]), r)
            base, rounds = b.sdiv(first, I64(ROUND)), b.sdiv(inputs, I64(ROUND))
            if which.across:
                zeros = [ir.Constant(total, None)] * (n_rows * width)

                def across(i: Value, values: list[Value]) -> list[Value]:
                    at = b.mul(b.add(base, i), I64(ROUND))
                    return _across(b, which, row, weights_at.weight, at, values)

                spread_out = simd.repeat(b, rounds, zeros, across)
                sums = [
                    b.add(starts[m], simd.add_lanes(b, spread_out[m * width : (m + 1) * width]))
                    for m in range(n_rows)
                ]
            else:
                zero = ir.Constant(total, None)
                firsts = [s for start in starts for s in [start] + [zero] * (chains - 1)]

                def along(i: Value, values: list[Value]) -> list[Value]:
                    at = b.mul(b.add(base, i), I64(ROUND))
                    shape = n_rows, n_lanes, n_vectors
                    return _along(b, which, shape, row, weights_at.weight, at, values)

                chained = simd.repeat(b, rounds, firsts, along)
                sums = []
                for at in range(0, len(chained), chains):
                    summed = chained[at]
                    for other in chained[at + 1 : at + chains]:
                        summed = b.add(summed, other)
                    sums.append(summed)
            added = []
            for m in range(n_rows):
                by_row = simd.splat(b, b.load(b.gep(x_rows.scale, [r[m]])), n_lanes)
                for v in range(n_vectors):
                    at = m * n_vectors + v
                    exact = float_of(b, sums[at], kind_f)
                    added.append(simd.multiply_add(b, exact, by_row, scaled[at]))
            return added

        zeros = [ir.Constant(kind_f, None)] * (n_rows * n_vectors)
        groups = b.sdiv(b.add(weights_at.size, I64(GROUP - 1)), group)
        sums = simd.repeat(b, groups, zeros, group_)
        for m in range(n_rows):
            for v in range(n_vectors):
                by_output = simd.load(b, weights_at.scale, I64(v * n_lanes), kind_f)
                at = b.add(b.mul(out_rows.pitch, I64(m)), I64(v * n_lanes))
                old = simd.load(b, out_rows.start, at, kind_f)
                # Not fused: where a panel is wider than out, `old` is a zero of a tile.
                product = b.fmul(sums[m * n_vectors + v], by_output)
                simd.store(b, b.fadd(old, product), out_rows.start, at)
        return context.get_dummy_value()

    return types.void(rows, lanes, vectors, dot, x, panel, out), generate


def _along(
    b: Builder,
    dot: Dot,
    shape: tuple[int, int, int],
    row: list[Value],
    weight: Value,
    first: Value,
    sums: list[Value],
) -> list[Value]:
    """Return sums, outputs along the lanes, after one round from input `first` on.

    Shape is rows, lanes and vectors. Each step's weights serve all rows before the next ones are
    read: they fit into registers beside the sums.
    """
    n_rows, n_lanes, n_vectors = shape
    factors, steps = dot_products.factors(dot, n_lanes), ROUND // dot.depth
    size, width = n_lanes * dot.depth, n_lanes * n_vectors
    chains = len(sums) // (n_rows * n_vectors)
    at = b.mul(first, I64(width))
    if n_rows > 1:
        later = b.add(at, I64(PREFETCH_BYTES))
        simd.prefetch(b, weight, later, ROUND * width, prefetch_level(n_lanes))
    by_step = [spread(b, r, first, factors, dot.depth, steps, dot.by_lane) for r in row]
    added = list(sums)
    for s in range(steps):
        weights = []
        for v in range(n_vectors):
            place = b.add(at, I64((s * n_vectors + v) * size))
            raw = simd.load(b, weight, place, simd.vector(I8, size))
            weights.append(raw if dot.factor_bits == 8 else b.sext(raw, factors))
        for m in range(n_rows):
            for v in range(n_vectors):
                c = (m * n_vectors + v) * chains + s % chains
                pair = by_step[m][s], weights[v]
                # Where one factor is unsigned, it comes first.
                one, other = pair if dot.unsigned_weights else pair[::-1]
                added[c] = dot_products.emit(b, dot, one, other, added[c])
    return added


def _across(
    b: Builder,
    dot: Dot,
    row: list[Value],
    weight: Value,
    first: Value,
    sums: list[Value],
) -> list[Value]:
    """Return sums, inputs across the lanes, after one round from input `first` on."""
    n_outputs = len(sums) // len(row)
    factors = simd.vector(I8, ROUND)
    at = b.mul(first, I64(n_outputs))
    if len(row) > 1:
        simd.prefetch(b, weight, b.add(at, I64(PREFETCH_BYTES)), ROUND * n_outputs)
    weights = [simd.load(b, weight, b.add(at, I64(n * ROUND)), factors) for n in range(n_outputs)]
    activations = [simd.load(b, r, first, factors) for r in row]
    added: list[Value] = []
    for m, activation in enumerate(activations):
        some = sums[m * n_outputs : (m + 1) * n_outputs]
        pairs = zip(weights, some, strict=True)
        some = [dot_products.emit(b, dot, w, activation, s) for w, s in pairs]
        if len(row) > 1:
            # The products of one row are added before those of the next one need registers.
            some = simd.pinned(b, some + weights)
            weights = some[n_outputs:]
        added += some[:n_outputs]
    return added
