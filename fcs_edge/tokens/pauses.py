"""Pauses of a stream of tokens, which a comfort token replaces: ``--dtx``."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fcs_edge.codec import Codec
from fcs_edge.model.layers import F32, U16
from fcs_edge.tokens.activity import FRAME, ActivityMeter
from fcs_edge.tokens.comfort import ChunkDecoder, Comfort, ComfortChooser, Decoded

AFTER_SECONDS = 0.3
"""Hangover: what follows speech is coded for as long as this at least."""
BEFORE_SECONDS = 0.16
"""What precedes speech is coded for as long as this at least; in files."""
LEAST_SECONDS = 0.32
"""The shortest pause that is replaced; in files."""
SEARCH_SECONDS = 0.64
"""How much earlier a pause may end, where the level then steps less; in files."""
STEADY_SECONDS = 0.64
"""Time over which the decoded level is compared."""
STEP_DB = 3.0
"""Largest step of the level into a pause; of the level's mean, before it."""
DRIFT_DB = 5.0
"""How far the level of a pause's own tokens moves before the pause ends."""
_SAME_DB = 2.0
"""Distance of levels at which the last comfort token serves again."""
_PATIENCE_SECONDS = 0.32
"""Time after a choice without success before the next one."""
LIVE_SHARE = 0.2
"""Share of a chunk's time that a live program spends on the choice of a comfort token."""


class Replaced(NamedTuple):
    """Tokens of which some are comfort tokens.

    Attributes
    ----------
    tokens : (n,) ndarray of uint16
        The tokens.
    pauses : (n,) ndarray of bool
        Where a comfort token replaces the token.
    """

    tokens: U16
    pauses: NDArray[np.bool_]


def joined(parts: Sequence[Replaced]) -> Replaced:
    """Return parts, one after the other, as one."""
    return Replaced(
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([part.pauses for part in parts]),
    )


class _Chunk(NamedTuple):
    tokens: U16
    active: bool
    decoded: Decoded
    """How it sounds."""
    state: Any
    """Of the decoder, before it."""


