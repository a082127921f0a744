"""Linear layers, and convolutions as linear layers over overlapping windows."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from fcs_edge.kernels._jit import reduction
from fcs_edge.kernels._types import F32


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


class LinearF32:
    """A float32 weight, used where it lies (it may be memory-mapped)."""

    def __init__(self, weight: F32, bias: F32) -> None:
        self.outputs, self.depth = weight.shape
        self._weight = weight
        self._bias = bias

    def __call__(self, x: F32, step: int, out: F32, column: int = 0) -> None:
        """Apply the weight; see `Linear`."""
        linear_f32(x, step, self._weight, self._bias, out, column)


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
    weight = weight.view()
    bias = bias.view()
    weight.flags.writeable = False
    bias.flags.writeable = False
    return LinearF32(weight, bias)


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
