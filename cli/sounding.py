"""Sound to a speaker: a recording at its own pace, a live stream without growing delay."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from fcs_edge.cli.common import Messages
from fcs_edge.cli.live import open_speaker, prompt_threads
from fcs_edge.codec import Codec
from fcs_edge.live.opened import Latency
from fcs_edge.live.speaker import Speaker
from fcs_edge.model.layers import F32

_POLL_SECONDS = 0.005
_DRAIN_SECONDS = 2.0
_PATIENCE_SECONDS = 0.2
_JITTER_SECONDS = 0.04
_MOST_JITTER_SECONDS = 0.6


class Pipe:
    """A pipe whose first bytes were looked at.

    Parameters
    ----------
    file : binary file
        What has `read1`.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._read = getattr(file, "read1", file.read)
        self._first: list[bytes] = [self._read(1 << 16)]
        ready, _, _ = select.select([file], [], [], _PATIENCE_SECONDS)
        if ready:
            self._first.append(self._read(1 << 16))
        self.live = b"" not in self._first
        """Whether more may come: what ends at once is a recording."""

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size` or what was read at first; none at the end."""
        data: bytes = self._first.pop(0) if self._first else self._read(size)
        return data


class Sounding:
    """What is written is played.

    Parameters
    ----------
    speaker : Speaker
        Where.
    codec : Codec
        Whose sound it is.
    live : bool
        Whether sound comes as it is made; then what comes late is skipped. Else writing waits.
    """

    def __init__(self, speaker: Speaker, codec: Codec, live: bool) -> None:
        self._speaker, self._live = speaker, live
        self._chunk = codec.chunk_tokens * codec.samples_out_per_token
        self._rate = codec.sample_rate_out
        if live:
            speaker.playout.jitter = _JITTER_SECONDS

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
        room = playout.target - samples.size / self._rate
        while not self._live and playout.waiting > room and self._speaker.alive:
            time.sleep(_POLL_SECONDS)
        self._speaker.check()
        if self._live:
            # Each time that sound came too late, a little more is kept ready.
            later = _JITTER_SECONDS * (1 + playout.n_underruns)
            playout.jitter = min(later, _MOST_JITTER_SECONDS)
        playout.write(samples)


@contextmanager
def sounding(
    codec: Codec, wanted: str | None, latency: Latency, live: bool, messages: Messages
) -> Iterator[Sounding]:
    """Open the speaker that is meant; play what waits, and say what was lost, at the end."""
    speaker = open_speaker(codec, wanted, latency)
    try:
        with prompt_threads():
            yield Sounding(speaker, codec, live)
        speaker.playout.finish()
        speaker.drain(_DRAIN_SECONDS)
    finally:
        speaker.close()
    if speaker.n_underruns:
        messages.warn(
            f"{speaker.n_underruns} underruns of the speaker, "
            f"{speaker.seconds_silent:.2f} s of silence"
        )
    if speaker.seconds_skipped:
        messages.warn(f"{speaker.seconds_skipped:.2f} s came too late and were not played")
