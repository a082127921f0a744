"""The comfort token: what sounds like a pause when it is decoded again and again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fcs_edge.codec import Codec
from fcs_edge.model.layers import U16

WINDOW_SECONDS = 0.02
_REPEAT_SECONDS = 0.96
"""Time after which a repeated token sounds the same, to 0.2 dB."""
_CANDIDATES, _UNSURE_BITS = 18, 4
_GOOD_DB = 1.5
"""Cost at which no further candidate is tried."""
_FAR_DB = 6.0
"""Distance half-way to where nothing changes at which a candidate is given up."""
_EDGES = np.array([2, 8, 20, 40, 80, 160])
"""Bands by bins of 50 Hz: 100 to 400 Hz, 1, 2, 4 and 8 kHz."""
_LEAST_POWER = 10**-8.5
"""Power re full scale that counts as silence."""


class Decoded(NamedTuple):
    """How a decoded chunk sounds.

    Attributes
    ----------
    levels : (windows,) ndarray of float64
        In dB re full scale, of each 20 ms.
    spectrum : (bands,) ndarray of float64
        In dB.
    """

    levels: NDArray[np.float64]
    spectrum: NDArray[np.float64]

    @property
    def level(self) -> float:
        """Mean level in dB."""
        return float(self.levels.mean())


class Comfort(NamedTuple):
    """A comfort token.

    Attributes
    ----------
    tokens : (chunk_tokens,) ndarray of uint16
        The token, for a chunk.
    decoded : Decoded
        How it sounds once nothing changes.
    state : object
        The state of a `ChunkDecoder` then.
    """

    tokens: U16
    decoded: Decoded
    state: Any


class ChunkDecoder:
    """Decodes chunks, and measures how they sound.

    Parameters
    ----------
    codec : Codec
        The model.
    """

    def __init__(self, codec: Codec) -> None:
        self._decoder = codec.stream_decoder()
        self._samples = np.empty(codec.chunk_tokens * codec.samples_out_per_token, np.float32)
        self._window = round(WINDOW_SECONDS * codec.sample_rate_out)

    def decode(self, tokens: U16) -> Decoded:
        """Decode the next chunk."""
        self._decoder.step(tokens, self._samples)
        count = self._samples.size // self._window
        windows = self._samples[: count * self._window].astype(np.float64).reshape(count, -1)
        levels = _decibels(np.square(windows).mean(axis=1))
        spectra = np.square(np.abs(np.fft.rfft(windows * np.hanning(self._window), axis=1)))
        bands = np.add.reduceat(spectra[:, : _EDGES[-1]], _EDGES[:-1], axis=1).mean(axis=0)
        return Decoded(levels, _decibels(bands / self._window**2))

    @property
    def state(self) -> Any:
        """What `resume` continues from."""
        return self._decoder.__reduce__()[2]

    def resume(self, state: Any) -> None:
        """Continue from the state of this or another decoder of the model."""
        self._decoder.__setstate__(state)

    def reset(self) -> None:
        """Start a new stream."""
        self._decoder.reset()


class ComfortChooser:
    """Chooses comfort tokens.

    Parameters
    ----------
    codec : Codec
        The model.
    """

    def __init__(self, codec: Codec) -> None:
        self._decoder = ChunkDecoder(codec)
        self._bits, self._chunk_tokens = codec.bits_per_token, codec.chunk_tokens
        self._repeats = max(1, math.ceil(_REPEAT_SECONDS / codec.latency - 1e-9))

    def choose(self, tokens: U16, decoded: Sequence[Decoded]) -> Iterator[Comfort | None]:
        """Yield None after each decoded chunk, and at the end what sounds most like a pause.

        Parameters
        ----------
        tokens : (n,) ndarray of uint16
            Tokens of the pause.
        decoded : sequence of Decoded
            How their chunks sound.
        """
        target = Decoded(
            np.concatenate([sound.levels for sound in decoded]),
            np.mean([sound.spectrum for sound in decoded], axis=0),
        )
        best, least = None, math.inf
        for token in candidates(tokens, self._bits):
            chunk = np.full(self._chunk_tokens, token, np.uint16)
            self._decoder.reset()
            for n in range(self._repeats):
                sound = self._decoder.decode(chunk)
                yield None
                if n == self._repeats // 2 and abs(sound.level - target.level) > _FAR_DB:
                    break
            if (value := _cost(sound, target)) < least:
                best, least = Comfort(chunk, sound, self._decoder.state), value
            if value < _GOOD_DB:
                break
        yield best

    def step(self, state: Any, last: Decoded, tokens: U16) -> float:
        """Return by how many dB the level steps where a chunk follows a state and its last one."""
        self._decoder.resume(state)
        return abs(float(self._decoder.decode(tokens).levels[0] - last.levels[-1]))


def candidates(sample: U16, bits: int) -> list[int]:
    """Return tokens that may stand for all of a sample, (n,): the likeliest first.

    These are the token of the most frequent bits, those with its least certain bits flipped, and
    the most frequent tokens.
    """
    weights = 1 << np.arange(bits, dtype=np.int64)
    shares = ((sample[:, None].astype(np.int64) & weights) != 0).mean(axis=0)
    centre = int(weights[shares > 0.5].sum())
    unsure = weights[np.argsort(np.abs(shares - 0.5), kind="stable")[:_UNSURE_BITS]].tolist()
    values, counts = np.unique(sample, return_counts=True)
    frequent = values[np.argsort(-counts, kind="stable")].tolist()
    near = [centre, *(centre ^ bit for bit in unsure)]
    near += [centre ^ a ^ b for i, a in enumerate(unsure) for b in unsure[:i]]
    mixed = [token for pair in zip(near, frequent, strict=False) for token in pair]
    return list(dict.fromkeys([*mixed, *near, *frequent]))[:_CANDIDATES]


def _cost(trial: Decoded, target: Decoded) -> float:
    """Return how far a repeated token is from a pause, in dB."""
    level = abs(trial.level - target.level)
    distance = float(np.abs(trial.spectrum - target.spectrum).mean())
    return level + 0.25 * distance + 0.25 * float(np.std(trial.levels))


def _decibels(power: NDArray[np.float64]) -> NDArray[np.float64]:
    decibels: NDArray[np.float64] = 10 * np.log10(np.maximum(power, _LEAST_POWER))
    return decibels
