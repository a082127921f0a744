"""Which moments of a signal are louder than its noise: levels of bands over a tracked floor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fcs_edge.model.layers import F32

FRAME = 320
"""Samples of a frame, 20 ms at 16 kHz."""
_EDGES = np.array([2, 8, 20, 40, 80, 160])
"""Bands by bins of 50 Hz: 100 to 400 Hz, 1, 2, 4 and 8 kHz."""
_BANDS = _EDGES.size - 1
_LEAST = 10 ** (-84 / 10) / _BANDS
"""Power of a band, full scale 1, below which nothing is audible."""
_FIRST = 10 ** (-68 / 10) / _BANDS
"""Power of a band's floor at the start: a louder noise is learned first."""
_SMOOTHING = 0.4
_PART_FRAMES, _PARTS = 33, 6
"""The floor is the lowest smoothed power of this many parts: 4 s."""
_BIAS = 1.6
"""Mean of a noise's power over the minimum of its smoothed power."""
_PEAK, _MEAN = 10 ** (9 / 10), 10 ** (6 / 10)
"""Power over the floor from which a frame, and the mean of three, is active."""


class ActivityMeter:
    """Compares each band of each frame with the lowest level of the last seconds.

    A frame is active where a band of it exceeds the floor by 9 dB, or of the mean of the last three
    frames by 6 dB. The floor is the minimum of the band's smoothed power (as in Martin, "Noise
    power spectral density estimation", IEEE Trans. Speech and Audio Processing 9 (5), 2001).
    So speech is active even where it is weaker than a noise in other bands.
    """

    def __init__(self) -> None:
        self._window = np.hanning(FRAME)
        self._scale = 2 / (FRAME * np.square(self._window).sum())
        self._smooth = np.full(_BANDS, _FIRST)
        self._lowest = np.full((_PARTS, _BANDS), _FIRST)
        self._current = np.full(_BANDS, np.inf)
        self._before = np.zeros((2, _BANDS))
        self._n = 0

    def is_active(self, samples: F32) -> bool:
        """Return whether one of whole frames is active, (n * FRAME,) float32 at 16 kHz."""
        frames = samples.reshape(-1, FRAME).astype(np.float64)
        spectra = np.abs(np.fft.rfft(frames * self._window, axis=1))[:, : _EDGES[-1]]
        powers = np.add.reduceat(np.square(spectra), _EDGES[:-1], axis=1) * self._scale
        # Each frame moves the floor, so none is left out.
        return sum(self._exceeds(power) for power in powers) > 0

    def _exceeds(self, power: NDArray[np.float64]) -> bool:
        """Compare a frame's bands, (bands,), with the floor, which follows."""
        self._smooth += _SMOOTHING * (power - self._smooth)
        np.minimum(self._current, self._smooth, out=self._current)
        lowest = np.minimum(self._current, self._lowest.min(axis=0))
        floor = np.maximum(_BIAS * lowest, _LEAST)
        self._n += 1
        if self._n % _PART_FRAMES == 0:
            self._lowest[self._n // _PART_FRAMES % _PARTS] = self._current
            self._current.fill(np.inf)
        mean = (power + self._before[0] + self._before[1]) / 3
        self._before[self._n % 2] = power
        return bool((power > _PEAK * floor).any() or (mean > _MEAN * floor).any())
