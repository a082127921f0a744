"""Spectrogram pairs: the level of two signals on one grid of picture cells."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FLOOR_DB = -80.0
"""The lowest level of a cell, in dB of the loudest cell."""

_WINDOW_SECONDS, _HOP_SECONDS = 0.025, 0.005
_TOP_HZ = 12000.0
_MIN_SECONDS = 0.1
_MAX_FRAMES_A_COLUMN = 8


class Pair(NamedTuple):
    """Two spectrograms on shared axes.

    Attributes
    ----------
    original, decoded : ndarray of float64, shape (rows, columns)
        Level in dB of the loudest cell of both, from `FLOOR_DB` to 0. Row 0 starts at 0 Hz.
    seconds, top_hz : float
        Time at the right edge, in seconds, and frequency at the upper edge, in Hz.
    """

    original: NDArray[np.float64]
    decoded: NDArray[np.float64]
    seconds: float
    top_hz: float


def analyse(
    original: NDArray[np.float32],
    rate_in: int,
    decoded: NDArray[np.float32],
    rate_out: int,
    rows: int,
    columns: int,
) -> Pair:
    """Compute the spectrograms of two mono signals on one grid of cells.

    Frequency runs to the higher Nyquist frequency, at most 12 kHz. Time runs to the end of the
    longer signal, at least 0.1 s. A cell is the maximum of the frames and bins in it. Frames are
    Hann windows of 25 ms with a hop of 5 ms, or a longer one for a long signal.

    Parameters
    ----------
    original, decoded : numpy.ndarray
        (samples,) float32, of any length, 0 included.
    rate_in, rate_out : int
        Their sample rates in Hz.
    rows, columns : int
        Size of the grid in cells.

    Returns
    -------
    Pair
        Both spectrograms and their axes.
    """
    top_hz = min(max(rate_in, rate_out) / 2, _TOP_HZ)
    seconds = max(len(original) / rate_in, len(decoded) / rate_out, _MIN_SECONDS)
    before = _power(original, rate_in, seconds / columns, top_hz / rows, (rows, columns))
    after = _power(decoded, rate_out, seconds / columns, top_hz / rows, (rows, columns))
    peak = max(before.max(), after.max()) or 1.0
    floor = 10 ** (FLOOR_DB / 10)
    before, after = (10 * np.log10(np.maximum(cells / peak, floor)) for cells in (before, after))
    return Pair(before, after, seconds, top_hz)


def _power(
    signal: NDArray[np.float32],
    rate: int,
    cell_seconds: float,
    cell_hz: float,
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Return the power in each cell; 0 beyond the signal's end or its Nyquist frequency."""
    rows, columns = shape
    window = max(round(_WINDOW_SECONDS * rate), 1)
    # The hop grows with the signal, so that an hour costs no more than a minute.
    hop = max(round(_HOP_SECONDS * rate), 1, -(-len(signal) // (_MAX_FRAMES_A_COLUMN * columns)))
    padded = np.pad(np.asarray(signal, np.float64), (window // 2, window))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[: len(signal) + 1 : hop]
    hann = np.hanning(window + 2)[1:-1]
    power = np.abs(np.fft.rfft(frames * (hann / hann.sum()), n=2 * window)) ** 2
    power = power[:, : int(rows * cell_hz / rate * 2 * window) + 1]

    # A cell covers the frames and bins from its start to the next cell's start, at least one.
    at_frame = (np.arange(columns) * (cell_seconds * rate / hop)).astype(np.intp)
    at_bin = (np.arange(rows) * (cell_hz / rate * 2 * window)).astype(np.intp)
    at_frame, at_bin = at_frame[at_frame < len(power)], at_bin[at_bin < power.shape[1]]
    filled = np.maximum.reduceat(np.maximum.reduceat(power, at_frame, axis=0), at_bin, axis=1)
    cells = np.zeros(shape)
    cells[: len(at_bin), : len(at_frame)] = filled.T
    return cells
