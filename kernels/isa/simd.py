"""Vector values and instructions, as operations on an LLVM builder; what panels are emitted with.

LLVM neither keeps a block of sums in registers across a plain loop nor turns a blocked loop over
int8 into multiply-add instructions. Emitted in these operations, it does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from llvmlite import ir

from fcs_edge.kernels.isa.instructions import Dot, Int4Dot

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
    known = b.module.globals.get(name)
    if known is None:
        known = ir.Function(b.module, ir.FunctionType(result, [a.type for a in arguments]), name)
    return b.call(known, arguments)


def load(b: Builder, base: Value, offset: Value, kind: ir.Type) -> Value:
    """Read a `kind` from `base`, `offset` of base's own elements further; no alignment is asked."""
    value = b.load(b.bitcast(b.gep(base, [offset]), kind.as_pointer()))
    value.align = 1
    return value


def store(b: Builder, value: Value, base: Value, offset: Value) -> None:
    """Write `value` to `base`, `offset` of base's own elements further."""
    stored = b.store(value, b.bitcast(b.gep(base, [offset]), value.type.as_pointer()))
    stored.align = 1


def prefetch(b: Builder, base: Value, offset: Value, size: int) -> None:
    """Ask for the lines of `size` bytes at `base`, `offset` of base's own elements further.

    They go to the second cache: the first one can wait for too few of them to hide memory.
    """
    start = b.bitcast(b.gep(base, [offset]), I8.as_pointer())
    # llvmlite writes the pointer's type as its LLVM does, p0 or p0i8.
    kind = ir.FunctionType(ir.VoidType(), [start.type, I32, I32, I32])
    ask = b.module.declare_intrinsic("llvm.prefetch", [start.type], kind)
    for line in range(0, size, LINE):
        b.call(ask, [b.gep(start, [I64(line)]), I32(0), I32(2), I32(1)])


def splat(b: Builder, scalar: Value, lanes: int) -> Value:
    """Put a number in every lane."""
    kind = vector(scalar.type, lanes)
    first = b.insert_element(ir.Constant(kind, ir.Undefined), scalar, I32(0))
    return b.shuffle_vector(first, first, ir.Constant(vector(I32, lanes), None))


def splat_lane(b: Builder, x: Value, lane: int, lanes: int) -> Value:
    """Put one lane of a vector in every lane."""
    return b.shuffle_vector(x, x, ir.Constant(vector(I32, lanes), [lane] * lanes))


def multiply_add(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """``x * y + z`` in float32, rounded once where the CPU can."""
    return call(b, f"llvm.fmuladd.v{x.type.count}f32", x.type, x, y, z)


def dot(b: Builder, kind: Dot, x: Value, y: Value, z: Value) -> Value:
    """``z[i] + sum_j x[i * n + j] * y[i * n + j]``, z int32 and n the products a lane.

    x and y are int16 for pmaddwd (n = 2) and smlal (n = 1), int8 for sdot (n = 4); for vpdpbusd
    (n = 4) x is uint8 and y int8.
    """
    total = z.type
    if kind == "vpdpbusd":
        words = [b.bitcast(factor, total) for factor in (x, y)]
        return call(b, f"llvm.x86.avx512.vpdpbusd.{32 * total.count}", total, z, *words)
    if kind == "sdot":
        return call(b, "llvm.aarch64.neon.sdot.v4i32.v16i8", total, z, x, y)
    if kind == "smlal":
        return b.add(z, b.mul(b.sext(x, total), b.sext(y, total)))
    name = {4: "sse2.pmadd.wd", 8: "avx2.pmadd.wd", 16: "avx512.pmaddw.d.512"}[total.count]
    return b.add(z, call(b, f"llvm.x86.{name}", total, x, y))


def int4_dot(b: Builder, kind: Int4Dot, u: Value, q: Value, z: Value) -> Value:
    """Return z with products of u, int8 from 0 to 15, and q, int8, added.

    vpdpbusd and sdot: ``z[i] + sum_j u[4 i + j] * q[4 i + j]``, z int32. pmaddubsw: the same of
    two, z int16. mla: ``z[i] + u[i] * q[i]``, z int16.
    """
    if kind == "sdot":
        return call(b, "llvm.aarch64.neon.sdot.v4i32.v16i8", z.type, z, u, q)
    if kind == "mla":
        return b.add(z, b.mul(b.zext(u, z.type), b.sext(q, z.type)))
    if kind == "pmaddubsw":
        name = {32: "avx2.pmadd.ub.sw", 64: "avx512.pmaddubs.w.512"}[u.type.count]
        return b.add(z, call(b, f"llvm.x86.{name}", z.type, u, q))
    return dot(b, "vpdpbusd", u, q, z)


def fold(b: Builder, narrow: Value, z: Value) -> Value:
    """Add sums in int16 to z, int32: one a lane, or two side by side."""
    if narrow.type.count == z.type.count:
        return b.add(z, b.sext(narrow, z.type))
    return dot(b, "pmaddwd", narrow, ir.Constant(narrow.type, [1] * narrow.type.count), z)


def repeat(
    b: Builder, count: Value, starts: list[Value], body: Callable[[Value, list[Value]], list[Value]]
) -> list[Value]:
    """Emit ``for i in range(count): values = body(i, values)``; return the values after it.

    The values stay in registers as long as there are enough of them.
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
