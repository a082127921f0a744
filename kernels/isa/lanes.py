"""Sums over lanes in one order, whatever the registers of the CPU.

Lane i of `LANES` sums the terms i, i + LANES, i + 2 LANES, ... in rising order. The upper half of
the lanes is then added to the lower half until one is left. LLVM cuts the lanes into registers.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from fcs_edge.kernels.isa import simd
from fcs_edge.kernels.isa.simd import FLOAT, I32, I64, Builder, Value

LANES = 16

KIND = simd.vector(FLOAT, LANES)
Step = Callable[[list[Value], Value], Value]
"""Takes a vector of each array and the sums so far; returns the new sums."""


def sum_up(b: Builder, starts: list[Value], size: Value, fills: list[Value], step: Step) -> Value:
    """Emit a sum over `size` numbers of each array; where the last vector ends early, of `fills`.

    starts are the arrays' addresses, fills numbers whose step changes no sum.
    """

    def whole(i: Value, sums: list[Value]) -> list[Value]:
        at = b.mul(i, I64(LANES))
        return [step([simd.load(b, start, at, KIND) for start in starts], sums[0])]

    vectors = b.sdiv(size, I64(LANES))
    (total,) = simd.repeat(b, vectors, [ir.Constant(KIND, None)], whole)
    before, first = b.block, b.mul(vectors, I64(LANES))
    rest = b.sub(size, first)
    with b.if_then(b.icmp_signed(">", rest, I64(0)), likely=False):
        parts = [
            _part(b, b.gep(start, [first]), rest, fill)
            for start, fill in zip(starts, fills, strict=True)
        ]
        added = step(parts, total)
        last = b.block
    result = b.phi(KIND)
    result.add_incoming(total, before)
    result.add_incoming(added, last)
    return fold(b, result)


def _part(b: Builder, start: Value, count: Value, fill: Value) -> Value:
    """Return `count` numbers from an address on as a vector that ends in `fill`."""
    with b.goto_entry_block():
        held = b.alloca(KIND)
    held.align = simd.LINE
    at = b.bitcast(held, FLOAT.as_pointer())
    simd.store(b, simd.splat(b, fill, LANES), at, I64(0))

    def copy(i: Value, _: list[Value]) -> list[Value]:
        b.store(b.load(b.gep(start, [i])), b.gep(at, [i]))
        return []

    simd.repeat(b, count, [], copy)
    return simd.load(b, at, I64(0), KIND)


def fold(b: Builder, sums: Value) -> Value:
    """Add lanes up, half to half."""
    lanes = sums.type.count
    while lanes > 1:
        lanes //= 2
        low, high = (
            b.shuffle_vector(sums, sums, ir.Constant(simd.vector(I32, lanes), list(indices)))
            for indices in (range(lanes), range(lanes, 2 * lanes))
        )
        sums = b.fadd(low, high)
    return b.extract_element(sums, I32(0))
