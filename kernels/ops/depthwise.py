"""Causal depthwise convolution over a ring of past rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from fcs_edge.kernels._types import F16, F32, I64, Scalar
from fcs_edge.kernels.gemm import quantized_weights as stored
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.isa.instructions import PLAIN, Instructions
from fcs_edge.kernels.ops.half import to_half
from fcs_edge.kernels.ops.history import advance, wrap, write
from fcs_edge.kernels.ops.vecmath import multiply_add
from fcs_edge.kernels.runtime import memory
from fcs_edge.kernels.runtime._jit import factory, inline, kernel

_ROWS = 4
"""Rows that share the reading of a weight."""

VECTORS = 2
"""Registers across a panel: with as many more for rows and sums they fit into 16."""

Kernel = Callable[..., None]


class Depthwise(Protocol):
    """A depthwise convolution prepared for this machine."""

    def ring(self, rows: int) -> Any:
        """Return a zeroed ring for calls of up to `rows` rows: taps - 1 + rows slots.

        Its second dimension is the slots. It is float32, or float16 in uint16.
        """

    def __call__(self, x: F32, ring: Any, cursor: I64, out: F32) -> None:
        """Store x, then ``out[t, c] = bias[c] + sum_j weight[j, c] * row(t + j)[c]``.

        row(taps - 1 + t) is x[t] as the ring holds it, and the rows before it are of the ring too.
        Without a past, they are the first row of x.

        Parameters
        ----------
        x : numpy.ndarray
            (rows, channels) float32.
        ring : numpy.ndarray
            A ring that `ring` returned.
        cursor : numpy.ndarray
            (2,) int64: the slot of the first row of x (the next ones follow and wrap around), and
            0 where there is no past. The call advances both.
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
        Store the past as float16, in half the memory. It is float32 nevertheless in plain
        loops, and where the CPU cannot widen float16 in registers.
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

    def __call__(self, x: F32, ring: F32, cursor: I64, out: F32) -> None:
        """Apply the convolution; see `Depthwise`."""
        depthwise(x, ring[0], cursor, self._weight, self._bias, out)


class PackedDepthwise:
    """Weight and ring in panels of channels: (panels, taps or slots, width).

    A panel's weights are one run of memory, and so are its slots: the CPU prefetches them.
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

    def __call__(self, x: F32, ring: Any, cursor: I64, out: F32) -> None:
        """Apply the convolution; see `Depthwise`."""
        self._convolve(x, ring, cursor, self._weight, self._bias, out)


@inline
def _fill(row: F32, half: bool, ring: Scalar) -> None:
    """``ring[p, i, c] = row[p * width + c]``, as far as row goes."""
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
    global carray, depthwise_rows, stack
    from numba.np.numpy_support import carray

    from fcs_edge.kernels.gemm.panels import stack
    from fcs_edge.kernels.ops.depthwise_microkernel import depthwise_rows

    width = lanes * vectors
    tile_size = _ROWS * width

    @kernel
    def depthwise_panels(x: F32, ring: Any, cursor: I64, weight: Any, bias: F32, out: F32) -> None:
        """Store x and convolve; see `Depthwise`, and `PackedDepthwise` for the layout.

        Every row is summed in the same order, whatever rows stand beside it.
        """
        panels, taps, _ = weight.shape
        size = ring.shape[1]
        rows, channels = out.shape
        if cursor[1] == 0:
            _fill(x[0], half_ring, ring)
        cursor[1] = 1
        slot = advance(cursor, rows, size)
        oldest = wrap(slot + size - (taps - 1), size)
        starts = carray(stack(np.int64, _ROWS), _ROWS)
        tile = carray(stack(np.float32, tile_size), tile_size)
        for p in range(panels):
            c0 = p * width
            used = min(width, channels - c0)
            for t in range(rows):
                to = wrap(slot + t, size)
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
                        last = wrap(oldest + t + j + m, size)
                        starts[m] = (p * size + last) * width
                    # The rows after the block's last one follow it up to the ring's end.
                    some = min(taps - j, size - last)
                    w0 = (p * taps + j) * width
                    depthwise_rows(block, lanes, vectors, ring, starts, weight, w0, some, tile)
                    j += some
                for m in range(block):
                    for c in range(used):
                        out[t + m, c0 + c] = tile[m * width + c]
                t += block

    return depthwise_panels


@kernel
def depthwise(x: F32, ring: F32, cursor: I64, weight: F32, bias: F32, out: F32) -> None:
    """Store x, then ``out[t, c] = bias[c] + sum_j weight[j, c] * row(t + j)[c]``, in plain loops.

    See `Depthwise`. ring is (slots, channels) float32, slots at least taps - 1 + rows.
    """
    size = ring.shape[0]
    taps, channels = weight.shape
    rows = out.shape[0]
    if cursor[1] == 0:
        for i in range(size):
            for c in range(channels):
                ring[i, c] = x[0, c]
    cursor[1] = 1
    slot = advance(cursor, rows, size)
    write(x, ring, slot)
    oldest = wrap(slot + size - (taps - 1), size)
    for t in range(rows):
        for c in range(channels):
            out[t, c] = bias[c]
    for j in range(taps):
        w = weight[j]
        for t in range(rows):
            past = ring[wrap(oldest + j + t, size)]
            y = out[t]
            for c in range(channels):
                y[c] = multiply_add(w[c], past[c], y[c])
