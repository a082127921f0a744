"""Linear layers whose weights are packed into panels of outputs, for vector registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fcs_edge.kernels._types import F32, I8, I16
from fcs_edge.kernels.gemm import grouped_products, packing, products
from fcs_edge.kernels.gemm import quantized_weights as stored
from fcs_edge.kernels.gemm.epilogue import WRITE
from fcs_edge.kernels.gemm.quantized_weights import Int4, Int8
from fcs_edge.kernels.isa.instructions import Instructions
from fcs_edge.kernels.runtime import memory


class PackedLinear:
    """A float32 or float16 weight."""

    def __init__(self, weight: Any, bias: F32, using: Instructions) -> None:
        self.outputs, self.depth = weight.shape
        if weight.dtype == np.float16:
            weight = weight.view(np.uint16) if using.half else stored.float32(weight)
        compiled = products.kernels(using)
        half = weight.dtype == np.uint16
        kernels = compiled.halves if half else compiled.floats
        pack = packing.pack_half if half else packing.pack_float
        self._parts: list[tuple[Callable[..., None], F32, F32, int]] = []
        for kernel, width, start, stop in _cut(self.outputs, kernels):
            rows = np.ascontiguousarray(weight[start:stop])
            panels = -(-(stop - start) // width)
            packed = memory.zeros((panels, self.depth, width), weight.dtype)
            pack(rows, packed)
            columns = stored.frozen(bias[start:stop].copy())
            self._parts.append((kernel, stored.frozen(packed), columns, start))

    def __call__(self, x: F32, step: int, out: F32, column: int = 0, epilogue: int = WRITE) -> None:
        """Apply the weight; see `linear.Linear`."""
        for kernel, packed, bias, start in self._parts:
            kernel(x, step, packed, bias, out, column + start, epilogue, 0, len(packed))


class PackedInteger:
    """A weight of 8 or 4 bits."""

    def __init__(self, weight: Int8 | Int4, bias: F32, using: Instructions) -> None:
        self.outputs, self.depth = weight.shape
        compiled = products.kernels(using)
        if isinstance(weight, Int8):
            self._group, kernels = packing.padded_depth(self.depth), compiled.int8
        else:
            self._group, kernels = weight.group, compiled.int4
        bits, dot = (8, using.int8_dot) if isinstance(weight, Int8) else (4, using.int4_dot)
        self._work = products.integer_work(bits, dot.number)
        self._parts: list[tuple[Callable[..., None], Any, F32, F32, int, int]] = []
        for kernel, width, start, stop in _cut(self.outputs, kernels):
            part = weight.rows(start, stop)
            if isinstance(part, Int8):
                packed, scale = _packed_int8(part, width, using)
            else:
                packed, scale = _packed_int4(part, width, using)
            columns = stored.frozen(bias[start:stop].copy())
            panels = -(-(stop - start) // width)
            parts = kernel, stored.frozen(packed), stored.frozen(scale), columns, start, panels
            self._parts.append(parts)

    def __call__(self, x: F32, step: int, out: F32, column: int = 0, epilogue: int = WRITE) -> None:
        """Apply the weight; see `linear.Linear`."""
        depth, group = self.depth, self._group
        work = _workspace(self._work, out)
        for kernel, packed, scale, bias, start, panels in self._parts:
            to = out, column + start, epilogue
            kernel(x, step, packed, scale, bias, depth, group, work, *to, 0, panels)


class PackedGrouped:
    """A weight of 8 bits, for activations of 8 bits."""

    def __init__(self, weight: Int8, bias: F32, using: Instructions) -> None:
        self.outputs, self.depth = weight.shape
        dot = using.grouped[-1]
        self._work = grouped_products.grouped_work(dot.number)
        self._parts: list[tuple[Callable[..., None], I8, I16, F32, F32, int, int]] = []
        for kernel, width, start, stop in _cut(self.outputs, products.kernels(using).grouped):
            part, panels = weight.rows(start, stop), -(-(stop - start) // width)
            packed, scale = _packed_values(part, width, dot.depth, 0)
            sums = np.zeros(0, np.int16)
            # Activations in 16 bits have no base, and their products need no sums.
            if dot.factor_bits == 8:
                sums = packing.pack_group_sums(part.values, panels, width)
            arrays = (stored.frozen(a) for a in (packed, sums, scale, bias[start:stop].copy()))
            self._parts.append((kernel, *arrays, start, panels))

    def __call__(self, x: F32, step: int, out: F32, column: int = 0, epilogue: int = WRITE) -> None:
        """Apply the weight; see `linear.Linear`."""
        work = _workspace(self._work, out)
        for kernel, packed, sums, scale, bias, start, panels in self._parts:
            to = work, out, column + start, epilogue
            kernel(x, step, packed, sums, scale, bias, self.depth, *to, 0, panels)


def _workspace(row_bytes: int, out: F32) -> Any:
    """Return the workspace of a call, for rows that take so many bytes each."""
    return memory.scratch(row_bytes * min(out.shape[0], products.MOST_ROWS))


def _packed_int8(weight: Int8, width: int, using: Instructions) -> tuple[Any, F32]:
    """Return values and scales of panels of so many outputs."""
    # Flipping the highest bit adds 128.
    flip = -128 if using.int8_dot.unsigned_weights else 0
    return _packed_values(weight, width, using.int8_dot.depth, flip)


def _packed_values(weight: Int8, width: int, lane_depth: int, flip: int) -> tuple[Any, F32]:
    """Return values, as `packing.pack_int8` lays them out, and scales of panels."""
    outputs, depth = weight.shape
    panels = -(-outputs // width)
    packed = memory.zeros((panels * width * packing.padded_depth(depth),), np.int8)
    packing.pack_int8(np.ascontiguousarray(weight.values), width, lane_depth, flip, packed)
    return packed, packing.pack_row_scale(weight.scale, panels, width)


def _packed_int4(weight: Int4, width: int, using: Instructions) -> tuple[Any, Any]:
    """Return values and scales of panels of so many outputs."""
    outputs, depth = weight.shape
    panels, lanes, dot = -(-outputs // width), using.int4_lanes, using.int4_dot
    packed = memory.zeros((panels * width * packing.padded_depth(depth) // 2,), np.uint8)
    values = np.ascontiguousarray(weight.values)
    # Flipping the highest bit adds 8.
    flip = 0 if dot.across else 8
    packing.pack_int4(values, depth, lanes, width // lanes, dot.depth, flip, packed)
    return packed, packing.pack_group_scale(weight.scale, weight.group, panels, width, using.half)


def _cut(outputs: int, kernels: dict[int, Any]) -> list[tuple[Any, int, int, int]]:
    """Cut outputs into full wide panels and narrow ones; the last panel may lack outputs.

    Each part is a kernel, its panels' width, the first output and the one after the last.
    """
    parts, start = [], 0
    for width, kernel in kernels.items():
        stop = outputs if width == min(kernels) else outputs // width * width
        if stop > start:
            parts.append((kernel, width, start, stop))
        start = stop
    return parts
