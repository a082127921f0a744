"""Weights as they are stored: float32, float16, or integers of 8 or 4 bits with scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from fcs_edge.kernels._types import F16, F32, I8, U8
from fcs_edge.kernels.runtime._jit import kernel

GROUP = 64
"""Weights of an output that share a scale in `quantize_int4`."""


@dataclass(frozen=True)
class Int8:
    """``weight[n, k] = values[n, k] * scale[n]``, values -127 to 127."""

    values: I8
    """(outputs, depth) int8."""
    scale: F32
    """(outputs,) float32."""
    activation_bits: int = 12
    """Bits of the activations that it multiplies: 12 or 8."""

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and depth."""
        outputs, depth = self.values.shape
        return outputs, depth

    def rows(self, start: int, stop: int) -> Int8:
        """Return these outputs alone."""
        return Int8(self.values[start:stop], self.scale[start:stop], self.activation_bits)

    def float32(self) -> F32:
        """Return the weight as float32."""
        return self.values * self.scale[:, None]


@dataclass(frozen=True)
class Int4:
    """``weight[n, k] = value[n, k] * scale[n, k // group]``, value -8 to 7."""

    values: U8
    """(outputs, ceil(depth / 2)) uint8, two's complement in four bits: value 2 i in the low bits
    of byte i, value 2 i + 1 in the high ones."""
    scale: F16
    """(outputs, ceil(depth / group)) float16."""
    depth: int
    group: int
    """Weights that share a scale: a power of two from 32 to 1024."""

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and depth."""
        return self.values.shape[0], self.depth

    def rows(self, start: int, stop: int) -> Int4:
        """Return these outputs alone."""
        return Int4(self.values[start:stop], self.scale[start:stop], self.depth, self.group)

    def float32(self) -> F32:
        """Return the weight as float32."""
        values = np.empty((self.shape[0], 2 * self.values.shape[1]), np.int8)
        values[:, 0::2] = (self.values << 4).view(np.int8) >> 4
        values[:, 1::2] = self.values.view(np.int8) >> 4
        scale = np.repeat(self.scale.astype(np.float32), self.group, axis=1)
        return values[:, : self.depth] * scale[:, : self.depth]


Weight: TypeAlias = F32 | F16 | Int8 | Int4
"""A matrix (outputs, depth), however it is stored."""


def rows(weight: Weight, start: int, stop: int) -> Weight:
    """Return some outputs of a weight, as a view."""
    return weight.rows(start, stop) if isinstance(weight, Int8 | Int4) else weight[start:stop]


def float32(weight: Weight) -> F32:
    """Return a weight as contiguous float32."""
    if isinstance(weight, Int8 | Int4):
        return weight.float32()
    return np.ascontiguousarray(weight, np.float32)


def frozen(array: Any) -> Any:
    """Return a read-only view."""
    view = array.view()
    view.flags.writeable = False
    return view


def quantize_int8(weight: F32) -> Int8:
    """Round each output's weights to -127 ... 127 times a scale: its largest weight / 127.

    Parameters
    ----------
    weight : numpy.ndarray
        (outputs, depth) float32.
    """
    scale = np.abs(weight).max(1, initial=0) / np.float32(127)
    # Weights that are all zero, or so small that their scale is none, are zeros.
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 1e-30)
    values = np.empty(weight.shape, np.int8)
    for n in range(weight.shape[0]):
        values[n] = np.rint(weight[n] * inverse[n])
    return Int8(values, scale)


def quantize_int4(weight: F32, group: int = GROUP) -> Int4:
    """Round each group's weights to -8 ... 7 times a scale.

    A search tries several scales, such as the largest weight over -8 ... -5. Each group takes the
    scale with the least sum of squared errors, as in the k-quants of llama.cpp.

    Parameters
    ----------
    weight : numpy.ndarray
        (outputs, depth) float32.
    group : int
        Weights that share a scale.
    """
    outputs, depth = weight.shape
    groups = -(-depth // group)
    values = np.zeros((outputs, -(-depth // 2)), np.uint8)
    scale = np.zeros((outputs, groups), np.float32)
    divisors = np.arange(-34, -19).astype(np.float32) / 4
    # What is multiplied is the scale as stored.
    candidates = np.empty((outputs, groups, divisors.size), np.float16)
    padded = np.zeros((outputs, groups * group), np.float32)
    padded[:, :depth] = weight
    grouped = padded.reshape(outputs, groups, group)
    at = np.abs(grouped).argmax(2)
    largest = np.take_along_axis(grouped, at[:, :, None], 2)
    candidates[:] = np.clip(largest / divisors, -65504, 65504)
    best_int4(np.ascontiguousarray(weight), candidates.astype(np.float32), group, scale, values)
    return Int4(values, scale.astype(np.float16), depth, group)


@kernel
def best_int4(weight: F32, candidates: F32, group: int, scale: F32, values: U8) -> None:
    """``scale[n, g] = argmin_s sum_k (weight[n, k] - s * clip(rint(weight[n, k] / s), -8, 7))**2``.

    s is one of candidates[n, g]; k runs through group g. values is written as `Int4` holds it.
    """
    outputs, depth = weight.shape
    for n in range(outputs):
        for g in range(candidates.shape[1]):
            start, stop = g * group, min((g + 1) * group, depth)
            least = np.float32(np.inf)
            for c in range(candidates.shape[2]):
                s = candidates[n, g, c]
                inverse = np.float32(1) / s if s != 0 else np.float32(0)
                error = np.float32(0)
                for k in range(start, stop):
                    w = weight[n, k]
                    q = min(max(np.rint(w * inverse), np.float32(-8)), np.float32(7))
                    error += (w - s * q) * (w - s * q)
                if error < least:
                    least = error
                    scale[n, g] = s
            s = scale[n, g]
            inverse = np.float32(1) / s if s != 0 else np.float32(0)
            for k in range(start, stop):
                w = weight[n, k]
                q = np.int32(min(max(np.rint(w * inverse), np.float32(-8)), np.float32(7)))
                values[n, k // 2] |= np.uint8((q & 15) << (4 * (k % 2)))
