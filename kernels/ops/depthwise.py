"""Causal depthwise convolution over a ring of past rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from fcs_edge.kernels._types import F16, F32, I64, Scalar
from fcs_edge.kernels.gemm import quantized_weights as stored
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.isa.instructions import PLAIN, Instructions
from fcs_edge.kernels.ops import history as rings
from fcs_edge.kernels.ops.half import to_half
from fcs_edge.kernels.runtime import memory
from fcs_edge.kernels.runtime._jit import factory, inline, kernel

_ROWS = 4
"""Rows that share the reading of a weight."""

VECTORS = 2
"""Registers across a panel: with as many more for rows and sums they fit into 16."""

Kernel = Callable[..., None]


class Depthwise(Protocol):
    """What a layer asks of a prepared depthwise convolution."""

    def ring(self, rows: int) -> Any:
        """Return memory for the past of calls of up to `rows` rows, zeroed: that many slots more.

        Its second dimension is the slots. It is float32, or float16 in uint16.
        """

    def __call__(self, x: F32, ring: Any, place: I64, out: F32) -> None:
        """Store x, then ``out[t, c] = bias[c] + sum_j weight[j, c] * row(t + j)[c]``.

        row(taps - 1 + t) is x[t] as the ring holds it, and so are the ones before it. Where there
        is no past, it is the first row of x again and again.

        Parameters
        ----------
        x : numpy.ndarray
            (rows, channels) float32.
        ring : numpy.ndarray
            What `ring` returned.
        place : numpy.ndarray
            (2,) int64: the slot of the first row of x, after which the next ones follow, wrapping
            around; and 0 where there is no past. Both are moved on.
        out : numpy.ndarray
            (rows, channels) float32, not x.
        """


def prepare(weight: F32 | F16, bias: F32, half: bool = False) -> Depthwise:
    """Prepare a convolution for use on this machine.

    Parameters
    ----------
    weight : numpy.ndarray
        (taps, channels), float32 or float16.
    bias : numpy.ndarray
        (channels,) float32.
    half : bool
        Keep the past as float16, in half the memory. Where the CPU cannot widen float16 in
        registers, and in plain loops, it is float32 nevertheless.
    """
    if instructions.CHOICE == PLAIN:
        return PlainDepthwise(stored.float32(weight), bias)
    return PackedDepthwise(weight, bias, instructions.chosen(), half)


class PlainDepthwise:
    """A float32 weight where it lies, in plain loops; the ring is (1, slots, channels)."""

    def __init__(self, weight: F32, bias: F32) -> None:
        self._weight, self._bias = weight, bias

    def ring(self, rows: int) -> F32:
        """Return memory for the past; see `Depthwise`."""
        taps, channels = self._weight.shape
        return np.zeros((1, taps - 1 + rows, channels), np.float32)

    def __call__(self, x: F32, ring: F32, place: I64, out: F32) -> None:
        """Apply the convolution; see `Depthwise`."""
        slot, begun = place.tolist()
        if not begun:
            ring[:] = x[0]
        rings.write(x, ring[0], slot)
        depthwise(ring[0], slot, self._weight, self._bias, out)
        place[:] = (slot + x.shape[0]) % ring.shape[1], 1


class PackedDepthwise:
    """Weight and ring in panels of channels: (panels, taps or slots, width).

    What a panel takes is one run of memory, which the CPU fetches ahead.
    """

    def __init__(
        self, weight: F32 | F16, bias: F32, using: Instructions, half: bool = False
    ) -> None:
        if weight.dtype == np.float16 and not using.half:
            weight = stored.float32(weight)
        taps, channels = weight.shape
        width = using.lanes * VECTORS
        panels = -(-channels // width)
        padded = np.zeros((taps, panels * width), weight.dtype)
        padded[:, :channels] = weight
        packed = memory.zeros((panels, taps, width), weight.dtype)
        packed[:] = padded.reshape(taps, panels, width).transpose(1, 0, 2)
        self._weight: Any = packed.view(np.uint16) if packed.dtype == np.float16 else packed
        self._bias = np.zeros(panels * width, np.float32)
        self._bias[:channels] = bias
        kinds = self._weight.dtype == np.uint16, half and using.half
        self._ring_type = np.uint16 if kinds[1] else np.float32
        self._convolve = depthwise_panels(using.lanes, VECTORS, *kinds)

    def ring(self, rows: int) -> Any:
        """Return memory for the past; see `Depthwise`."""
        panels, taps, width = self._weight.shape
        return memory.zeros((panels, taps - 1 + rows, width), self._ring_type)

    def __call__(self, x: F32, ring: Any, place: I64, out: F32) -> None:
        """Apply the convolution; see `Depthwise`."""
        self._convolve(x, ring, place, self._weight, self._bias, out)


@inline
def _fill(row: F32, half: bool, ring: Scalar) -> None:
    """``ring[p, i, c] = row[p * width + c]``, where row has so many numbers."""
    panels, size, width = ring.shape
    for p in range(panels):
        part = row[p * width : (p + 1) * width]
        for i in range(size):
            for c in range(part.size):
                if half:
                    ring[p, i, c] = to_half(part[c])
                else:
                    ring[p, i, c] = part[c]


@factory
def depthwise_panels(lanes: int, vectors: int, half: bool, half_ring: bool) -> Kernel:
    """Return the kernel for panels of lanes * vectors channels; weights or ring may be float16."""
    global carray, depthwise_panel, stack
    from numba.np.numpy_support import carray

    from fcs_edge.kernels.gemm.panels import stack
    from fcs_edge.kernels.ops.depthwise_microkernel import depthwise_panel

    width = lanes * vectors
    tile_size = _ROWS * width

    @kernel
    def depthwise_panels(x: F32, ring: Any, place: I64, weight: Any, bias: F32, out: F32) -> None:
        """Store x and convolve; see `Depthwise`, and `PackedDepthwise` for the layout.

        Every row is summed in the same order, whatever rows stand beside it.
        """
        panels, taps, _ = weight.shape
        size = ring.shape[1]
        rows, channels = out.shape
        if place[1] == 0:
            _fill(x[0], half_ring, ring)
        slot = place[0]
        place[0], place[1] = (slot + rows) % size, 1
        oldest = slot - (taps - 1)
        if oldest < 0:
            oldest += size
        starts = carray(stack(np.int64, _ROWS), _ROWS)
        tile = carray(stack(np.float32, tile_size), tile_size)
        for p in range(panels):
            c0 = p * width
            used = min(width, channels - c0)
            for t in range(rows):
                to = slot + t
                if to >= size:
                    to -= size
                for c in range(used):
                    ring[p, to, c] = to_half(x[t, c0 + c]) if half_ring else x[t, c0 + c]
            t = 0
            while t < rows:
                block = _ROWS if rows - t >= _ROWS else 1
                for m in range(block):
                    for c in range(width):
                        tile[m * width + c] = bias[c0 + c]
                j = 0
                while j < taps:
                    last = 0
                    for m in range(block):
                        last = oldest + t + j + m
                        if last >= size:
                            last -= size
                        starts[m] = (p * size + last) * width
                    # The rows after the block's last one follow it up to the ring's end.
                    some = min(taps - j, size - last)
                    w0 = (p * taps + j) * width
                    if block == _ROWS:
                        depthwise_panel(
                            _ROWS, lanes, vectors, ring, starts, weight, w0, some, tile, 0
                        )
                    else:
                        depthwise_panel(1, lanes, vectors, ring, starts, weight, w0, some, tile, 0)
                    j += some
                for m in range(block):
                    for c in range(used):
                        out[t + m, c0 + c] = tile[m * width + c]
                t += block

    return depthwise_panels


@kernel
def depthwise(ring: F32, newest: int, weight: F32, bias: F32, out: F32) -> None:
    """``out[t, c] = bias[c] + sum_j weight[j, c] * row(t + j)[c]``, in plain loops.

    row(taps - 1 + t) is the t-th of the rows last written, row(0) the oldest one needed.

    Parameters
    ----------
    ring : numpy.ndarray
        (size, channels) float32, size at least taps - 1 + rows.
    newest : int
        Slot of the first of the `rows` rows last written.
    weight : numpy.ndarray
        (taps, channels) float32.
    bias : numpy.ndarray
        (channels,) float32.
    out : numpy.ndarray
        (rows, channels) float32.
    """
    size = ring.shape[0]
    taps, channels = weight.shape
    rows = out.shape[0]
    oldest = newest - (taps - 1)
    if oldest < 0:
        oldest += size
    for t in range(rows):
        for c in range(channels):
            out[t, c] = bias[c]
    for j in range(taps):
        w = weight[j]
        for t in range(rows):
            slot = oldest + j + t
            if slot >= size:
                slot -= size
            x = ring[slot]
            y = out[t]
            for c in range(channels):
                y[c] += w[c] * x[c]
