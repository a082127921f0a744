"""Durations of many sounds: exact sums, quantiles, and a histogram."""

from __future__ import annotations

from typing import Any

import numpy as np

_MOST = 1 << 18
"""Durations that are held; of more, as many are drawn."""
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_PER_DECADE = 10
_FIRST, _LAST = -2, 5
"""The histogram reaches from 0.01 s to 28 hours; what is beyond is in its first or last bin."""


class Durations:
    """Counts durations in constant memory.

    Quantiles are exact for 262,144 durations, and those of as many drawn at random beyond.

    Parameters
    ----------
    most : int
        Durations that are held.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._values = np.zeros(most)
        self._n = 0
        self._sum = 0.0
        self._least, self._most = np.inf, 0.0
        self._edges = np.logspace(_FIRST, _LAST, (_LAST - _FIRST) * _PER_DECADE + 1)
        self._files = np.zeros(self._edges.size - 1, np.int64)
        self._seconds = np.zeros(self._edges.size - 1)
        self._random = np.random.default_rng(0)

    def add(self, seconds: float) -> None:
        """Count a duration."""
        place = self._n
        if place >= self._values.size:
            place = int(self._random.integers(self._n + 1))
        if place < self._values.size:
            self._values[place] = seconds
        self._n += 1
        self._sum += seconds
        self._least, self._most = min(self._least, seconds), max(self._most, seconds)
        bin = np.searchsorted(self._edges, seconds, side="right") - 1
        bin = min(max(0, int(bin)), self._files.size - 1)
        self._files[bin] += 1
        self._seconds[bin] += seconds

    def facts(self) -> dict[str, Any]:
        """Return the sums, in seconds; those of no durations are None."""
        if not self._n:
            return {"min": None, "mean": None, "max": None, "quantiles": {}, "histogram": None}
        drawn = self._values[: self._n]
        values = np.quantile(drawn, _QUANTILES)
        used = np.flatnonzero(self._files)
        first, last = used[0], used[-1] + 1
        return {
            "min": self._least,
            "mean": self._sum / self._n,
            "max": self._most,
            "quantiles": {
                f"{q:g}": float(value) for q, value in zip(_QUANTILES, values, strict=True)
            },
            "histogram": {
                "edges_s": self._edges[first : last + 1].tolist(),
                "files": self._files[first:last].tolist(),
                "hours": (self._seconds[first:last] / 3600).tolist(),
            },
        }
