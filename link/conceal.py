"""Concealment: audio in place of lost chunks."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fcs_edge.arguments import as_tokens
from fcs_edge.codec import Codec
from fcs_edge.model.layers import F32

FULL_CHUNKS = 1
"""Lost chunks in a row that are played at full level."""
FADE_CHUNKS = 8
"""Further lost chunks, over which the level falls to zero."""
RAMP_SECONDS = 0.01
"""Seconds in which the level returns after a loss."""


class Concealer:
    """Decodes one stream of chunks of which some are lost.

    In place of a lost chunk, the last received token is decoded `chunk_tokens` times. The
    decoder's state advances with it, so the waveform stays continuous. The first `FULL_CHUNKS`
    lost in a row keep their level; over the next `FADE_CHUNKS` it falls linearly to zero. With
    no chunk lost, the samples equal those of a `StreamDecoder`.

    Parameters
    ----------
    codec : Codec
        The model. All memory but that of the returned samples is allocated here.
    """

    def __init__(self, codec: Codec) -> None:
        self._decoder = codec.stream_decoder()
        self._bits = codec.bits_per_token
        self._samples = codec.chunk_tokens * codec.samples_out_per_token
        self._tokens = np.zeros(codec.chunk_tokens, np.uint16)
        self._chunk = np.arange(1, self._samples + 1, dtype=np.float32) / self._samples
        ramp = min(round(RAMP_SECONDS * codec.sample_rate_out), self._samples)
        self._ramp = np.arange(ramp, dtype=np.float32) / ramp
        # The first step records its calls, which takes longer than a chunk on a small board.
        self._decoder.step(self._tokens, np.empty(self._samples, np.float32))
        self.reset()

    def reset(self) -> None:
        """Discard the state and start a new stream."""
        self._decoder.reset()
        self._lost = 0
        self._level = 1.0
        self._started = False

    def play(self, tokens: ArrayLike) -> F32:
        """Decode a received chunk.

        Parameters
        ----------
        tokens : array_like
            (chunk_tokens,) integers.

        Returns
        -------
        numpy.ndarray
            (chunk_tokens * samples_out_per_token,) float32 at the output rate, in [-1, 1].

        Raises
        ------
        TypeError
            The tokens are not integers.
        ValueError
            The tokens are not one chunk, or one is out of range.
        """
        received = as_tokens(tokens, self._bits)
        if received.size != self._tokens.size:
            raise ValueError(f"a chunk is {self._tokens.size} tokens, not {received.size}")
        samples = np.empty(self._samples, np.float32)
        self._decoder.step(received, samples)
        self._tokens[:] = received[-1]
        if self._level < 1:
            samples[: self._ramp.size] *= self._level + (1 - self._level) * self._ramp
        self._started, self._lost, self._level = True, 0, 1.0
        return samples

    def conceal(self) -> F32:
        """Return the samples for a lost chunk.

        Returns
        -------
        numpy.ndarray
            (chunk_tokens * samples_out_per_token,) float32 at the output rate, in [-1, 1];
            zeros before the first chunk, and once the level is zero.
        """
        if not self._started:
            self._level = 0.0
        samples = np.zeros(self._samples, np.float32)
        if self._level == 0:
            return samples
        self._decoder.step(self._tokens, samples)
        if self._lost >= FULL_CHUNKS:
            elapsed = self._lost - FULL_CHUNKS + self._chunk
            samples *= np.maximum(0, 1 - elapsed / FADE_CHUNKS)
        self._lost += 1
        self._level = max(0.0, 1 - max(0, self._lost - FULL_CHUNKS) / FADE_CHUNKS)
        return samples
