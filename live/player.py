"""Audio to a speaker: a recording at its own pace, a live stream without growing delay."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from fcs_edge.codec import Codec
from fcs_edge.live.latency import Latency, pipe_jitter
from fcs_edge.live.session import open_speaker, prompt_threads
from fcs_edge.live.speaker import Speaker
from fcs_edge.model.layers import F32

_POLL_SECONDS = 0.005
_DRAIN_SECONDS = 2.0
_PATIENCE_SECONDS = 0.2


class ProbedPipe:
    """A pipe whose first bytes were read, to tell a live stream from a recording.

    Parameters
    ----------
    file : binary file
        The pipe; its `read1` is called where it has one.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._read = getattr(file, "read1", file.read)
        self._first: list[bytes] = [self._read(1 << 16)]
        ready, _, _ = select.select([file], [], [], _PATIENCE_SECONDS)
        if ready:
            self._first.append(self._read(1 << 16))
        self.live = b"" not in self._first
        """Whether more may arrive: a pipe that ends at once holds a recording."""

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size` or the first block read; none at the end."""
        data: bytes = self._first.pop(0) if self._first else self._read(size)
        return data


class Player:
    """Plays what is written to it.

    Parameters
    ----------
    speaker : Speaker
        The open speaker.
    codec : Codec
        The model that decoded the audio.
    live : bool
        Whether audio arrives in real time. A live player skips late audio. Without it, writing
        waits for the speaker.
    """

    def __init__(self, speaker: Speaker, codec: Codec, live: bool) -> None:
        self._speaker, self._live = speaker, live
        self._chunk = codec.chunk_tokens * codec.samples_out_per_token
        self._rate = codec.sample_rate_out
        if live:
            speaker.playout.jitter = pipe_jitter(0)

    def write(self, samples: F32) -> None:
        """Play (n,) float32.

        Raises
        ------
        DeviceLostError
            The speaker is gone.
        """
        if self._live:
            self._write(samples)
            return
        for start in range(0, samples.size, self._chunk):
            self._write(samples[start : start + self._chunk])

    def _write(self, samples: F32) -> None:
        playout = self._speaker.playout
        limit = playout.target - samples.size / self._rate
        while not self._live and playout.waiting > limit and self._speaker.alive:
            time.sleep(_POLL_SECONDS)
        self._speaker.check()
        if self._live:
            playout.jitter = pipe_jitter(playout.n_underruns)
        playout.write(samples)


@contextmanager
def open_player(
    codec: Codec,
    requested: str | None,
    latency: Latency,
    live: bool,
    warn: Callable[[str], None],
) -> Iterator[Player]:
    """Open a speaker and yield its player; at the end play what waits and report losses.

    Parameters
    ----------
    codec : Codec
        The model that decoded the audio.
    requested : str or None
        The speaker that a user requests; the default one where it is None.
    latency : float or str
        See `fcs_edge.live.latency`.
    live : bool
        See `Player`.
    warn : callable
        Takes the text of a warning.

    Raises
    ------
    AudioError
        There is no such speaker, or it does not open.
    """
    speaker = open_speaker(codec, requested, latency)
    try:
        with prompt_threads():
            yield Player(speaker, codec, live)
        speaker.playout.finish()
        speaker.drain(_DRAIN_SECONDS)
    finally:
        speaker.close()
    if speaker.n_underruns:
        warn(
            f"{speaker.n_underruns} underruns of the speaker, "
            f"{speaker.seconds_silent:.2f} s of silence"
        )
    if speaker.seconds_skipped:
        warn(f"{speaker.seconds_skipped:.2f} s arrived too late and were not played")
