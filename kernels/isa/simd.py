"""Vector values and instructions as operations on an LLVM builder; microkernels consist of them.

LLVM neither keeps a block of sums in registers across a plain loop, nor turns a blocked loop over
int8 into multiply-add instructions. For code emitted in these operations it does both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from llvmlite import ir

from fcs_edge.kernels.isa import instructions

Value: TypeAlias = ir.Value
Builder: TypeAlias = ir.IRBuilder

FLOAT, HALF = ir.FloatType(), ir.HalfType()
I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))

LINE = 64
"""Bytes of a cache line."""


def vector(element: ir.Type, lanes: int) -> ir.VectorType:
    """Return the type of `lanes` elements side by side."""
    return ir.VectorType(element, lanes)


def call(b: Builder, name: str, result: ir.Type, *arguments: Value) -> Value:
    """Call an LLVM intrinsic by its full name."""
    declared = b.module.globals.get(name)
    if declared is None:
        kind = ir.FunctionType(result, [a.type for a in arguments])
        declared = ir.Function(b.module, kind, name)
    return b.call(declared, arguments)


def load(b: Builder, base: Value, offset: Value, kind: ir.Type) -> Value:
    """Read a `kind` from `base`, `offset` of base's own elements further, aligned or not."""
    value = b.load(b.bitcast(b.gep(base, [offset]), kind.as_pointer()))
    value.align = 1
    return value


def store(b: Builder, value: Value, base: Value, offset: Value) -> None:
    """Write `value` to `base`, `offset` of base's own elements further."""
    stored = b.store(value, b.bitcast(b.gep(base, [offset]), value.type.as_pointer()))
    stored.align = 1


def prefetch(b: Builder, base: Value, offset: Value, size: int, level: int = 2) -> None:
    """Prefetch the lines of `size` bytes at `base`, `offset` of base's own elements further.

    They go to the second-level cache: the first one of most CPUs waits for too few lines to hide
    memory. `level` is 2 or 1.
    """
    start = b.bitcast(b.gep(base, [offset]), I8.as_pointer())
    # llvmlite writes the pointer's type as its LLVM does, p0 or p0i8.
    kind = ir.FunctionType(ir.VoidType(), [start.type, I32, I32, I32])
    intrinsic = b.module.declare_intrinsic("llvm.prefetch", [start.type], kind)
    for line in range(0, size, LINE):
        b.call(intrinsic, [b.gep(start, [I64(line)]), I32(0), I32(4 - level), I32(1)])


def splat(b: Builder, scalar: Value, lanes: int) -> Value:
    """Put a number in every lane."""
    kind = vector(scalar.type, lanes)
    first = b.insert_element(ir.Constant(kind, ir.Undefined), scalar, I32(0))
    return b.shuffle_vector(first, first, ir.Constant(vector(I32, lanes), None))


def splat_lane(b: Builder, x: Value, lane: int, lanes: int) -> Value:
    """Put one lane of a vector in every lane."""
    return b.shuffle_vector(x, x, ir.Constant(vector(I32, lanes), [lane] * lanes))


def add_lanes(b: Builder, vectors: list[Value]) -> Value:
    """Return ``[sum of the lanes of v for v in vectors]``: as many vectors as lanes.

    Each pass adds neighbouring lanes of two vectors: an instruction on ARM.
    """
    while len(vectors) > 1:
        lanes = vectors[0].type.count
        even, odd = (
            ir.Constant(vector(I32, lanes), list(range(first, 2 * lanes, 2))) for first in (0, 1)
        )
        vectors = [
            b.add(b.shuffle_vector(x, y, even), b.shuffle_vector(x, y, odd))
            for x, y in zip(vectors[0::2], vectors[1::2], strict=True)
        ]
    return vectors[0]


def pinned(b: Builder, values: list[Value]) -> list[Value]:
    """Return vectors as they are; what uses the results comes after all that computes the values.

    LLVM otherwise starts so many products early, for cores that run in order, that it runs out of
    registers. This is for ARM alone: w is a vector register there.
    """
    kind = ir.LiteralStructType([v.type for v in values])
    constraints = ",".join(["=w"] * len(values) + [str(i) for i in range(len(values))])
    function = ir.FunctionType(kind, [v.type for v in values])
    results = b.call(ir.InlineAsm(function, "", constraints, side_effect=True), values)
    return [b.extract_value(results, i) for i in range(len(values))]


def multiply_add(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """``x * y + z`` of float32 numbers or vectors, rounded once where set and CPU can."""
    if not instructions.fuses():
        return b.fadd(b.fmul(x, y), z)
    kind = f"v{x.type.count}f32" if isinstance(x.type, ir.VectorType) else "f32"
    return call(b, f"llvm.fmuladd.{kind}", x.type, x, y, z)


def repeat(
    b: Builder, count: Value, starts: list[Value], body: Callable[[Value, list[Value]], list[Value]]
) -> list[Value]:
    """Emit ``for i in range(count): values = body(i, values)``; return the values after it.

    The values stay in registers as long as there are enough registers.
    """
    before, loop, after = b.block, b.append_basic_block("loop"), b.append_basic_block("after")
    b.cbranch(b.icmp_signed(">", count, I64(0)), loop, after)
    b.position_at_end(loop)
    i = b.phi(I64)
    values = [b.phi(start.type) for start in starts]
    results = body(i, list(values))
    following, last = b.add(i, I64(1)), b.block
    phis, firsts, nexts = [i, *values], [I64(0), *starts], [following, *results]
    for phi, start, result in zip(phis, firsts, nexts, strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(result, last)
    b.cbranch(b.icmp_signed("<", following, count), loop, after)
    b.position_at_end(after)
    totals = []
    for start, result in zip(starts, results, strict=True):
        total = b.phi(start.type)
        total.add_incoming(start, before)
        total.add_incoming(result, last)
        totals.append(total)
    return totals
