"""The inner loop of a depthwise convolution: one panel of channels, a few rows, sums in registers.

Plain loops over such panels are nearly as fast at one panel width. At another they are scalar and
fifty times slower. They cannot widen float16.
"""

from __future__ import annotations

from typing import Any

from numba import types

from fcs_edge.kernels.gemm.panels import INDEX, PREFETCH_BYTES, intrinsic, memory, prefetch_level
from fcs_edge.kernels.isa import simd
from fcs_edge.kernels.isa.simd import FLOAT, HALF, I64, Builder, Value
from fcs_edge.kernels.runtime._jit import inline


@intrinsic
def depthwise_panel(
    typing: Any,
    rows: Any,
    lanes: Any,
    vectors: Any,
    x: Any,
    starts: Any,
    weight: Any,
    w0: Any,
    taps: Any,
    out: Any,
    o0: Any,
) -> Any:
    """For m < rows and c < width = lanes * vectors, j in rising order.

    ``out[o0 + m * width + c] += sum_{j < taps} weight[w0 + j * width + c] * row(j + m)[c]``

    Row m of the first `rows` starts at x[starts[m]]; those after the last of them follow it,
    width apart. Each weight and each row is read once. x and weight are float32, or float16 held
    in uint16; out is float32. The first three arguments are literal.
    """
    n_rows, n_lanes, n_vectors = (a.literal_value for a in (rows, lanes, vectors))
    width = n_lanes * n_vectors

    def generate(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        x_at, starts_at, w_at, out_at = (
            memory(context, b, signature.args[i], arguments[i]) for i in (3, 4, 5, 8)
        )
        w0, taps, o0 = (arguments[i] for i in (6, 7, 9))
        row = [b.gep(x_at, [b.load(b.gep(starts_at, [I64(m)]))]) for m in range(n_rows)]
        panel = b.gep(w_at, [w0])
        used = simd.vector(FLOAT, n_lanes)
        columns = [I64(v * n_lanes) for v in range(n_vectors)]
        outputs_at = [b.add(o0, I64(n)) for n in range(0, n_rows * width, n_lanes)]

        def read(kind: Any, base: Value, at: Value) -> Value:
            if kind.dtype != types.uint16:
                return simd.load(b, base, at, used)
            return b.fpext(simd.load(b, base, at, simd.vector(HALF, n_lanes)), used)

        def fetch(b: Builder, base: Value, bits: int, at: Value) -> None:
            size = bits // 8 * width
            # Narrow panels would prefetch every line twice. Both streams share the distance.
            if n_rows > 1 and size >= simd.LINE:
                later = b.add(at, I64(PREFETCH_BYTES // 2 * 8 // bits))
                simd.prefetch(b, base, later, size, prefetch_level(n_lanes))

        def tap(j: Value, values: list[Value]) -> list[Value]:
            sums, held = values[: n_rows * n_vectors], values[n_rows * n_vectors :]
            at = [b.add(b.mul(j, I64(width)), column) for column in columns]
            fetch(b, row[-1], x.dtype.bitwidth, at[0])
            fetch(b, panel, weight.dtype.bitwidth, at[0])
            held = [*held, *(read(x, row[-1], a) for a in at)]
            weights = [read(weight, panel, a) for a in at]
            added = [
                simd.multiply_add(b, weights[i % n_vectors], held[i], total)
                for i, total in enumerate(sums)
            ]
            return [*added, *held[n_vectors:]]

        sums = [simd.load(b, out_at, at, used) for at in outputs_at]
        held = [read(x, r, column) for r in row[:-1] for column in columns]
        values = simd.repeat(b, taps, [*sums, *held], tap)
        for at, total in zip(outputs_at, values, strict=False):
            simd.store(b, total, out_at, at)
        return context.get_dummy_value()

    arrays = (x, starts, weight, INDEX, INDEX, out, INDEX)
    return types.void(rows, lanes, vectors, *arrays), generate


@inline
def depthwise_rows(
    rows: int,
    lanes: int,
    vectors: int,
    x: Any,
    starts: Any,
    weight: Any,
    w0: int,
    taps: int,
    out: Any,
) -> None:
    """`depthwise_panel` of 4 rows or of 1; lanes and vectors are constants of the caller."""
    if rows == 4:
        depthwise_panel(4, lanes, vectors, x, starts, weight, w0, taps, out, 0)
    else:
        depthwise_panel(1, lanes, vectors, x, starts, weight, w0, taps, out, 0)
