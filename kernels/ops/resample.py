"""A sound at another rate, by a table of filters: one for each phase of the output."""

import numpy as np

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.runtime._jit import kernel


@kernel
def resample(x: F32, filters: F32, step: int, phase: int, out: F32) -> None:
    """``out[i] = sum_k filters[p, k] * x[(phase + i * step) // n + k]``.

    Here n is the number of filters, and p = (phase + i * step) mod n. Products are exact in
    float64, and sums are float64 in the order of k: the CPU changes no bit.

    Parameters
    ----------
    x : numpy.ndarray
        (samples,) float32.
    filters : numpy.ndarray
        (n, taps) float32. Row p is the filter of an output that lies p / n of a sample after one of
        the input.
    step : int
        How far outputs lie apart, in 1 / n of an input sample.
    phase : int
        The row of the first output, whose filter starts at x[0].
    out : numpy.ndarray
        (n_out,) float32.
    """
    n, taps = filters.shape
    place = phase
    for i in range(out.size):
        start, p = place // n, place % n
        total = 0.0
        for k in range(taps):
            total += np.float64(filters[p, k]) * np.float64(x[start + k])
        out[i] = np.float32(total)
        place += step
