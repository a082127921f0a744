"""Linear layers, and convolutions as linear layers over overlapping windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from fcs_edge.kernels import instructions, linear_plain, packing, products
from fcs_edge.kernels import weights as stored
from fcs_edge.kernels._types import F32
from fcs_edge.kernels.instructions import PLAIN, Instructions
from fcs_edge.kernels.panels import nibbles
from fcs_edge.kernels.weights import Int4, Int8, Weight


class Linear(Protocol):
    """What a layer asks of a prepared weight, whatever its storage."""

    outputs: int
    depth: int

    def __call__(self, x: F32, step: int, out: F32, column: int = 0) -> None:
        """Write ``out[m, column + n] = bias[n] + sum_k x[m * step + k] * weight[n, k]``.

        Parameters
        ----------
        x : numpy.ndarray
            (at least (rows - 1) * step + depth,) float32, contiguous. Rows may overlap.
        step : int
            Elements from one row's start to the next one's.
        out : numpy.ndarray
            (rows, at least column + outputs) float32, contiguous; it must not overlap `x`.
        column : int
            First column written.
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
        if isinstance(weight, Int8 | Int4):
            return PlainInteger(weight, bias)
        return PlainLinear(stored.float32(weight), bias)
    using = instructions.chosen()
    if isinstance(weight, Int8 | Int4):
        return PackedInteger(weight, bias, using)
    return PackedLinear(weight, bias, using)


class PlainLinear:
    """A float32 weight, used where it lies (it may be memory-mapped), in plain loops."""

    def __init__(self, weight: F32, bias: F32) -> None:
        self.outputs, self.depth = weight.shape
        self._weight = _frozen(weight)
        self._bias = _frozen(bias)

    def __call__(self, x: F32, step: int, out: F32, column: int = 0) -> None:
        """Apply the weight; see `Linear`."""
        linear_plain.linear_f32(x, step, self._weight, self._bias, out, column)


class PlainInteger:
    """An integer weight where it lies, in plain loops."""

    def __init__(self, weight: Int8 | Int4, bias: F32) -> None:
        self.outputs, self.depth = weight.shape
        self._weight = weight
        self._scale = _frozen(weight.scale.astype(np.float32))
        self._values = _frozen(weight.values)
        self._bias = _frozen(bias)

    def __call__(self, x: F32, step: int, out: F32, column: int = 0) -> None:
        """Apply the weight; see `Linear`."""
        q = np.empty(self.depth, np.int16)
        if isinstance(self._weight, Int8):
            linear_plain.linear_int8(x, step, self._values, self._scale, self._bias, q, out, column)
        else:
            group = self._weight.group
            linear_plain.linear_int4(
                x, step, self._values, self._scale, self._bias, group, q, out, column
            )


class PackedLinear:
    """A float32 or float16 weight packed into panels of outputs, for vector registers."""

    def __init__(self, weight: Any, bias: F32, using: Instructions) -> None:
        self.outputs, self.depth = weight.shape
        if weight.dtype == np.float16:
            weight = weight.view(np.uint16) if using.half else stored.float32(weight)
        self._parts: list[tuple[Callable[..., None], F32, F32, int]] = []
        for kernel, width, start, stop in _cut(self.outputs, products.kernels(using).floats):
            rows = np.ascontiguousarray(weight[start:stop])
            packed = np.empty((-(-(stop - start) // width), self.depth, width), weight.dtype)
            packing.pack_float(rows, packed)
            self._parts.append((kernel, _frozen(packed), _frozen(bias[start:stop].copy()), start))

    def __call__(self, x: F32, step: int, out: F32, column: int = 0) -> None:
        """Apply the weight; see `Linear`."""
        for kernel, packed, bias, start in self._parts:
            kernel(x, step, packed, bias, out, column + start)


class PackedInteger:
    """An integer weight packed into panels of outputs, for vector registers."""

    def __init__(self, weight: Int8 | Int4, bias: F32, using: Instructions) -> None:
        self.outputs, self.depth = weight.shape
        kernels = products.kernels(using)
        four = isinstance(weight, Int4)
        # A scale for all inputs is a group that never ends.
        self._group = weight.group if isinstance(weight, Int4) else 1 << 30
        self._parts: list[tuple[Callable[..., None], Any, F32, F32, int]] = []
        for kernel, width, start, stop in _cut(
            self.outputs, kernels.int4 if four else kernels.int8
        ):
            part = weight.rows(start, stop)
            scale = np.atleast_2d(part.scale.T).astype(np.float32)
            panels = -(-(stop - start) // width)
            padded = np.zeros((scale.shape[0], panels * width), np.float32)
            padded[:, : stop - start] = scale
            packed = _packed_integer(part, panels, width, using)
            columns = _frozen(bias[start:stop].copy())
            self._parts.append((kernel, packed, _frozen(padded), columns, start))

    def __call__(self, x: F32, step: int, out: F32, column: int = 0) -> None:
        """Apply the weight; see `Linear`."""
        for kernel, packed, scale, bias, start in self._parts:
            kernel(x, step, packed, scale, bias, self.depth, self._group, out, column + start)


def _packed_integer(weight: Int8 | Int4, panels: int, width: int, using: Instructions) -> Any:
    size = panels * packing.padded_depth(weight.shape[1])
    values: Any = np.ascontiguousarray(weight.values)
    if isinstance(weight, Int8):
        packed = np.zeros((size, width), np.int8)
        packing.pack_int8(values, using.integer_depth, packed)
        return _frozen(packed)
    lanes = using.integer_lanes
    packed4 = np.zeros((size // 2, width), np.uint8)
    per_load = nibbles(lanes, using.dot)[0]
    packing.pack_int4(
        values, weight.depth, lanes, width // lanes, using.integer_depth, per_load, packed4
    )
    return _frozen(packed4.view(np.int8))


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
