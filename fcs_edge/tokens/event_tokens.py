"""The tokens of a bitstream's events, without sound."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from fcs_edge.bitstream.reader import Damage, End, Event, Tokens
from fcs_edge.bitstream.writer import Header
from fcs_edge.model.layers import U16

_GAP_TOKENS = 4096


class EventTokens:
    """Turns events into blocks of tokens, and counts what is lost.

    An array has no silence. So the token before a gap stands for each lost token, or token 0 at
    the start: what follows keeps its place in time.

    Parameters
    ----------
    header : Header
        The bitstream's header.
    chunk_tokens : int, optional
        Tokens of a chunk, where the model is known. A live stream may end in filler tokens; those
        beyond the last chunk are left out. Absent: zeros beyond the sample count are filler.

    Attributes
    ----------
    n_tokens, n_lost : int
        Tokens so far, and those of them that stand for lost ones.
    """

    def __init__(self, header: Header, chunk_tokens: int | None = None) -> None:
        self._header = header
        self._chunk_tokens = chunk_tokens
        self._pending = np.zeros(0, np.uint16)
        self._last = np.uint16(0)
        self._stated: int | None = None
        self.n_tokens = 0
        self.n_lost = 0

    @property
    def n_samples(self) -> int:
        """Number of input samples: as the end record states it, at most what the tokens hold."""
        covered = self.n_tokens * self._header.samples_per_token
        return covered if self._stated is None else min(self._stated, covered)

    def take(self, events: list[Event]) -> Iterator[U16]:
        """Yield the tokens of a batch of events, (n,) uint16 at a time.

        The tokens of the last event wait until it is known whether the stream ends in them.
        """
        for event in events:
            if isinstance(event, Tokens):
                yield from self.rest()
                self._pending = event.tokens
            elif isinstance(event, Damage) and event.n_tokens:
                yield from self.rest()
                self.n_lost += event.n_tokens
                for done in range(0, event.n_tokens, _GAP_TOKENS):
                    n = min(_GAP_TOKENS, event.n_tokens - done)
                    yield self._counted(np.full(n, self._last))
            elif isinstance(event, End):
                self._stated = event.n_samples
                self._cut(event.n_samples)

    def rest(self) -> Iterator[U16]:
        """Yield the tokens that waited."""
        if self._pending.size:
            pending, self._pending = self._pending, self._pending[:0]
            yield self._counted(pending)

    def _counted(self, tokens: U16) -> U16:
        self._last = tokens[-1]
        self.n_tokens += tokens.size
        return tokens

    def _cut(self, n_samples: int) -> None:
        """Leave out the filler of a live stream's last block."""
        needed = math.ceil(n_samples / self._header.samples_per_token) - self.n_tokens
        if self._chunk_tokens is not None:
            chunks = math.ceil((needed + self.n_tokens) / self._chunk_tokens)
            end = chunks * self._chunk_tokens - self.n_tokens
        else:
            nonzero = np.flatnonzero(self._pending)
            end = max(needed, int(nonzero[-1]) + 1 if nonzero.size else 0)
        self._pending = self._pending[: max(0, end)]
