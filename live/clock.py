"""Clock drift: hold a buffer's level by playing slightly faster or slower than nominal."""

from __future__ import annotations

import math

MAX_CORRECTION = 0.003
"""Largest relative change of speed: 5 cents of pitch, which is inaudible in speech."""

_SMOOTHING_SECONDS = 5.0
_CORRECTION_SECONDS = 20.0
"""Time constant: a level off by d seconds returns at d / 20 a second, without overshoot."""


class ClockHold:
    """Computes the playback speed that holds the waiting audio at a target.

    The level is measured once a chunk, just after the chunk. Then the drift of the clocks moves
    it, and smoothing removes what the device's blocks add.

    Parameters
    ----------
    target : float
        Seconds of audio that should wait.
    """

    def __init__(self, target: float) -> None:
        self.target = target
        self._level = math.nan

    @property
    def level(self) -> float:
        """Smoothed seconds that wait; NaN before the first update."""
        return self._level

    def restart(self) -> None:
        """Discard the level, because playback starts again."""
        self._level = math.nan

    def update(self, level: float, elapsed: float) -> float:
        """Return the speed to play the next chunk at, 1 for nominal.

        ``speed = 1 + (smooth(level) - target) / 20 s``, within `MAX_CORRECTION`.

        Parameters
        ----------
        level : float
            Seconds of audio that wait now.
        elapsed : float
            Seconds since the last update.
        """
        if math.isnan(self._level):
            self._level = self.target
        self._level += (level - self._level) * min(1.0, elapsed / _SMOOTHING_SECONDS)
        correction = (self._level - self.target) / _CORRECTION_SECONDS
        return 1.0 + max(-MAX_CORRECTION, min(MAX_CORRECTION, correction))
