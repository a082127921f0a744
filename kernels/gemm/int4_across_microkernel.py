"""Products with 4-bit weights where a register holds inputs of an output, not outputs of an input.

It is for CPUs that multiply 8 bits by 8 into int16 and have no dot product: no activation is copied
into all lanes. A weight is a signed number here, so that the products of 64 inputs and their sum
fit into int16. There is no offset.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from fcs_edge.kernels.gemm.integer_sums import group_scales
from fcs_edge.kernels.gemm.panels import PREFETCH_BYTES, add_to_rows, members, row_starts
from fcs_edge.kernels.isa import dot_products, simd
from fcs_edge.kernels.isa.instructions import Dot
from fcs_edge.kernels.isa.simd import FLOAT, I32, I64, Builder, Value

OUTPUTS = 4
"""Outputs of a panel."""

UNIT = 64
"""Inputs that are summed in int16, at most."""

_HALF = UNIT // 2
"""Inputs of a step: groups and blocks are multiples of it."""

# An output's sum of a unit, whatever its lanes.
assert 8 * 127 * UNIT < 1 << 16


def across_inputs(n_rows: int, which: Dot, half: bool) -> Callable[..., Value]:
    """Return what emits `int4_microkernel.int4_panel` for a dot product across inputs."""
    factors = dot_products.factors(which, 1)
    size, words = which.depth, OUTPUTS // 2
    total, number = simd.vector(I32, OUTPUTS), simd.vector(FLOAT, OUTPUTS)
    by_4 = ir.Constant(factors, [4] * size)

    def generate(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        x_rows, panel, out_rows = (members(b, signature.args[i], arguments[i]) for i in (4, 5, 6))
        row = row_starts(b, x_rows.q, x_rows.pitch, n_rows)

        def half_unit(first: Value, sums: list[Value]) -> list[Value]:
            """Add the products of inputs from first on to int16 sums, if there are sums."""
            at = b.mul(first, I64(words))
            simd.prefetch(b, panel.weight, b.add(at, I64(PREFETCH_BYTES)), _HALF * words)
            for k in range(0, _HALF, size):
                weights = []
                for i in range(words):
                    where = b.add(at, I64(k * words + i * size))
                    word = simd.load(b, panel.weight, where, factors)
                    weights += [b.ashr(b.shl(word, by_4), by_4), b.ashr(word, by_4)]
                added = []
                for m in range(n_rows):
                    x = simd.load(b, row[m], b.add(first, I64(k)), factors)
                    for n, w in enumerate(weights):
                        start = sums[m * OUTPUTS + n] if sums else None
                        added.append(dot_products.multiply_across(b, w, x, start))
                sums = added
            return sums

        def unit_sums(first: Value, halves: int) -> list[Value]:
            """Return the sums of a unit or of half of one, a vector of int32 for each row."""
            lanes: list[Value] = []
            for i in range(halves):
                lanes = half_unit(b.add(first, I64(i * _HALF)), lanes)
            of_row = [lanes[m * OUTPUTS : (m + 1) * OUTPUTS] for m in range(n_rows)]
            return [dot_products.sum_across(b, some) for some in of_row]

        def scaled(g: Value, totals: list[Value], sums: list[Value]) -> list[Value]:
            """Return sums, those of group g added."""
            (by_output,) = group_scales(b, panel.scale, b.mul(g, I64(OUTPUTS)), half, number, 1)
            added = []
            for m in range(n_rows):
                at = b.add(b.mul(x_rows.groups, I64(m)), g)
                by_row = simd.splat(b, b.load(b.gep(x_rows.scale, [at])), OUTPUTS)
                scale = b.fmul(by_output, by_row)
                summed = b.sitofp(totals[m], number)
                added.append(simd.multiply_add(b, summed, scale, sums[m]))
            return added

        def small_groups() -> list[Value]:
            """Return sums of groups that have a unit, but for the last, or half of one."""
            is_unit = b.icmp_signed("==", panel.group, I64(UNIT))
            whole = b.select(is_unit, b.sdiv(panel.size, I64(UNIT)), I64(0))
            sums = simd.repeat(
                b,
                whole,
                [ir.Constant(number, None)] * n_rows,
                lambda g, sums: scaled(g, unit_sums(b.mul(g, I64(UNIT)), 2), sums),
            )
            done = b.mul(whole, I64(UNIT))
            return simd.repeat(
                b,
                b.sdiv(b.sub(panel.size, done), I64(_HALF)),
                sums,
                lambda i, sums: scaled(
                    b.add(whole, i), unit_sums(b.add(done, b.mul(i, I64(_HALF))), 1), sums
                ),
            )

        def large_groups() -> list[Value]:
            """Return sums of groups that have several units."""
            groups = b.sdiv(b.add(panel.size, b.sub(panel.group, I64(1))), panel.group)

            def group_(g: Value, sums: list[Value]) -> list[Value]:
                first = b.mul(g, panel.group)
                rest = b.sub(panel.size, first)
                inputs = b.select(b.icmp_signed("<", rest, panel.group), rest, panel.group)

                def add(totals: list[Value], at: Value, halves: int) -> list[Value]:
                    some = unit_sums(b.add(first, at), halves)
                    return [b.add(x, y) for x, y in zip(totals, some, strict=True)]

                units = b.sdiv(inputs, I64(UNIT))
                zeros = [ir.Constant(total, None)] * n_rows
                totals = simd.repeat(
                    b, units, zeros, lambda u, old: add(old, b.mul(u, I64(UNIT)), 2)
                )
                at = b.mul(units, I64(UNIT))
                halves = b.sdiv(b.sub(inputs, at), I64(_HALF))
                totals = simd.repeat(b, halves, totals, lambda i, old: add(old, at, 1))
                return scaled(g, totals, sums)

            return simd.repeat(b, groups, [ir.Constant(number, None)] * n_rows, group_)

        with b.if_else(b.icmp_signed(">", panel.group, I64(UNIT))) as (large, small):
            with large:
                add_to_rows(b, large_groups(), 1, out_rows)
            with small:
                add_to_rows(b, small_groups(), 1, out_rows)
        return context.get_dummy_value()

    return generate
