"""The steps of a Vocos decoder (arXiv 2306.00814) before and after its inverse transform."""

import numpy as np

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.ops import vecmath
from fcs_edge.kernels.ops.vecmath import multiply_add
from fcs_edge.kernels.runtime._jit import kernel

_LARGEST = np.float32(100)


@kernel
def spectra(x: F32, out: F32) -> None:
    """``out = m cos(phi), m sin(phi)``, m = min(exp(a), 100); a, phi are the halves of x.

    x and out are (rows, 2 bins), not the same array: real parts stand before imaginary ones.
    """
    rows, bins = x.shape[0], x.shape[1] // 2
    for t in range(rows):
        for k in range(bins):
            magnitude = min(vecmath.exp(x[t, k]), _LARGEST)
            out[t, k] = magnitude * vecmath.sin(x[t, bins + k], True)
            out[t, bins + k] = magnitude * vecmath.sin(x[t, bins + k], False)


@kernel
def last_columns(x: F32, out: F32) -> None:
    """``out[t * hop + n] = x[t, columns - hop + n]``, hop = out.size / rows; x (rows, columns)."""
    rows, columns = x.shape
    hop = out.size // max(rows, 1)
    for t in range(rows):
        for n in range(hop):
            out[t * hop + n] = x[t, columns - hop + n]


@kernel
def overlap_add(x: F32, window: F32, first: int, hop: int, out: F32) -> None:
    """``out[(first + t) * hop + n] += window[n] x[t, n]``, t in rising order; x (rows, size)."""
    rows, size = x.shape
    for t in range(rows):
        part = out[(first + t) * hop : (first + t) * hop + size]
        for n in range(size):
            part[n] = multiply_add(window[n], x[t, n], part[n])


@kernel
def divide_by_envelope(x: F32, window: F32, rows: int, hop: int, work: F32) -> None:
    """``x[p] /= sum_t window[p - t hop] ** 2``, 0 <= t < rows in rising order.

    x is ((rows - 1) hop + size,), window (size,); work (hop,) is workspace.
    """
    size = window.size
    for h in range(-(-x.size // hop)):
        part = x[h * hop : min(x.size, (h + 1) * hop)]
        for n in range(hop):
            work[n] = np.float32(0)
        for t in range(max(0, h - (size - 1) // hop), min(rows, h + 1)):
            tail = window[(h - t) * hop : min(size, (h - t + 1) * hop)]
            for n in range(tail.size):
                work[n] = multiply_add(tail[n], tail[n], work[n])
        for n in range(part.size):
            part[n] /= work[n]
