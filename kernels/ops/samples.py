"""Samples at the two ends of the codec."""

import numpy as np

from fcs_edge.kernels._types import F32, I64
from fcs_edge.kernels.runtime._jit import kernel

_LEAST = np.float32(1e-30)


@kernel
def sanitize(x: F32, limit: np.float32, out: F32, count: I64) -> None:
    """``out = clip(x, -limit, limit)``, 0 for NaN and infinity; their number adds to count[0].

    Magnitudes below `_LEAST` become 0 too: CPUs are slow with subnormal numbers. Where out is
    longer than x, zeros follow.
    """
    bad = 0
    for n in range(x.size):
        v = x[n]
        if np.isfinite(v):
            out[n] = min(max(v, -limit), limit) if abs(v) >= _LEAST else np.float32(0)
        else:
            out[n] = np.float32(0)
            bad += 1
    for n in range(x.size, out.size):
        out[n] = np.float32(0)
    count[0] += bad


@kernel
def clip(x: F32, out: F32) -> None:
    """``out = clip(x, -1, 1)``; both (samples,)."""
    for n in range(x.size):
        out[n] = min(max(x[n], np.float32(-1)), np.float32(1))


@kernel
def overlap_add(x: F32, tail: F32, out: F32) -> None:
    """``out[m * hop + n] = clip(x[m, n] + x[m - 1, hop + n], -1, 1)``; the last tail is retained.

    x is (rows, hop + tail.size), out (rows * hop,); tail.size is at most hop. ``tail[n]`` stands
    for ``x[-1, hop + n]``, and becomes that of the last row. Where n is tail.size or more, nothing
    is added.
    """
    rows, size = x.shape[0], tail.size
    hop = x.shape[1] - size
    for m in range(rows):
        part = out[m * hop : (m + 1) * hop]
        for n in range(size):
            v = x[m, n] + tail[n]
            part[n] = min(max(v, np.float32(-1)), np.float32(1))
            tail[n] = x[m, hop + n]
        for n in range(size, hop):
            part[n] = min(max(x[m, n], np.float32(-1)), np.float32(1))
