"""Sound for chunks that never came."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fcs_edge.codec import Codec
from fcs_edge.model.layers import F32
from fcs_edge.stream import as_tokens

FULL_CHUNKS = 1
"""Lost chunks in a row that are played at full level."""
FADE_CHUNKS = 8
"""Lost chunks after those over which the level falls to zero."""
RAMP_SECONDS = 0.01
"""How long the level takes to come back."""


class Concealer:
    """Decodes one stream of chunks of which some are lost.

    In place of a lost chunk the last token that came is decoded again, `chunk_tokens` times,
    so the decoder's past runs on and nothing jumps. The first `FULL_CHUNKS` in a row are at
    full level, over the next `FADE_CHUNKS` it falls linearly to silence. With no chunk lost
    the samples are those of a `StreamDecoder`, to the bit.

    Parameters
    ----------
    codec : Codec
        The model. All memory but that of the samples returned is allocated here, once.
    """

    def __init__(self, codec: Codec) -> None:
        self._decoder = codec.stream_decoder()
        self._bits = codec.bits_per_token
        self._samples = codec.chunk_tokens * codec.samples_out_per_token
        self._tokens = np.zeros(codec.chunk_tokens, np.uint16)
        self._chunk = np.arange(1, self._samples + 1, dtype=np.float32) / self._samples
        ramp = min(round(RAMP_SECONDS * codec.sample_rate_out), self._samples)
        self._ramp = np.arange(ramp, dtype=np.float32) / ramp
        self.reset()

    def reset(self) -> None:
        """Forget the stream and start a new one."""
        self._decoder.reset()
        self._lost = 0
        self._level = 1.0
        self._started = False

    def play(self, tokens: ArrayLike) -> F32:
        """Decode a chunk that came.

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
            They are not one chunk, or one is out of range.
        """
        given = as_tokens(tokens, self._bits)
        if given.size != self._tokens.size:
            raise ValueError(f"a chunk is {self._tokens.size} tokens, not {given.size}")
        samples = np.empty(self._samples, np.float32)
        self._decoder.step(given, samples)
        self._tokens[:] = given[-1]
        if self._level < 1:
            samples[: self._ramp.size] *= self._level + (1 - self._level) * self._ramp
        self._started, self._lost, self._level = True, 0, 1.0
        return samples

    def conceal(self) -> F32:
        """Return what is played in place of a lost chunk.

        Returns
        -------
        numpy.ndarray
            (chunk_tokens * samples_out_per_token,) float32 at the output rate, in [-1, 1];
            zeros where no chunk has come yet, or too many in a row were lost.
        """
        if not self._started:
            self._level = 0.0
        samples = np.zeros(self._samples, np.float32)
        if self._level == 0:
            return samples
        self._decoder.step(self._tokens, samples)
        if self._lost >= FULL_CHUNKS:
            past = self._lost - FULL_CHUNKS + self._chunk
            samples *= np.maximum(0, 1 - past / FADE_CHUNKS)
        self._lost += 1
        self._level = max(0.0, 1 - max(0, self._lost - FULL_CHUNKS) / FADE_CHUNKS)
        return samples
