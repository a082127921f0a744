"""What is odd about samples: not finite, or of another scale than 1."""

from __future__ import annotations

import math

import numpy as np

from fcs_edge.model.layers import F32

PEAK_LIMIT = 4.0
"""A larger sample is no overload: the sound has another scale. Loud masters reach 2."""


def peak_of(signal: F32) -> float:
    """Return the largest magnitude of (n,) float32 that is finite; 0 of no samples."""
    if not signal.size:
        return 0.0
    peak = max(float(signal.max()), -float(signal.min()))
    if math.isfinite(peak):
        return peak
    return float(np.abs(signal[np.isfinite(signal)]).max(initial=0))


def not_finite(n: int) -> str | None:
    """Return a warning about samples that are NaN or infinite; None where there is none."""
    if not n:
        return None
    return f"{n} samples are NaN or infinite; they are encoded as 0"


def beyond_full_scale(peak: float) -> str | None:
    """Return a warning about a peak beyond `PEAK_LIMIT`; None for any other."""
    if not peak > PEAK_LIMIT:
        return None
    return (
        f"the samples reach {peak:.6g}, and full scale is 1; divide them first, those of int16 by "
        "32768"
    )
