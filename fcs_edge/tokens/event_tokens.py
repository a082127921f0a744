"""The tokens of a bitstream's events, without sound."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from fcs_edge.bitstream.reader import Damage, End, Event, HeaderRead, Metadata, Tokens
from fcs_edge.bitstream.writer import Header
from fcs_edge.model.layers import U16
from fcs_edge.text import counted
from fcs_edge.tokens.settings import most_tokens, settings_of

_GAP_TOKENS = 4096
_NONE = Tokens(np.zeros(0, np.uint16))


class EventTokens:
    """Turns events into blocks of tokens, and counts what is lost.

    An array has no silence. So the token before a gap stands for each lost token, or token 0 at
    the start: what follows keeps its place in time.

    Parameters
    ----------
    header : Header
        The bitstream's header.
    chunk_tokens : int, optional
        Tokens of a chunk, where the model is known. Tokens beyond the end are left out: of the last
        chunk where zeros filled it, else of the last token. Absent: of a block that was streamed,
        its chunk decides; others stay whole.

    Attributes
    ----------
    n_tokens, n_lost : int
        Tokens so far, and those of them that stand for lost ones.
    metadata : dict of str to str
        Texts by key: foreign text.
    n_parts : int
        Parts of the bitstream so far. Those after the first are left out: an array has one length.
    n_excess, n_missing : int
        Tokens that the number of samples does not need, filler of a live stream apart, and tokens
        that it needs and that are not there.
    """

    def __init__(self, header: Header, chunk_tokens: int | None = None) -> None:
        self._header = header
        self._chunk_tokens = chunk_tokens
        self._pending = _NONE
        self._last = np.uint16(0)
        self._stated: int | None = None
        self.n_tokens = self.n_lost = self.n_excess = self.n_missing = self.n_parts = 0
        self.metadata: dict[str, str] = {}

    def losses(self, damaged: bool) -> list[str]:
        """Return what of the bitstream is not in the tokens, a line each.

        Parameters
        ----------
        damaged : bool
            Whether the reader reported damage.
        """
        lines = []
        if self.n_lost:
            lines.append(
                f"{self.n_lost} of {self.n_tokens} tokens are lost; the token before each gap "
                "stands for them"
            )
        elif damaged:
            lines.append("damaged; no token is lost for certain")
        return lines + self.contradictions()

    def contradictions(self) -> list[str]:
        """Return how the tokens contradict the number of samples, and what is not copied."""
        lines = []
        if self.n_missing:
            lines.append(f"{counted(self.n_missing, 'token')} of the last are missing")
        if self.n_excess:
            more = counted(self.n_excess, "token")
            lines.append(f"{more} more than its {self.n_samples} samples need")
        if self.n_parts > 1:
            lines.append(
                f"it has {self.n_parts} parts, and only the first is copied; decode the others to "
                "sound"
            )
        return lines

    @property
    def n_samples(self) -> int:
        """Number of input samples: as the end record states it, at most what the tokens hold."""
        covered = self.n_tokens * self._header.samples_per_token + self._header.slack
        return covered if self._stated is None else min(self._stated, covered)

    def take(self, events: list[Event]) -> Iterator[U16]:
        """Yield the tokens of a batch of events, (n,) uint16 at a time.

        The tokens of the last event wait until it is known whether the stream ends in them.
        """
        for event in events:
            if isinstance(event, HeaderRead):
                self.n_parts += 1
            if self.n_parts > 1:
                continue
            if isinstance(event, Tokens):
                yield from self.rest()
                self._pending = event
            elif isinstance(event, Damage) and event.n_tokens:
                yield from self.rest()
                self.n_lost += event.n_tokens
                for done in range(0, event.n_tokens, _GAP_TOKENS):
                    n = min(_GAP_TOKENS, event.n_tokens - done)
                    yield self._counted(np.full(n, self._last))
            elif isinstance(event, Metadata):
                self.metadata |= event.tags
            elif isinstance(event, End):
                self._stated = event.n_samples
                self._cut(event.n_samples)

    def rest(self) -> Iterator[U16]:
        """Yield the tokens that waited."""
        if self._pending.tokens.size:
            pending, self._pending = self._pending.tokens, _NONE
            yield self._counted(pending)

    def _counted(self, tokens: U16) -> U16:
        self._last = tokens[-1]
        self.n_tokens += tokens.size
        return tokens

    def _cut(self, n_samples: int) -> None:
        """Leave out what the end record does not count: filler of a live stream's last block."""
        pending = self._pending
        chunk = self._chunk_tokens or pending.chunk_tokens
        settings = settings_of(self._header.settings)
        least = math.ceil((n_samples - self._header.slack) / self._header.samples_per_token)
        self.n_missing = max(0, least - self.n_tokens - pending.tokens.size)
        unstated = 2 if pending.chunk_tokens else 1
        if not chunk and settings.get("token_rules", unstated) == 1:
            return
        sizes = self._header.samples_per_token, chunk or 1
        most = most_tokens(n_samples, *sizes, settings, unstated)
        end = max(0, most - self.n_tokens)
        over = pending.tokens[end:]
        if over.any() or not pending.chunk_tokens:
            self.n_excess = over.size
        self.n_excess += max(0, self.n_tokens - most)
        self._pending = Tokens(pending.tokens[:end], pending.chunk_tokens)
