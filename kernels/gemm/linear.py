"""Linear layers, and convolutions as linear layers over overlapping windows."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.gemm import quantized_weights as stored
from fcs_edge.kernels.gemm.epilogue import ADD as ADD
from fcs_edge.kernels.gemm.epilogue import GELU as GELU
from fcs_edge.kernels.gemm.epilogue import WRITE as WRITE
from fcs_edge.kernels.gemm.linear_packed import PackedGrouped as PackedGrouped
from fcs_edge.kernels.gemm.linear_packed import PackedInteger as PackedInteger
from fcs_edge.kernels.gemm.linear_packed import PackedLinear as PackedLinear
from fcs_edge.kernels.gemm.linear_plain import PlainGrouped, PlainInt4, PlainInt8
from fcs_edge.kernels.gemm.linear_plain import PlainLinear as PlainLinear
from fcs_edge.kernels.gemm.quantized_weights import Int4, Int8, Weight
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.isa.instructions import PLAIN


class Linear(Protocol):
    """A weight prepared for this machine, however it is stored."""

    outputs: int
    depth: int

    def __call__(self, x: F32, step: int, out: F32, column: int = 0, epilogue: int = WRITE) -> None:
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
            Column of `out` that receives the first column of y.
        epilogue : int
            `WRITE`: ``out = y``; `GELU`: ``out = gelu(y)``; `ADD`: ``out += y``.
        """


def prepare(weight: Weight, bias: F32 | None = None) -> Linear:
    """Prepare a weight for use on this machine.

    Parameters
    ----------
    weight : numpy.ndarray, Int8 or Int4
        (outputs, depth), float32, float16 or quantised. Weights of 8 bits multiply activations
        of 12 bits or of 8, as they state; those of 4 bits 8 bits, floats those of float32.
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
            plain = PlainGrouped if weight.activation_bits == 8 else PlainInt8
            return plain(weight, bias)
        if isinstance(weight, Int4):
            return PlainInt4(weight, bias)
        return PlainLinear(stored.float32(weight), bias)
    using = instructions.chosen()
    if isinstance(weight, Int8) and weight.activation_bits == 8:
        return PackedGrouped(weight, bias, using)
    if isinstance(weight, Int8 | Int4):
        return PackedInteger(weight, bias, using)
    return PackedLinear(weight, bias, using)
