"""Causal depthwise convolution over a ring of past rows."""

from fcs_edge.kernels._jit import kernel
from fcs_edge.kernels._types import F32


@kernel
def depthwise(ring: F32, newest: int, weight: F32, bias: F32, out: F32) -> None:
    """``out[t, c] = bias[c] + sum_j weight[j, c] * row(t + j)[c]``.

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