class PauseFilter:
    """Replaces the tokens of pauses by comfort tokens.

    A pause is a number of whole chunks without activity; see `ActivityMeter`. It begins after a
    hangover, where the decoded level is steady. Its comfort token is the one that sounds most like
    its own tokens. It ends before speech, and where its own tokens would sound louder or softer by
    `DRIFT_DB`. It begins between chunks where the level steps by at most `STEP_DB`, and ends there
    if it can. Tokens come out later than they went in. A live filter keeps back one chunk, in a
    pause only, and a pause ends with the chunk before speech.

    Parameters
    ----------
    codec : Codec
        The model.
    live : bool
        Whether chunks outside pauses are returned at once.
    seconds : float, optional
        About the longest time that the choice of a comfort token takes of each chunk's. Pauses
        begin later on a slow machine. Absent: there is no limit.
    """

    def __init__(self, codec: Codec, *, live: bool = False, seconds: float = math.inf) -> None:
        def chunks(seconds: float) -> int:
            return math.ceil(seconds / codec.latency - 1e-9)

        self._codec, self._live, self._seconds = codec, live, seconds
        self._after, self._patience = chunks(AFTER_SECONDS), chunks(_PATIENCE_SECONDS)
        self._before = 0 if live else chunks(BEFORE_SECONDS)
        self._held = 1 if live else self._before + chunks(SEARCH_SECONDS)
        self._ahead = 0 if live else self._held + chunks(LEAST_SECONDS)
        self._steady = max(2, chunks(STEADY_SECONDS))
        self._meter, self._decoder = ActivityMeter(), ChunkDecoder(codec)
        self._chooser = ComfortChooser(codec)
        self._choice: Iterator[Comfort | None] | None = None
        self._comfort: Comfort | None = None
        self._samples = np.empty(0, np.float32)
        self._queue = deque[_Chunk]()
        self._recent = deque[_Chunk](maxlen=self._steady)
        """The last chunks that were returned as they are, without activity, of this pause."""
        self._n_quiet = self._wait = 0
        self._last: Decoded | None = None
        self._drift = 0.0
        self._pausing = False
        self._out: list[tuple[U16, bool]] = []

    def push(self, samples: F32, tokens: U16) -> Replaced:
        """Take samples, (n,) float32, and the tokens of the chunks that they complete."""
        self._samples = np.concatenate([self._samples, samples])
        size = self._codec.chunk_size
        for chunk in tokens.reshape(-1, self._codec.chunk_tokens):
            part = np.zeros(-(-size // FRAME) * FRAME, np.float32)
            part[: min(size, self._samples.size)] = self._samples[:size]
            self._samples = self._samples[size:]
            self._add(chunk.copy(), self._meter.is_active(part))
        return self._taken()

    def flush(self, tokens: U16) -> Replaced:
        """Take the tokens of the last, partial chunk, or none; return all that is left.

        The last token fills that chunk while it is compared; the filler is not returned.
        """
        missing = -tokens.size % self._codec.chunk_tokens
        first = self.push(np.empty(0, np.float32), np.pad(tokens, (0, missing), mode="edge"))
        while self._queue:
            self._return(self._pausing)
        whole = joined([first, self._taken()])
        stop = whole.tokens.size - missing
        return Replaced(whole.tokens[:stop], whole.pauses[:stop])

    def _taken(self) -> Replaced:
        out, self._out = self._out, []
        tokens = np.concatenate([t for t, _ in out]) if out else np.empty(0, np.uint16)
        pauses = np.repeat(np.array([p for _, p in out], np.bool_), self._codec.chunk_tokens)
        return Replaced(tokens, pauses)

    def _add(self, tokens: U16, active: bool) -> None:
        """Put a chunk into the queue, and return what leaves it."""
        state = self._decoder.state
        chunk = _Chunk(tokens, active, self._decoder.decode(tokens), state)
        self._queue.append(chunk)
        if self._pausing and (active or self._drifts(chunk.decoded)):
            self._end(self._before if active else 0)
        while self._queue and len(self._queue) > (self._held if self._pausing else self._ahead):
            self._pausing = self._pausing or self._begins()
            self._return(self._pausing)

    def _return(self, pause: bool) -> None:
        """Return the first chunk of the queue, as it is or as a part of the pause."""
        chunk = self._queue.popleft()
        tokens = chunk.tokens
        if pause and self._comfort is not None:
            tokens = self._comfort.tokens
        self._out.append((tokens, pause))
        self._wait = max(0, self._wait - 1)
        self._n_quiet = 0 if chunk.active else self._n_quiet + 1
        if chunk.active or pause:
            self._recent.clear()
            self._choice = None
        else:
            self._recent.append(chunk)
        self._last = chunk.decoded

    def _drifts(self, decoded: Decoded) -> bool:
        """Follow the level of a pause; return whether the comfort token is out of date."""
        assert self._comfort is not None
        difference = decoded.level - self._comfort.decoded.level
        self._drift += (difference - self._drift) / self._steady
        return abs(self._drift) > DRIFT_DB

    def _begins(self) -> bool:
        """Return whether a pause begins with the chunk that is next; choose its token."""
        chunks = [*self._recent, *self._queue][-2 * self._steady :]
        quiet = self._n_quiet >= self._after and not any(chunk.active for chunk in self._queue)
        if not quiet or len(chunks) < self._steady or self._wait:
            return False
        levels = [chunk.decoded.level for chunk in chunks]
        half = len(levels) // 2
        level = float(np.mean(levels))
        if abs(np.mean(levels[:half]) - np.mean(levels[half:])) > STEP_DB:
            return False
        if self._comfort is None or abs(level - self._comfort.decoded.level) > _SAME_DB:
            self._choose(chunks)
            if self._choice is not None:
                return False
        self._choice = None
        if self._comfort is None or self._last is None:
            return False
        if abs(level - self._comfort.decoded.level) > STEP_DB:
            self._wait = self._patience
            return False
        self._drift = 0.0
        step = self._chooser.step(self._queue[0].state, self._last, self._comfort.tokens)
        return step <= STEP_DB

    def _choose(self, chunks: list[_Chunk]) -> None:
        """Go on with the choice of a comfort token, for as long as a chunk allows."""
        if self._choice is None:
            tokens = np.concatenate([chunk.tokens for chunk in chunks])
            self._choice = self._chooser.choose(tokens, [chunk.decoded for chunk in chunks])
        start = time.perf_counter()
        for comfort in self._choice:
            if comfort is not None:
                self._comfort, self._choice = comfort, None
                return
            if time.perf_counter() - start >= self._seconds:
                return

    def _end(self, before: int) -> None:
        """End the pause where the level steps little, some chunks before the last one."""
        if not self._live and self._comfort is not None:
            steps = []
            for place in range(max(0, len(self._queue) - 1 - before), -1, -1):
                tokens = self._queue[place].tokens
                step = self._chooser.step(self._comfort.state, self._comfort.decoded, tokens)
                steps.append((step, place))
                if step <= STEP_DB:
                    break
            for _ in range(min(steps)[1]):
                self._return(True)
        self._pausing = False
