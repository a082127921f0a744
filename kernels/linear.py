"""Linear layers, and convolutions as linear layers over overlapping windows."""

from __future__ import annotations

import os
from typing import Protocol

import numpy as np

from fcs_edge.kernels._jit import kernel, reduction
from fcs_edge.kernels._types import F32
from fcs_edge.kernels.simd import host_lanes, panel_product

CHOICES = ("simd", "plain")
CHOICE = os.environ.get("FCS_EDGE_KERNELS", "simd")
"""Which of `CHOICES` `prepare` takes."""

LANES = host_lanes()
# Four rows of sums and a vector each of weights and inputs: AVX2 has 16 registers, AVX-512 and
# NEON have 32.
_VECTORS = 3 if LANES == 8 else 4
WIDE, NARROW = _VECTORS * LANES, LANES
"""Outputs of a panel; what is left over by wide ones goes to narrow ones, then to plain loops."""

_DEPTH = 256
"""Products summed in one go: sums of sums round less than one long sum."""

_wide_by_4 = panel_product(4, LANES, _VECTORS)
_wide_by_1 = panel_product(1, LANES, _VECTORS)
_narrow_by_4 = panel_product(4, LANES, 1)
_narrow_by_1 = panel_product(1, LANES, 1)


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


class PlainLinear:
    """A float32 weight, used where it lies (it may be memory-mapped), in plain loops."""

    def __init__(self, weight: F32, bias: F32) -> None:
        self.outputs, self.depth = weight.shape
        self._weight = _frozen(weight)
        self._bias = _frozen(bias)

    def __call__(self, x: F32, step: int, out: F32, column: int = 0) -> None:
        """Apply the weight; see `Linear`."""
        linear_f32(x, step, self._weight, self._bias, out, column)


class PackedLinear:
    """A float32 weight packed into panels of outputs, for vector registers."""

    def __init__(self, weight: F32, bias: F32) -> None:
        self.outputs, self.depth = weight.shape
        self._panels: list[tuple[int, F32, F32]] = []
        start = 0
        for width in (WIDE, NARROW):
            end = start + (self.outputs - start) // width * width
            if end > start:
                packed = pack(weight[start:end], width)
                self._panels.append((start, packed, _frozen(bias[start:end].copy())))
            start = end
        self._rest_at = start
        self._rest = None
        if start < self.outputs:
            self._rest = PlainLinear(weight[start:].copy(), bias[start:].copy())

    def __call__(self, x: F32, step: int, out: F32, column: int = 0) -> None:
        """Apply the weight; see `Linear`."""
        for start, packed, bias in self._panels:
            linear_panels(x, step, packed, bias, out, column + start)
        if self._rest is not None:
            self._rest(x, step, out, column + self._rest_at)


def prepare(weight: F32, bias: F32 | None = None) -> Linear:
    """Prepare a weight for use on this machine.

    Parameters
    ----------
    weight : numpy.ndarray
        (outputs, depth) float32, contiguous.
    bias : numpy.ndarray, optional
        (outputs,) float32; zeros where it is absent.

    Returns
    -------
    Linear
        The operator ``y = x @ weight.T + bias``.
    """
    if bias is None:
        bias = np.zeros(weight.shape[0], np.float32)
    return PlainLinear(weight, bias) if CHOICE == "plain" else PackedLinear(weight, bias)


def pack(weight: F32, width: int) -> F32:
    """Return ``packed[p, k, n] = weight[p * width + n, k]``, read-only and contiguous.

    Parameters
    ----------
    weight : numpy.ndarray
        (outputs, depth) float32, outputs a multiple of `width`.
    width : int
        Outputs of a panel.
    """
    outputs, depth = weight.shape
    packed = np.empty((outputs // width, depth, width), np.float32)
    packed[:] = weight.reshape(-1, width, depth).transpose(0, 2, 1)
    return _frozen(packed)


def _frozen(array: F32) -> F32:
    view: F32 = array.view()
    view.flags.writeable = False
    return view


@kernel
def linear_panels(x: F32, step: int, packed: F32, bias: F32, out: F32, column: int) -> None:
    """``out[m, column + n] = bias[n] + sum_k x[m * step + k] * weight[n, k]``.

    `packed` is ``pack(weight, WIDE)`` or ``pack(weight, NARROW)``. Every output is summed in the
    same order, whatever rows stand beside it: grouping rows into calls changes no bit.
    """
    panels, depth, width = packed.shape
    rows, stride = out.shape
    for m in range(rows):
        for n in range(panels * width):
            out[m, column + n] = bias[n]
    for p in range(panels):
        for k in range(0, depth, _DEPTH):
            some = min(_DEPTH, depth - k)
            w0 = (p * depth + k) * width
            o0 = column + p * width
            m = 0
            while m < rows:
                x0 = m * step + k
                at = m * stride + o0
                if rows - m >= 4:
                    if width == WIDE:
                        _wide_by_4(x, x0, step, packed, w0, some, out, at, stride)
                    else:
                        _narrow_by_4(x, x0, step, packed, w0, some, out, at, stride)
                    m += 4
                else:
                    if width == WIDE:
                        _wide_by_1(x, x0, step, packed, w0, some, out, at, stride)
                    else:
                        _narrow_by_1(x, x0, step, packed, w0, some, out, at, stride)
                    m += 1


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
