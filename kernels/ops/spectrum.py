"""Log spectra of windows of samples, in bands."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fcs_edge.kernels._types import F32, I64, Scalar
from fcs_edge.kernels.ops import vecmath
from fcs_edge.kernels.ops.vecmath import multiply_add
from fcs_edge.kernels.runtime._jit import factory, inline, kernel

LANES = 8
"""Windows that are transformed side by side, on every CPU."""

Kernel = Callable[..., None]


@inline
def _write_windows(samples: F32, hop: int, window: F32, order: I64, work: F32, count: int) -> None:
    """``work[order[n], 0, i] = window[n] samples[i hop + n]``, 0 from i = count on."""
    for n in range(window.size):
        windows = work[order[n]]
        for i in range(LANES):
            windows[0, i] = window[n] * samples[i * hop + n] if i < count else np.float32(0)
            windows[1, i] = np.float32(0)


@factory
def log_bands() -> Kernel:
    """Return the kernel of the bands of a stream's windows."""
    global band_power, carray, stack, transform
    from numba.np.numpy_support import carray

    from fcs_edge.kernels.gemm.panels import stack
    from fcs_edge.kernels.ops.spectrum_panels import band_power, transform

    @kernel
    def log_bands(
        samples: F32,
        hop: int,
        window: F32,
        order: I64,
        roots: F32,
        filters: F32,
        ranges: I64,
        floor: Scalar,
        mean: Scalar,
        buffer: F32,
        work: F32,
        out: F32,
    ) -> None:
        """``out[m, b] = log(sum_k filters[b, k] |X[m, k]| ** 2 + floor ** 2) / 2 - mean``.

        X[m] is the transform of ``window[n] x[m hop + n]``, x the last size - hop samples, then
        these. samples is (rows hop,); window (size,); order (size,) numbers with their bits
        reversed; roots as of `transform`; filters (bands, size / 2 + 1), 0 outside of ranges[b, 0]
        <= k < ranges[b, 1]. buffer (at least size - hop + rows hop,) starts with the last samples,
        and the call advances it. work (size, 2, LANES) is workspace; out is (rows, bands).
        """
        past, (rows, bands) = window.size - hop, out.shape
        power = carray(stack(np.float32, LANES), LANES)
        for n in range(samples.size):
            buffer[past + n] = samples[n]
        for first in range(0, rows, LANES):
            count = min(LANES, rows - first)
            _write_windows(buffer[first * hop :], hop, window, order, work, count)
            transform(LANES, work, roots)
            for b in range(bands):
                start, stop = ranges[b, 0], ranges[b, 1]
                band_power(LANES, work, filters, b * filters.shape[1], start, stop, power)
                for i in range(count):
                    out[first + i, b] = power[i]
        for m in range(rows):
            row = out[m]
            for b in range(bands):
                logarithm = vecmath.log(multiply_add(floor, floor, row[b]))
                row[b] = multiply_add(np.float32(0.5), logarithm, -mean)
        for n in range(past):
            buffer[n] = buffer[samples.size + n]

    return log_bands
