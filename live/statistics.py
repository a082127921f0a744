"""What a live stream has done so far, in constant memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from fcs_edge.model.layers import F32, new

_KEPT = 1000
_FALL_DB = 20.0
"""How fast a meter falls, a second."""


class ChunkTimes:
    """How long chunks took: the last thousand, and the longest of all."""

    def __init__(self) -> None:
        self._ms = new(_KEPT)
        self.n = 0
        self.longest_ms = 0.0

    def add(self, seconds: float) -> None:
        """Count a chunk."""
        self._ms[self.n % _KEPT] = 1e3 * seconds
        self.n += 1
        self.longest_ms = max(self.longest_ms, 1e3 * seconds)

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the last chunks in milliseconds, NaN before the first."""
        n = min(self.n, _KEPT)
        return float(np.percentile(self._ms[:n], percent)) if n else math.nan


class Meter:
    """The level of a sound: its peak, which falls slowly, as a meter's needle does."""

    def __init__(self) -> None:
        self.peak_db = -math.inf
        """dB below full scale."""

    def update(self, samples: F32, seconds: float) -> None:
        """Take (n,) float32 that last so many seconds into account."""
        top = float(np.abs(samples).max()) if samples.size else 0.0
        level = 20 * math.log10(top) if top > 0 else -math.inf
        self.peak_db = max(level, self.peak_db - _FALL_DB * seconds)


@dataclass
class Statistics:
    """Counted by the worker, shown by others."""

    times: ChunkTimes = field(default_factory=ChunkTimes)
    """Of encoding and decoding a chunk."""
    heard: Meter = field(default_factory=Meter)
    played: Meter = field(default_factory=Meter)
    n_tokens: int = 0
    last_token: int = 0
    n_late: int = 0
    """Chunks that took longer than they last."""
    n_dropped: float = 0.0
    """Seconds of sound that were not encoded, as the machine did not keep up."""
    n_lost_devices: int = 0
    """Times that a device went away."""
