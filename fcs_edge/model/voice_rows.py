"""A voice, between stages 4 and 5: each feature row becomes the mean of its nearest rows.

The method is k nearest neighbours in feature space (Baas, van Niekerk, Kamper, Voice conversion
with just nearest neighbors, Interspeech 2023). It has no state: each row stands alone.

Rows of float32 are all compared by their exact cosine. Others have an index of 8-bit integers: a
matrix product lists candidates, and their exact cosines rank them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fcs_edge.kernels._types import F16, I8
from fcs_edge.kernels.gemm import linear
from fcs_edge.kernels.gemm import quantized_weights as stored
from fcs_edge.kernels.gemm.quantized_weights import Int8
from fcs_edge.kernels.ops import neighbours
from fcs_edge.kernels.runtime import memory
from fcs_edge.model.layers import F32, Array, new

MAX_TOPK = 64
"""Most rows of a mean."""

CANDIDATES = 16
"""Rows that are ranked by their exact cosine, at least."""

_PER_NEIGHBOUR = 4
"""Candidates for each row of the mean, at least."""

ACTIVATION_BITS = 8
"""Bits of the features that multiply the index; the exact cosines are those of float32."""

_ROWS = 32
"""Features that are replaced at once: the scores of all rows are held for each."""

_LEAST = np.float32(1e-30)
"""A row counts as zeros where its squared length is not above this."""

_POWER = 0.75
"""Of a column's spread, as measured: of two speakers it changes fewest of the nearest rows."""

_LEAST_SPREAD = 1e-20
"""A column that varies less is stored as its mean."""

_BLOCK = 1024
"""Rows that are converted at once."""


class Scales(NamedTuple):
    """What makes floats of int8: ``columns[0, k] + columns[1, k] * (scale[j] * rows[j, k])``."""

    scale: F32
    """(n,) float32: of each row."""
    columns: F32
    """(2, width) float32: what is added to each column, and what multiplies it before."""

    def of(self, rows: Any) -> Scales:
        """Return those of some rows: a slice or an array of indices."""
        return Scales(np.ascontiguousarray(self.scale[rows]), self.columns)


def quantized(rows: F32 | F16) -> tuple[I8, Scales]:
    """Return rows as int8: -127 to 127 times a scale a row, about each column's mean and spread.

    Rows of zeros are left out: rounded, they would have a cosine. Columns differ more than rows:
    with one scale a row the nearest rows would be others too often.
    """
    rows = rows[np.einsum("ij,ij->i", rows, rows, dtype=np.float64) > float(_LEAST)]
    n = len(rows)
    blocks = [slice(start, start + _BLOCK) for start in range(0, n, _BLOCK)]
    mean = sum(rows[part].astype(np.float64).sum(0) for part in blocks) / n
    squares = sum(((rows[part].astype(np.float64) - mean) ** 2).sum(0) for part in blocks)
    spread = np.sqrt(squares / n)
    spread[spread < _LEAST_SPREAD] = 1
    columns = np.array([mean, spread**_POWER], np.float32)
    values, scale = np.empty(rows.shape, np.int8), np.empty(n, np.float32)
    for part in blocks:
        rounded = stored.quantize_int8((rows[part].astype(np.float32) - columns[0]) / columns[1])
        values[part], scale[part] = rounded.values, rounded.scale
    return values, Scales(scale, columns)


