"""Writes the tokens of sound, and with ``--dtx`` its pauses as such."""

from __future__ import annotations

import math

import numpy as np

from fcs_edge.bitstream.writer import BitstreamWriter
from fcs_edge.codec import Codec
from fcs_edge.model.layers import F32, U16
from fcs_edge.tokens.npy import TokenWriter
from fcs_edge.tokens.pauses import LIVE_SHARE, PauseFilter


class SoundWriter:
    """Writes tokens as they are.

    Parameters
    ----------
    writer : TokenWriter
        The output.
    """

    def __init__(self, writer: TokenWriter) -> None:
        self._tokens = writer

    def write(self, samples: F32, tokens: U16) -> None:
        """Append the tokens of chunks that end in these samples, (n,) float32."""
        self._tokens.write(tokens)

    def close(self, n_samples: int, tokens: U16 | None = None) -> None:
        """Write the last tokens, and the number of samples that all tokens represent."""
        self._tokens.close(n_samples, tokens)


class PausingWriter(SoundWriter):
    """Writes comfort tokens in place of the tokens of pauses.

    Parameters
    ----------
    writer : BitstreamWriter
        The output.
    codec : Codec
        The model.
    live : bool
        Whether no chunk may take long.
    """

    def __init__(self, writer: BitstreamWriter, codec: Codec, *, live: bool = False) -> None:
        seconds = LIVE_SHARE * codec.latency if live else math.inf
        self._writer, self._filter = writer, PauseFilter(codec, seconds=seconds)

    def write(self, samples: F32, tokens: U16) -> None:
        """Append the tokens of chunks that end in these samples, (n,) float32."""
        self._writer.write(*self._filter.push(samples, tokens))

    def close(self, n_samples: int, tokens: U16 | None = None) -> None:
        """Write the last tokens, and the number of samples that all tokens represent."""
        last = np.zeros(0, np.uint16) if tokens is None else tokens
        self._writer.close(n_samples, *self._filter.flush(last))
