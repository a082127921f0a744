"""Log spectra of windows of samples, in bands."""

import numpy as np

from fcs_edge.kernels._types import F32, I64, Scalar
from fcs_edge.kernels.ops.vecmath import log, multiply_add
from fcs_edge.kernels.runtime._jit import kernel


@kernel
def transform(work: F32, roots: F32) -> None:
    """``X[k] = sum_n x[n] exp(-2 pi i n k / size)``, in place; size is a power of two.

    work (size, 2), real and imaginary part, holds x in the order of its bits reversed; roots
    (size / 2, 2) holds ``exp(-2 pi i k / size)``. Cooley and Tukey, An algorithm for the machine
    calculation of complex Fourier series, Mathematics of Computation 19 (1965).
    """
    size = work.shape[0]
    half = 1
    while half < size:
        step = size // (2 * half)
        for start in range(0, size, 2 * half):
            for k in range(half):
                low, high = start + k, start + k + half
                c, s = roots[k * step, 0], roots[k * step, 1]
                real = multiply_add(work[high, 0], c, -work[high, 1] * s)
                imaginary = multiply_add(work[high, 0], s, work[high, 1] * c)
                work[high, 0] = work[low, 0] - real
                work[high, 1] = work[low, 1] - imaginary
                work[low, 0] += real
                work[low, 1] += imaginary
        half *= 2


@kernel
def log_bands(
    samples: F32,
    hop: int,
    window: F32,
    order: I64,
    roots: F32,
    filters: F32,
    floor: Scalar,
    mean: Scalar,
    work: F32,
    out: F32,
) -> None:
    """``out[m, b] = log(sum_k filters[b, k] |X[m, k]| ** 2 + floor ** 2) / 2 - mean``.

    X[m] is the transform of ``window[n] samples[m hop + n]``. samples ((rows - 1) hop + size,);
    window (size,); order (size,) numbers with their bits reversed; roots as of `transform`;
    filters (bands, size / 2 + 1); work (size, 2) is workspace; out (rows, bands).
    """
    size = window.size
    for m in range(out.shape[0]):
        for n in range(size):
            work[order[n], 0] = window[n] * samples[m * hop + n]
            work[order[n], 1] = np.float32(0)
        transform(work, roots)
        for b in range(out.shape[1]):
            power = np.float32(0)
            for k in range(filters.shape[1]):
                squares = multiply_add(work[k, 0], work[k, 0], work[k, 1] * work[k, 1])
                power = multiply_add(filters[b, k], squares, power)
            logarithm = log(multiply_add(floor, floor, power))
            out[m, b] = multiply_add(np.float32(0.5), logarithm, -mean)
