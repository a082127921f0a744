"""Features of recordings for a voice: without silence, and a drawn part of them where many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fcs_edge.audio.reader import AudioInput, open_input
from fcs_edge.codec import BLOCK_CHUNKS, Codec
from fcs_edge.model.layers import F32
from fcs_edge.streams.whole_windows import overhang

FRAME = 320
"""Samples of a level: 20 ms at 16 kHz."""

BELOW_LOUD = 40.0
"""Decibels that silence is below the loud frames of its recording."""

LOUD = 0.95
"""Share of a recording's frames that are no louder than the loud ones."""

LEAST_LEVEL = -75.0
"""Decibels below full scale, of a frame's effective value, that are always silence."""

_WINDOW = 30 * 16000
"""Samples whose rows a model that needs the whole signal makes at once."""

_BINS = 960
"""Quarters of a decibel from `_FLOOR` to 40 dB above full scale."""
_FLOOR = -200.0


class Recording(NamedTuple):
    """A recording that was read once."""

    path: str
    seconds: float
    least: float
    """Frames below this level, in decibels, are silence."""
    losses: tuple[str, ...]
    remarks: tuple[str, ...]


def levels(samples: F32) -> NDArray[np.float64]:
    """Return the level of each whole frame, in decibels below full scale."""
    frames = samples[: samples.size // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64)
    return np.asarray(10 * np.log10(np.mean(frames**2, axis=1) + 1e-20))


def survey(path: str, rate: int, resampler: str) -> Recording:
    """Read a recording for the levels of its frames.

    Raises
    ------
    fcs_edge.AudioError
        The file is no sound, or holds none.
    """
    counts, rest, n_samples = np.zeros(_BINS, np.int64), np.zeros(0, np.float32), 0
    with open_input(path, None, rate, 1, resampler=resampler) as sound:
        for block in sound.at_rate(rate):
            n_samples += block.size
            samples = np.concatenate([rest, block])
            found = np.clip(4 * (levels(samples) - _FLOOR), 0, _BINS - 1).astype(np.int64)
            counts += np.bincount(found, minlength=_BINS)
            rest = samples[samples.size // FRAME * FRAME :]
        sound.require_sound(n_samples)
        losses, remarks = tuple(sound.losses), tuple(sound.warnings)
    n_loud = np.searchsorted(np.cumsum(counts), LOUD * counts.sum())
    least = max(_FLOOR + float(n_loud) / 4 - BELOW_LOUD, LEAST_LEVEL)
    return Recording(path, n_samples / rate, least, losses, remarks)


class RowPool:
    """Rows of which at most so many stay, each with the same chance.

    The method is reservoir sampling (Vitter, Random sampling with a reservoir, ACM Transactions on
    Mathematical Software 11, 1985), with a fixed seed: the same recordings leave the same rows.

    Parameters
    ----------
    most : int
        Rows that stay at most.
    width : int
        Values of a row.
    """

    def __init__(self, most: int, width: int) -> None:
        self._rows = np.zeros((most, width), np.float16)
        self._random = np.random.default_rng(0)
        self.n_rows = 0
        """Rows so far, those that did not stay included."""

    def add(self, rows: F32) -> None:
        """Take rows, (n, width)."""
        most = len(self._rows)
        free = min(max(most - self.n_rows, 0), len(rows))
        self._rows[self.n_rows : self.n_rows + free] = rows[:free]
        later = np.arange(self.n_rows + free, self.n_rows + len(rows))
        places = self._random.integers(0, later + 1)
        for row, place in zip(rows[free:], places, strict=True):
            if place < most:
                self._rows[place] = row
        self.n_rows += len(rows)

    @property
    def rows(self) -> NDArray[np.float16]:
        """The rows that stay, (n, width)."""
        return self._rows[: min(self.n_rows, len(self._rows))]


class Collector:
    """Collects the feature rows of recordings that are not silence.

    Parameters
    ----------
    codec : Codec
        The model.
    source : str
        The stage whose features are collected: "encoder" or "decompressor".
    most : int
        Rows that stay at most.
    resampler : str
        How sound of other rates is resampled, as `open_input` takes it.
    """

    def __init__(self, codec: Codec, source: str, most: int, resampler: str) -> None:
        config = codec.model.config
        self._resampler = resampler
        self._codec, self._source = codec, source
        width = config.encoder.dim if source == "encoder" else config.decompressor.output_dim
        self.pool = RowPool(most, width)
        samples = codec.samples_per_token * config.decoder.hop_length / codec.samples_out_per_token
        self._samples_per_row = config.encoder.frame_size if source == "encoder" else samples
        self.seconds = 0.0
        """Sound that rows were made of, without silence."""

    def collect(self, recording: Recording, show: Callable[[float], None]) -> None:
        """Take the rows of a recording; `show` is given the seconds that are done."""
        rate = self._codec.sample_rate_in
        with open_input(recording.path, None, rate, 1, resampler=self._resampler) as sound:
            waiting, first = np.zeros(0), 0
            for rows, found, n_samples in self._features(sound):
                waiting = np.concatenate([waiting, found])
                # The last row may stand for less than a frame.
                at = (self._samples_per_row * np.arange(first, first + len(rows))) // FRAME
                used = at < waiting.size
                loud = np.zeros(len(rows), bool)
                loud[used] = waiting[at[used].astype(np.int64)] > recording.least
                if loud.any():
                    self.pool.add(rows[loud])
                self.seconds += float(loud.sum()) * self._samples_per_row / 16000
                first += len(rows)
                show(n_samples / rate)

    def _features(self, sound: AudioInput) -> Iterator[tuple[F32, NDArray[np.float64], int]]:
        """Yield rows, the levels of further frames, and the number of samples read so far."""
        n_samples, rest = 0, np.zeros(0, np.float32)
        push, flush = self._maker()
        for block in sound.at_rate(self._codec.sample_rate_in):
            n_samples += block.size
            samples = np.concatenate([rest, block])
            rest = samples[samples.size // FRAME * FRAME :]
            yield push(block), levels(samples), n_samples
        yield flush(), levels(rest), n_samples

    def _maker(self) -> tuple[Callable[[F32], F32], Callable[[], F32]]:
        """Return what makes rows of samples, and what makes the last ones."""
        codec, source = self._codec, self._source
        if codec.encodes_streams and (source == "encoder" or codec.decodes_streams):
            stream = codec.stage_stream("encoder", source, BLOCK_CHUNKS)
            return stream.push, stream.flush
        features = codec.features if source == "encoder" else self._decompressed
        beyond = overhang(codec.model.config.encoder)
        windows = _Windows(features, round(_WINDOW / self._samples_per_row), beyond)
        return windows.push, windows.flush

    def _decompressed(self, samples: F32) -> F32:
        codec = self._codec
        return codec.decompress(codec.codes(codec.encode(samples)))


class _Windows:
    """Features of a model that needs the whole signal, of one window after another.

    Parameters
    ----------
    features : callable
        Returns the rows of a signal.
    most : int
        Rows of a window.
    beyond : int
        Samples that its last row reads beyond it.
    """

    def __init__(self, features: Callable[[F32], F32], most: int, beyond: int) -> None:
        self._features, self._most, self._size = features, most, _WINDOW + beyond
        self._samples = np.zeros(0, np.float32)

    def push(self, samples: F32) -> F32:
        """Take samples; return the rows of the windows that they fill."""
        self._samples = np.concatenate([self._samples, samples])
        rows = []
        while self._samples.size >= self._size:
            rows += list(self._features(self._samples[: self._size])[: self._most])
            self._samples = self._samples[_WINDOW:]
        return np.array(rows, np.float32)

    def flush(self) -> F32:
        """Return the rows of the samples that are left."""
        return self._features(self._samples)[: self._most]
