"""Statistics of a live stream, in constant memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from fcs_edge.live.ring import slot
from fcs_edge.model.layers import F32, new

_HISTORY_CHUNKS = 1000
_FALL_DB = 20.0
"""How fast a meter falls, in dB a second."""


class ChunkTimes:
    """Compute times of the last thousand chunks, and the longest of all."""

    def __init__(self) -> None:
        self._ms = new(_HISTORY_CHUNKS)
        self.n = 0
        self.longest_ms = 0.0

    def add(self, seconds: float) -> None:
        """Count a chunk."""
        self._ms[slot(self.n, _HISTORY_CHUNKS)] = 1e3 * seconds
        self.n += 1
        self.longest_ms = max(self.longest_ms, 1e3 * seconds)

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the last chunks in milliseconds, NaN before the first."""
        n = min(self.n, _HISTORY_CHUNKS)
        return float(np.percentile(self._ms[:n], percent)) if n else math.nan


class Meter:
    """A peak meter: it rises at once and falls by 20 dB a second."""

    def __init__(self) -> None:
        self.peak_db = -math.inf
        """Peak in dB relative to full scale."""

    def update(self, samples: F32, seconds: float) -> None:
        """Include (n,) float32 that last `seconds`."""
        top = float(np.abs(samples).max()) if samples.size else 0.0
        level = 20 * math.log10(top) if top > 0 else -math.inf
        self.peak_db = max(level, self.peak_db - _FALL_DB * seconds)


@dataclass
class Statistics:
    """Counters that the worker updates and others display."""

    times: ChunkTimes = field(default_factory=ChunkTimes)
    """Of encoding and decoding a chunk."""
    input_meter: Meter = field(default_factory=Meter)
    output_meter: Meter = field(default_factory=Meter)
    n_tokens: int = 0
    last_token: int = 0
    n_late: int = 0
    """Chunks whose computation took longer than they last."""
    n_dropped: float = 0.0
    """Seconds of audio that were not encoded, because the machine was too slow."""
    cancelling: bool = False
    """Whether the mean of the microphone's channels has 20 dB less energy than the loudest one."""
    n_lost_devices: int = 0
    """Times that a device was lost."""
