"""Two clocks that should agree and do not: hold a buffer's level by playing a little faster."""

from __future__ import annotations

import math

MAX_CORRECTION = 0.003
"""Most that sound is sped up or slowed down: 5 cents, which no ear tells from none."""

_SMOOTHING_SECONDS = 5.0
_CORRECTION_SECONDS = 20.0
"""A level off by d seconds is brought back at d / 20 a second: with the smoothing, no overshoot."""


class ClockHold:
    """Says how much faster than nominal to play, so that what waits stays at a target.

    The level is taken once a chunk, right behind the chunk: then what moves it is the difference
    of the clocks, and what is left of the device's own blocks is smoothed.

    Parameters
    ----------
    target : float
        Seconds of sound that should wait.
    """

    def __init__(self, target: float) -> None:
        self.target = target
        self._level = math.nan

    @property
    def level(self) -> float:
        """Seconds that wait, smoothed; NaN before the first update."""
        return self._level

    def restart(self) -> None:
        """Forget the level: playing starts anew."""
        self._level = math.nan

    def update(self, level: float, elapsed: float) -> float:
        """Return the speed to play the next chunk at, 1 for nominal.

        ``speed = 1 + (smooth(level) - target) / 20 s``, within `MAX_CORRECTION`.

        Parameters
        ----------
        level : float
            Seconds of sound that wait now.
        elapsed : float
            Seconds since the last update.
        """
        if math.isnan(self._level):
            self._level = self.target
        self._level += (level - self._level) * min(1.0, elapsed / _SMOOTHING_SECONDS)
        wanted = (self._level - self.target) / _CORRECTION_SECONDS
        return 1.0 + max(-MAX_CORRECTION, min(MAX_CORRECTION, wanted))
