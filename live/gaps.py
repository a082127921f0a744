"""Gaps that a device does not report: the clock goes on, and its count of frames stays behind."""

from __future__ import annotations

import math

GAP_SECONDS = 0.002
"""The shortest gap that counts."""
_WINDOW_SECONDS = 1.0
_WARM_UP_WINDOWS = 1
"""Windows to ignore at the start, while a sound server fills its buffers."""


class GapMeter:
    """Measures the sound that a device leaves out, from the times of its blocks.

    The shift of a block is its time, less the duration of all frames before it. Late calls add to
    a shift for one block, so the least shift of each second is free of them. Device clocks move it
    by less than 0.3 ms a second. A rise of 2 ms and more that lasts two seconds is a gap.

    `update` runs on the audio thread; it takes no memory. Others read the counts.

    Parameters
    ----------
    rate : int
        Frames a second.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self.n = 0
        """Gaps so far."""
        self.seconds = 0.0
        """Duration of all gaps."""
        self.longest = 0.0
        """Duration of the longest gap in seconds."""
        self._restart = True
        self._least = math.inf
        self._end = self._level = self._step = 0.0
        self._warming = 0

    def restart(self) -> None:
        """Measure anew from the next block on; from any thread."""
        self._restart = True

    def add(self, other: GapMeter) -> None:
        """Count the gaps of another device too."""
        self.n += other.n
        self.seconds += other.seconds
        self.longest = max(self.longest, other.longest)

    def update(self, seconds: float, n_frames: int) -> None:
        """Note a block.

        Parameters
        ----------
        seconds : float
            The time of the block, on a clock that never jumps.
        n_frames : int
            All frames up to that time.
        """
        shift = seconds - n_frames / self._rate
        if self._restart:
            self._restart = False
            self._least = shift
            self._end = seconds + _WINDOW_SECONDS
            self._step = 0.0
            self._warming = _WARM_UP_WINDOWS + 1
        if shift < self._least:
            self._least = shift
        if seconds >= self._end:
            self._close_window()
            self._end = seconds + _WINDOW_SECONDS
            self._least = math.inf

    def _close_window(self) -> None:
        if self._warming:
            self._warming -= 1
            self._level = self._least
            return
        step = self._least - self._level
        if step < GAP_SECONDS:
            # Clocks that differ, or a device that caught up.
            self._level, self._step = self._least, 0.0
        elif self._step:
            gap = min(step, self._step)
            self.n += 1
            self.seconds += gap
            self.longest = max(self.longest, gap)
            self._level, self._step = self._least, 0.0
        else:
            self._step = step
