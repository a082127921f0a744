"""Sums of a group of inputs as floats: what the microkernels of integer weights share.

A sum starts from its offset plus `MAGIC`, so that the bits of the sum are those of a float.
"""

from __future__ import annotations

from llvmlite import ir

from fcs_edge.kernels.gemm.packing import BLOCK, GROUP
from fcs_edge.kernels.isa import simd
from fcs_edge.kernels.isa.simd import HALF, I64, Builder, Value

MAGIC = 0x4B400000
"""The bits of the float 3 * 2**22; those plus an integer i are the bits of 3 * 2**22 + i.

This holds for -2**22 <= i < 2**22. The difference of both floats is i, and exact.
"""

LARGEST = 8 * 127 * BLOCK
"""Largest sum of 4-bit weights: -8, activations of 127, and a group of `BLOCK` inputs."""
assert LARGEST < 1 << 22
assert 127 * 254 * GROUP < 1 << 22, "a sum of 8-bit weights and activations must be exact too"
# On the way, weights plus 8 are summed. No such sum leaves int32 either.
assert MAGIC + LARGEST + 15 * 127 * BLOCK < 1 << 31


def float_of(b: Builder, total: Value, kind: ir.VectorType) -> Value:
    """Return a sum that started from its offset plus `MAGIC` as float32."""
    magic = ir.Constant(kind, [float(3 << 22)] * kind.count)
    return b.fsub(b.bitcast(total, kind), magic)


def group_scales(
    b: Builder, scale: Value, at: Value, half: bool, kind: ir.VectorType, vectors: int
) -> list[Value]:
    """Return the scales of a group's outputs in float32, vector by vector."""
    stored = simd.vector(HALF, kind.count) if half else kind
    by_output = []
    for v in range(vectors):
        loaded = simd.load(b, scale, b.add(at, I64(v * kind.count)), stored)
        by_output.append(b.fpext(loaded, kind) if half else loaded)
    return by_output
