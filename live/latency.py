"""The latency targets of live audio: each rule for how much audio waits, in one file.

1. `margin`: what ``--latency`` reserves at the speaker for late chunks.
2. `playout_target`, `playout_excess`: what waits at the speaker, and what is skipped.
3. `pipe_jitter`: what a pipe's playback adds to the target after each underrun.
4. `buffer_chunks`, `buffer_limit`, `buffer_goal`: what waits in the jitter buffer of a link.

`CAPTURE_CHUNKS` bounds what waits between the microphone and the encoder. From a microphone, the
jitter of rule 2 is its largest block.

Times are in seconds, unless a name says otherwise.
"""

from __future__ import annotations

import math

Latency = float | str
"""What ``--latency`` requests: ``low``, ``high`` or seconds."""

MARGINS = {"low": 0.02, "high": 0.08}
"""Seconds that wait when the next chunk arrives, by the name that ``--latency`` gives."""
MAX_LATENCY_SECONDS = 2.0
"""The largest value of ``--latency`` in seconds."""

CAPTURE_CHUNKS = 2.0
"""Chunks that may wait for the encoder. Older audio is dropped, so that delay does not grow."""

PIPE_JITTER_SECONDS, MAX_PIPE_JITTER_SECONDS = 0.04, 0.6
"""Seconds that a pipe's playback reserves at first, and at most."""

BUFFER_CHUNKS = 2
"""Chunks that wait in a jitter buffer when playback starts, by default."""
BUFFER_MILLISECONDS = 80 * BUFFER_CHUNKS
"""The same in milliseconds, with chunks of 80 ms: the default of ``--buffer-ms``."""
BUFFER_SPARE_CHUNKS = 4
"""Chunks beyond the target that may wait in a jitter buffer, by default."""
BUFFER_PATIENCE_SECONDS = 0.4
"""Time that an empty jitter buffer is concealed before playback stops, by default."""
TIMER_MARGIN_SECONDS = 0.02
"""What waits beside a chunk where a timer takes the place of a speaker."""


def margin(latency: Latency) -> float:
    """Return the seconds that a speaker reserves for late chunks: half of a requested time."""
    return MARGINS[latency] if isinstance(latency, str) else latency / 2


def playout_target(chunk: float, margin: float, jitter: float, block: float) -> float:
    """Return the seconds that wait at the speaker just after a chunk was written.

    Parameters
    ----------
    chunk : float
        Duration of a chunk.
    margin : float
        See `margin`.
    jitter : float
        The variation of the times at which chunks arrive.
    block : float
        Duration of the largest block that the speaker requests.
    """
    return chunk + margin + jitter + block


def playout_excess(chunk: float, jitter: float) -> float:
    """Return the seconds above `playout_target` from which waiting audio is skipped."""
    return chunk + jitter


def pipe_jitter(n_underruns: int) -> float:
    """Return the jitter to allow for a live pipe: one step more after each underrun."""
    return min(PIPE_JITTER_SECONDS * (1 + n_underruns), MAX_PIPE_JITTER_SECONDS)


def buffer_chunks(milliseconds: float, chunk: float) -> int:
    """Return the chunks that wait in a jitter buffer for ``--buffer-ms``, rounded up."""
    return math.ceil(milliseconds / 1e3 / chunk)


def duration_chunks(seconds: float | None, chunk: float) -> float:
    """Return the chunks of a requested duration, rounded up; infinity where none is requested."""
    return math.inf if seconds is None else math.ceil(round(seconds / chunk, 6))


def buffer_limit(target: int) -> int:
    """Return the chunks that may wait in a jitter buffer where no limit is given."""
    return target + BUFFER_SPARE_CHUNKS


def buffer_goal(target: int, packet_chunks: int) -> int:
    """Return the chunks that wait in a jitter buffer just after a packet arrived."""
    return target + packet_chunks - 1
