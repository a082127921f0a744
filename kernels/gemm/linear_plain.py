"""Linear layers in plain loops: for any CPU, and the reference for tests of packed ones."""

from __future__ import annotations

import numpy as np

from fcs_edge.kernels._types import F32, I8, I16, I32, U8
from fcs_edge.kernels.gemm import quantize_activations
from fcs_edge.kernels.gemm import quantized_weights as stored
from fcs_edge.kernels.gemm.epilogue import GELU, WRITE
from fcs_edge.kernels.gemm.packing import BLOCK, GROUP
from fcs_edge.kernels.gemm.quantized_weights import Int4, Int8
from fcs_edge.kernels.ops import gelu, sums
from fcs_edge.kernels.ops.vecmath import multiply_add
from fcs_edge.kernels.runtime._jit import kernel


@kernel
def linear_f32(x: F32, step: int, weight: F32, bias: F32, out: F32, column: int) -> None:
    """``out[m, column + n] = bias[n] + sum_k x[m * step + k] * weight[n, k]``.

    A weight is read once for all rows, from the nearest cache but for the first. Every row goes
    through the same arithmetic: the grouping of rows into calls changes no bit of the result.
    """
    outputs, depth = weight.shape
    for n in range(outputs):
        for m in range(out.shape[0]):
            row = x[m * step : m * step + depth]
            out[m, column + n] = sums.dot(row, weight[n]) + bias[n]


@kernel
def linear_int8(
    x: F32, step: int, values: I8, scale: F32, bias: F32, q: I16, out: F32, column: int
) -> None:
    """``out[m, column + n] = bias[n] + r[m] scale[n] sum_k q[m, k] values[n, k]``.

    r and q as in `products.linear_integer`; q, (depth,) int16, is workspace.
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

    r and q as in `products.linear_integer`; values holds w as `quantized_weights.Int4` says.
    Workspace: q (depth,) int8, row_scale (groups,) float32 and offset (groups,) int32.
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
                    part = multiply_add(np.float32(products), scale[n, g] * row_scale[g], part)
                total += part
            out[m, column + n] = total


@kernel
def linear_grouped(
    x: F32,
    step: int,
    values: I8,
    scale: F32,
    bias: F32,
    q: I16,
    row_scale: F32,
    out: F32,
    column: int,
) -> None:
    """``out[m, column + n] = bias[n] + scale[n] sum_g r[m, g] sum_{k in g} q[m, k] values[n, k]``.

    r and q as in `grouped_products.linear_grouped`. Workspace: q (depth,) int16, row_scale
    (groups,) float32.
    """
    outputs, depth = values.shape
    for m in range(out.shape[0]):
        row = x[m * step : m * step + depth]
        for g in range(row_scale.size):
            start, stop = g * GROUP, min((g + 1) * GROUP, depth)
            r, _ = quantize_activations.quantize_span(row[start:stop], q[start:stop], -1)
            row_scale[g] = r
        for n in range(outputs):
            total = bias[n]
            for block in range(0, depth, BLOCK):
                part = np.float32(0)
                for start in range(block, min(block + BLOCK, depth), GROUP):
                    products = np.int32(0)
                    for k in range(start, min(start + GROUP, depth)):
                        products += np.int32(q[k]) * np.int32(values[n, k])
                    part = multiply_add(np.float32(products), row_scale[start // GROUP], part)
                total += part * scale[n]
            out[m, column + n] = total


class _Plain:
    """Base of the layers below: their loops write y, and the epilogue is a second pass."""

    outputs: int

    def __call__(self, x: F32, step: int, out: F32, column: int = 0, epilogue: int = WRITE) -> None:
        """Apply the weight; see `linear.Linear`."""
        if epilogue == WRITE:
            self._write(x, step, out, column)
            return
        y = np.empty((out.shape[0], self.outputs), np.float32)
        self._write(x, step, y, 0)
        columns = out[:, column : column + self.outputs]
        if epilogue == GELU:
            gelu.gelu(y, active := np.empty_like(y))
            columns[:] = active
        else:
            columns += y

    def _write(self, x: F32, step: int, out: F32, column: int) -> None:
        raise NotImplementedError


class PlainLinear(_Plain):
    """A float32 weight, used where it lies (it may be memory-mapped), in plain loops."""

    def __init__(self, weight: F32, bias: F32) -> None:
        self.outputs, self.depth = weight.shape
        self._weight = stored.frozen(weight)
        self._bias = stored.frozen(bias)

    def _write(self, x: F32, step: int, out: F32, column: int) -> None:
        linear_f32(x, step, self._weight, self._bias, out, column)


class PlainInt8(_Plain):
    """An 8-bit weight where it lies, in plain loops."""

    def __init__(self, weight: Int8, bias: F32) -> None:
        self.outputs, self.depth = weight.shape
        self._values, self._scale = stored.frozen(weight.values), stored.frozen(weight.scale)
        self._bias = stored.frozen(bias)

    def _write(self, x: F32, step: int, out: F32, column: int) -> None:
        q = np.empty(self.depth, np.int16)
        linear_int8(x, step, self._values, self._scale, self._bias, q, out, column)


class PlainGrouped(PlainInt8):
    """An 8-bit weight where it lies, with activations of 8 bits, in plain loops."""

    def _write(self, x: F32, step: int, out: F32, column: int) -> None:
        q = np.empty(self.depth, np.int16)
        row_scale = np.empty(-(-self.depth // GROUP), np.float32)
        values, scale, bias = self._values, self._scale, self._bias
        linear_grouped(x, step, values, scale, bias, q, row_scale, out, column)


class PlainInt4(_Plain):
    """A 4-bit weight where it lies, in plain loops."""

    def __init__(self, weight: Int4, bias: F32) -> None:
        self.outputs, self.depth = weight.shape
        self._values, self._group = stored.frozen(weight.values), weight.group
        self._scale = stored.frozen(weight.scale.astype(np.float32))
        self._bias = stored.frozen(bias)

    def _write(self, x: F32, step: int, out: F32, column: int) -> None:
        groups = self._scale.shape[1]
        q, offset = np.empty(self.depth, np.int8), np.empty(groups, np.int32)
        row_scale = np.empty(groups, np.float32)
        values, scale, bias = self._values, self._scale, self._bias
        linear_int4(x, step, values, scale, bias, self._group, q, row_scale, offset, out, column)
