"""Matrix products in plain loops: for any CPU, and what the packed ones are tested against."""

from __future__ import annotations

import numpy as np

from fcs_edge.kernels._types import F32, I8, I16, I32, U8, U16
from fcs_edge.kernels.gemm import quantize_activations
from fcs_edge.kernels.gemm.packing import BLOCK
from fcs_edge.kernels.runtime._jit import kernel, reduction


@reduction
def linear_f32(x: F32, step: int, weight: F32, bias: F32, out: F32, column: int) -> None:
    """``out[m, column + n] = bias[n] + sum_k x[m * step + k] * weight[n, k]``.

    Four rows and two outputs at a time, so that a weight is read once for four rows. Where
    fewer are left the last one stands in again: every row goes through the same arithmetic,
    and how rows are grouped into calls changes no bit of the result.
    """
    outputs, depth = weight.shape
    rows = out.shape[0]
    for n in range(0, outputs, 2):
        n1 = min(n + 1, outputs - 1)
        w0 = weight[n]
        w1 = weight[n1]
        for m in range(0, rows, 4):
            m1 = min(m + 1, rows - 1)
            m2 = min(m + 2, rows - 1)
            m3 = min(m + 3, rows - 1)
            x0 = x[m * step : m * step + depth]
            x1 = x[m1 * step : m1 * step + depth]
            x2 = x[m2 * step : m2 * step + depth]
            x3 = x[m3 * step : m3 * step + depth]
            y00 = y01 = y10 = y11 = np.float32(0)
            y20 = y21 = y30 = y31 = np.float32(0)
            for k in range(depth):
                y00 += x0[k] * w0[k]
                y01 += x0[k] * w1[k]
                y10 += x1[k] * w0[k]
                y11 += x1[k] * w1[k]
                y20 += x2[k] * w0[k]
                y21 += x2[k] * w1[k]
                y30 += x3[k] * w0[k]
                y31 += x3[k] * w1[k]
            out[m, column + n] = y00 + bias[n]
            out[m, column + n1] = y01 + bias[n1]
            out[m1, column + n] = y10 + bias[n]
            out[m1, column + n1] = y11 + bias[n1]
            out[m2, column + n] = y20 + bias[n]
            out[m2, column + n1] = y21 + bias[n1]
            out[m3, column + n] = y30 + bias[n]
            out[m3, column + n1] = y31 + bias[n1]


@kernel
def linear_int8(
    x: F32, step: int, values: I8, scale: F32, bias: F32, q: I16, out: F32, column: int
) -> None:
    """``out[m, column + n] = bias[n] + r[m] scale[n] sum_k q[m, k] values[n, k]``.

    r and q as in `products.linear_int8`; q (depth,) int16 is worked in.
    """
    outputs, depth = values.shape
    bits = x.view(np.int32)
    for m in range(out.shape[0]):
        row = x[m * step : m * step + depth]
        top = quantize_activations.largest(bits[m * step : m * step + depth])
        row_scale = quantize_activations.scale(top)
        quantize_activations.quantize(row, quantize_activations.inverse_scale(top), q)
        for n in range(outputs):
            total = bias[n]
            for start in range(0, depth, BLOCK):
                products = np.int32(0)
                for k in range(start, min(start + BLOCK, depth)):
                    products += np.int32(q[k]) * np.int32(values[n, k])
                total += np.float32(products) * (scale[n] * row_scale)
            out[m, column + n] = total


@kernel
def linear_int4(
    x: F32,
    step: int,
    values: U8,
    scale: F32,
    bias: F32,
    group: int,
    q: I8,
    row_scale: F32,
    offset: I32,
    out: F32,
    column: int,
) -> None:
    """``out[m, column + n] = bias[n] + sum_g r[m, g] scale[n, g] sum_{k in g} q[m, k] w[n, k]``.

    r and q as in `products.linear_int4`; values holds w as `weights.Int4` says. Worked in are
    q (depth,) int8, row_scale (groups,) float32 and offset (groups,) int32.
    """
    outputs, groups = scale.shape
    depth = q.size
    for m in range(out.shape[0]):
        x0 = m * step
        quantize_activations.quantize_groups(x[x0 : x0 + depth], group, q, row_scale, offset)
        for n in range(outputs):
            total = bias[n]
            for start in range(0, groups, max(BLOCK // group, 1)):
                part = np.float32(0)
                for g in range(start, min(start + BLOCK // group, groups)):
                    products = offset[g]
                    for k in range(g * group, min((g + 1) * group, depth)):
                        nibble = np.int32(values[n, k // 2] >> (4 * (k % 2))) & np.int32(15)
                        products += np.int32(q[k]) * (nibble ^ np.int32(8))
                    part += np.float32(products) * (scale[n, g] * row_scale[g])
                total += part
            out[m, column + n] = total


@kernel
def widen(halves: U16, out: F32) -> None:
    """``out = halves``, float16 held in uint16 as float32; both (outputs, depth), finite."""
    outputs, depth = halves.shape
    for n in range(outputs):
        for k in range(depth):
            h = np.int32(halves[n, k])
            # The exponent's bias is 15 there and 127 here; so subnormals come out right too.
            size = np.int32((h & np.int32(0x7FFF)) << np.int32(13)).view(np.float32)
            value = size * np.float32(2.0**112)
            out[n, k] = -value if h & np.int32(0x8000) else value
