"""The sending end of a link with pauses: ``send --dtx``."""

from __future__ import annotations

import numpy as np

from fcs_edge.codec import Codec
from fcs_edge.link.sender import Sender
from fcs_edge.model.layers import F32, U16
from fcs_edge.tokens.pauses import LIVE_SHARE, PauseFilter, Replaced


class PausingSender:
    """Sends speech chunk by chunk, and pauses as few packets.

    Parameters
    ----------
    sender : Sender
        What sends.
    codec : Codec
        The model.
    """

    def __init__(self, sender: Sender, codec: Codec) -> None:
        self._sender, self._chunk_tokens = sender, codec.chunk_tokens
        self._filter = PauseFilter(codec, live=True, seconds=LIVE_SHARE * codec.latency)

    def send(self, samples: F32, tokens: U16) -> None:
        """Add a chunk: (chunk_size,) float32, and its (chunk_tokens,) uint16."""
        self._add(self._filter.push(samples, tokens))

    def finish(self) -> None:
        """Send what waits."""
        self._add(self._filter.flush(np.zeros(0, np.uint16)))
        self._sender.finish()

    def _add(self, replaced: Replaced) -> None:
        n = self._chunk_tokens
        for i in range(0, replaced.tokens.size, n):
            if replaced.pauses[i]:
                self._sender.pause(int(replaced.tokens[i]))
            else:
                self._sender.send(replaced.tokens[i : i + n])