class VoiceRows:
    """Rows of a voice, ready to be searched.

    Parameters
    ----------
    rows : numpy.ndarray
        (n, width) float32, float16 or int8, finite.
    scales : Scales, optional
        What makes floats of int8.
    """

    def __init__(self, rows: F32 | F16 | I8, scales: Scales | None = None) -> None:
        inverse = np.empty(len(rows), np.float32)
        exact = rows.dtype == np.float32
        index = Int8(
            memory.zeros((0 if exact else len(rows), rows.shape[1]), np.int8),
            np.zeros(len(rows), np.float32),
            ACTIVATION_BITS,
        )
        for start in range(0, len(rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            block = as_float32(rows[part], None if scales is None else scales.of(part))
            neighbours.inverse_norms(block, _LEAST, inverse[part])
            if not exact:
                rounded = stored.quantize_int8(block)
                index.values[part] = rounded.values
                index.scale[part] = rounded.scale * inverse[part]
        # A zero row has no cosine.
        usable = np.flatnonzero(inverse)
        if usable.size < len(rows):
            rows, inverse = rows[usable], inverse[usable]
            scales = None if scales is None else scales.of(usable)
            if not exact:
                index = Int8(index.values[usable], index.scale[usable], ACTIVATION_BITS)
        self.size, self.width = rows.shape
        self._rows = stored.frozen(rows.view(np.uint16) if rows.dtype == np.float16 else rows)
        self._scales, self._inverse = scales, stored.frozen(inverse)
        self._index = None if exact else linear.prepare(index)

    def score(self, x: F32, scores: F32) -> None:
        """Write the scores of all rows, (x rows, rows)."""
        if self._index is None:
            neighbours.cosines(x, self._rows, self._inverse, scores)
        else:
            self._index(x.reshape(-1), x.shape[1], scores)

    def gather(self, listed: NDArray[np.int64], out: F32) -> None:
        """Write the listed rows, (x rows, candidates, width)."""
        if self._scales is not None:
            neighbours.gather_int8(self._rows, *self._scales, listed, out)
        elif self._rows.dtype == np.uint16:
            neighbours.gather_half(self._rows, listed, out)
        else:
            neighbours.gather(self._rows, listed, out)

    def average(self, x: F32, state: VoiceState, out: F32) -> None:
        """Write the mean of the nearest of the gathered rows."""
        n = x.shape[0]
        gathered, listed = state.gathered[:n], state.listed[:n]
        best, nearest = state.best[: state.nearest.size], state.nearest
        neighbours.mean_of_nearest(x, gathered, self._inverse, listed, best, nearest, out)


def as_float32(rows: Array, scales: Scales | None) -> F32:
    """Return rows of a voice as float32."""
    if scales is None:
        return np.ascontiguousarray(rows, np.float32)
    out = new(1, *rows.shape)
    listed = np.arange(len(rows))[None]
    neighbours.gather_int8(np.ascontiguousarray(rows), *scales, listed, out)
    return out.reshape(rows.shape)


class VoiceState:
    """Workspace of a search: nothing stays from call to call."""

    def __init__(self, rows: VoiceRows, topk: int, max_rows: int) -> None:
        n = min(max_rows, _ROWS)
        listed = min(max(CANDIDATES, _PER_NEIGHBOUR * topk), rows.size)
        self.scores = new(n, rows.size)
        self.best = new(listed)
        self.listed = np.zeros((n, listed), np.int64)
        self.gathered = new(n, listed, rows.width)
        self.nearest = np.zeros(min(topk, rows.size), np.int64)
        self.workspace = memory.own_scratch()
        """Gives all blocks of rows the same: what calls follow does not depend on their number."""

    def reset(self) -> None:
        """Start a new stream."""

    def history(self) -> list[Array]:
        """Return what resumes the stream: nothing."""
        return []


class VoiceStage:
    """Replaces features by the mean of the nearest rows of a voice.

    Parameters
    ----------
    rows : VoiceRows
        The voice.
    topk : int
        Rows of the mean; all where the voice has fewer.
    """

    def __init__(self, rows: VoiceRows, topk: int) -> None:
        self._rows, self._topk = rows, topk

    def state(self, max_rows: int) -> VoiceState:
        """Return workspace for calls of up to `max_rows` features."""
        return VoiceState(self._rows, self._topk, max_rows)

    def __call__(self, x: F32, out: F32, state: VoiceState) -> None:
        """Write the means for x (rows, width) into out, another array of its shape."""
        with memory.scratch_from(state.workspace):
            for start in range(0, x.shape[0], _ROWS):
                self._replace(x[start : start + _ROWS], out[start : start + _ROWS], state)

    def _replace(self, x: F32, out: F32, state: VoiceState) -> None:
        n = x.shape[0]
        listed = state.listed[:n]
        self._rows.score(x, state.scores[:n])
        neighbours.largest(state.scores[:n], state.best, listed)
        self._rows.gather(listed, state.gathered[:n])
        self._rows.average(x, state, out)
