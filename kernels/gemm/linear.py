"""Linear layers, and convolutions as linear layers over overlapping windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.gemm import linear_plain, packing, products
from fcs_edge.kernels.gemm import quantized_weights as stored
from fcs_edge.kernels.gemm.products import ADD as ADD
from fcs_edge.kernels.gemm.products import GELU as GELU
from fcs_edge.kernels.gemm.products import WRITE as WRITE
from fcs_edge.kernels.gemm.quantized_weights import Int4, Int8, Weight
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.isa.instructions import INT4_DEPTH, PLAIN, Instructions
from fcs_edge.kernels.ops import gelu
from fcs_edge.kernels.runtime import memory


class Linear(Protocol):
    """What a layer asks of a prepared weight, whatever its storage."""

    outputs: int
    depth: int

    def __call__(self, x: F32, step: int, out: F32, column: int = 0, finish: int = WRITE) -> None:
        """Compute ``y[m, n] = bias[n] + sum_k x[m * step + k] * weight[n, k]``.

        Parameters
        ----------
        x : numpy.ndarray
            (at least (rows - 1) * step + depth,) float32, contiguous. Rows may overlap.
        step : int
            Elements from one row's start to the next one's.
        out : numpy.ndarray
            (rows, at least column + outputs) float32, contiguous; it must not overlap `x`.
        column : int
            First column written: that of y's first.
        finish : int
            `WRITE`: ``out = y``; `GELU`: ``out = gelu(y)``; `ADD`: ``out += y``.
        """


def prepare(weight: Weight, bias: F32 | None = None) -> Linear:
    """Prepare a weight for use on this machine.

    Parameters
    ----------
    weight : numpy.ndarray, Int8 or Int4
        (outputs, depth), float32, float16 or quantised. Integers multiply activations of 12
        bits, floats those of float32.
    bias : numpy.ndarray, optional
        (outputs,) float32; zeros where it is absent.

    Returns
    -------
    Linear
        The operator ``y = x @ weight.T + bias``.
    """
    if bias is None:
        bias = np.zeros(weight.shape[0], np.float32)
    if instructions.CHOICE == PLAIN:
        if isinstance(weight, Int8):
            return PlainInt8(weight, bias)
        if isinstance(weight, Int4):
            return PlainInt4(weight, bias)
        return PlainLinear(stored.float32(weight), bias)
    using = instructions.chosen()
    if isinstance(weight, Int8):
        return PackedInt8(weight, bias, using)
    if isinstance(weight, Int4):
        return PackedInt4(weight, bias, using)
    return PackedLinear(weight, bias, using)


class _Plain:
    """What plain loops have in common: they write y, and another kernel finishes it."""

    outputs: int

    def __call__(self, x: F32, step: int, out: F32, column: int = 0, finish: int = WRITE) -> None:
        """Apply the weight; see `Linear`."""
        if finish == WRITE:
            self._write(x, step, out, column)
            return
        y = np.empty((out.shape[0], self.outputs), np.float32)
        self._write(x, step, y, 0)
        place = out[:, column : column + self.outputs]
        if finish == GELU:
            gelu.gelu(y, active := np.empty_like(y))
            place[:] = active
        else:
            place += y

    def _write(self, x: F32, step: int, out: F32, column: int) -> None:
        raise NotImplementedError


class PlainLinear(_Plain):
    """A float32 weight, used where it lies (it may be memory-mapped), in plain loops."""

    def __init__(self, weight: F32, bias: F32) -> None:
        self.outputs, self.depth = weight.shape
        self._weight = _frozen(weight)
        self._bias = _frozen(bias)

    def _write(self, x: F32, step: int, out: F32, column: int) -> None:
        linear_plain.linear_f32(x, step, self._weight, self._bias, out, column)


class PlainInt8(_Plain):
    """An 8-bit weight where it lies, in plain loops."""

    def __init__(self, weight: Int8, bias: F32) -> None:
        self.outputs, self.depth = weight.shape
        self._values, self._scale = _frozen(weight.values), _frozen(weight.scale)
        self._bias = _frozen(bias)

    def _write(self, x: F32, step: int, out: F32, column: int) -> None:
        q = np.empty(self.depth, np.int16)
        linear_plain.linear_int8(x, step, self._values, self._scale, self._bias, q, out, column)


class PlainInt4(_Plain):
    """A 4-bit weight where it lies, in plain loops."""

    def __init__(self, weight: Int4, bias: F32) -> None:
        self.outputs, self.depth = weight.shape
        self._values, self._group = _frozen(weight.values), weight.group
        self._scale = _frozen(weight.scale.astype(np.float32))
        self._bias = _frozen(bias)

    def _write(self, x: F32, step: int, out: F32, column: int) -> None:
        groups = self._scale.shape[1]
        q, offset = np.empty(self.depth, np.int8), np.empty(groups, np.int32)
        row_scale = np.empty(groups, np.float32)
        values, scale, bias = self._values, self._scale, self._bias
        linear_plain.linear_int4(
            x, step, values, scale, bias, self._group, q, row_scale, offset, out, column
        )


class PackedLinear:
    """A float32 or float16 weight packed into panels of outputs, for vector registers."""

    def __init__(self, weight: Any, bias: F32, using: Instructions) -> None:
        self.outputs, self.depth = weight.shape
        if weight.dtype == np.float16:
            weight = weight.view(np.uint16) if using.half else stored.float32(weight)
        made = products.kernels(using)
        half = weight.dtype == np.uint16
        kernels = made.halves if half else made.floats
        pack = packing.pack_half if half else packing.pack_float
        self._parts: list[tuple[Callable[..., None], F32, F32, int]] = []
        for kernel, width, start, stop in _cut(self.outputs, kernels):
            rows = np.ascontiguousarray(weight[start:stop])
            panels = -(-(stop - start) // width)
            packed = memory.zeros((panels, self.depth, width), weight.dtype)
            pack(rows, packed)
            self._parts.append((kernel, _frozen(packed), _frozen(bias[start:stop].copy()), start))

    def __call__(self, x: F32, step: int, out: F32, column: int = 0, finish: int = WRITE) -> None:
        """Apply the weight; see `Linear`."""
        for kernel, packed, bias, start in self._parts:
            kernel(x, step, packed, bias, out, column + start, finish)


class PackedInt8:
    """An 8-bit weight packed into panels of outputs, for vector registers."""

    def __init__(self, weight: Int8, bias: F32, using: Instructions) -> None:
        self.outputs, self.depth = weight.shape
        self._parts: list[tuple[Callable[..., None], Any, F32, F32, int]] = []
        # vpdpbusd takes weights as numbers from 0 on.
        flip = -128 if using.int8_dot == "vpdpbusd" else 0
        for kernel, width, start, stop in _cut(self.outputs, products.kernels(using).int8):
            part = weight.rows(start, stop)
            panels = -(-(stop - start) // width)
            scale = np.zeros(panels * width, np.float32)
            scale[: stop - start] = part.scale
            size = panels * width * packing.padded_depth(self.depth)
            packed = memory.zeros((size,), np.int8)
            values = np.ascontiguousarray(part.values)
            packing.pack_int8(values, width, using.int8_depth, flip, packed)
            columns = _frozen(bias[start:stop].copy())
            self._parts.append((kernel, _frozen(packed), _frozen(scale), columns, start))

    def __call__(self, x: F32, step: int, out: F32, column: int = 0, finish: int = WRITE) -> None:
        """Apply the weight; see `Linear`."""
        for kernel, packed, scale, bias, start in self._parts:
            kernel(x, step, packed, scale, bias, self.depth, out, column + start, finish)


class PackedInt4:
    """A 4-bit weight packed into panels of outputs, for vector registers."""

    def __init__(self, weight: Int4, bias: F32, using: Instructions) -> None:
        self.outputs, self.depth = weight.shape
        self._group = weight.group
        self._parts: list[tuple[Callable[..., None], Any, F32, F32, int]] = []
        lanes, lane_depth = using.int4_lanes, INT4_DEPTH[using.int4_dot]
        for kernel, width, start, stop in _cut(self.outputs, products.kernels(using).int4):
            part = weight.rows(start, stop)
            panels = -(-(stop - start) // width)
            scale = _packed_scale(part, panels, width, using.half)
            size = panels * width * packing.padded_depth(self.depth)
            packed = memory.zeros((size // 2,), np.uint8)
            values = np.ascontiguousarray(part.values)
            packing.pack_int4(values, self.depth, lanes, width // lanes, lane_depth, packed)
            columns = _frozen(bias[start:stop].copy())
            self._parts.append((kernel, _frozen(packed), _frozen(scale), columns, start))

    def __call__(self, x: F32, step: int, out: F32, column: int = 0, finish: int = WRITE) -> None:
        """Apply the weight; see `Linear`."""
        depth, group = self.depth, self._group
        for kernel, packed, scale, bias, start in self._parts:
            kernel(x, step, packed, scale, bias, depth, group, out, column + start, finish)


def _packed_scale(weight: Int4, panels: int, width: int, half: bool) -> Any:
    """Return scales as ``[block, panel, group, n]``, float16 in uint16 or float32."""
    outputs, groups = weight.scale.shape
    padded = np.zeros((panels * width, groups), np.float16 if half else np.float32)
    padded[:outputs] = weight.scale
    panel = padded.reshape(panels, width, groups).transpose(0, 2, 1)
    block = packing.BLOCK // weight.group
    blocks = [panel[:, g : g + block].reshape(-1, width) for g in range(0, groups, block)]
    packed: Any = np.ascontiguousarray(np.concatenate(blocks))
    return packed.view(np.uint16) if half else packed


def _cut(outputs: int, kernels: dict[int, Any]) -> list[tuple[Any, int, int, int]]:
    """Cut outputs into whole wide panels and narrow ones; the last of those may lack some."""
    (wide, wide_kernel), (narrow, narrow_kernel) = kernels.items()
    whole = outputs // wide * wide
    parts = [(wide_kernel, wide, 0, whole), (narrow_kernel, narrow, whole, outputs)]
    return [part for part in parts if part[3] > part[2]]


def _frozen(array: Any) -> Any:
    view = array.view()
    view.flags.writeable = False
    return view
