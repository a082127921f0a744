"""From the worker to a speaker: a resampler that follows its clock, a ring, a callback."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import soxr

from fcs_edge.live import devices
from fcs_edge.live.clock import MAX_CORRECTION, ClockHold
from fcs_edge.live.devices import Device
from fcs_edge.live.opened import Latency, OpenDevice
from fcs_edge.live.ring import SampleRing
from fcs_edge.model.layers import F32, new

_RING_SECONDS = 4.0
_RAMP_SECONDS = 0.005
"""Silence is entered and left over so long, that it does not click."""


class Playout:
    """What waits to be played: resampled to the device's rate, its level held.

    It knows no device, so that its clocks can be simulated. One thread writes, one plays.

    Parameters
    ----------
    rate, device_rate : int
        Hz of what is written and of what is played.
    margin : float
        Seconds that should wait when the next chunk comes: what late chunks may use up.
    chunk : float
        Seconds of a chunk.
    """

    def __init__(self, rate: int, device_rate: int, margin: float, chunk: float) -> None:
        self._rate, self._device_rate = rate, device_rate
        self._chunk = chunk
        self._margin = margin
        self._hold = ClockHold(margin + chunk)
        self._ring = SampleRing(round(_RING_SECONDS * device_rate))
        fastest = rate * (1 + 2 * MAX_CORRECTION)
        self._resampler: Any = soxr.ResampleStream(
            fastest, device_rate, 1, "float32", "HQ", vr=True
        )
        self._resampler.set_io_ratio(rate, device_rate)
        self._ramp = np.linspace(0, 1, round(_RAMP_SECONDS * device_rate), dtype=np.float32)
        self._playing = self._started = self._ending = False
        self._largest = 0
        self._last = self._before = 0.0
        self.speed = 1.0
        """How much faster than nominal it plays."""
        self.jitter = 0.0
        """Seconds by which chunks come early or late of what brings them."""
        self.n_underruns = 0
        """Times that nothing was left to play."""
        self.n_silent = 0
        """Samples of silence, at the device's rate, that were played for want of sound."""
        self.n_skipped = 0
        """Samples, at the device's rate, that were not played, so that delay does not grow."""

    @property
    def waiting(self) -> float:
        """Seconds of sound that wait."""
        return self._ring.level / self._device_rate

    @property
    def target(self) -> float:
        """Seconds that should wait right behind a chunk: it, the margin, a block of each device."""
        return self._chunk + self._margin + self.jitter + self._largest / self._device_rate

    @property
    def delay(self) -> float:
        """Seconds that a sample written now waits: what was there before it, and the resampler."""
        held: float = self._resampler.delay() / self._device_rate
        return self._before + held

    def write(self, samples: F32, speed: float | None = None) -> None:
        """Append a chunk, (n,) float32 at `rate`; skip what would make the delay grow.

        What comes next is played at `speed`, or as fast as holds what waits here.
        """
        if not samples.size:
            return
        seconds = samples.size / self._rate
        resampled: F32 = self._resampler.resample_chunk(samples)
        wanted = round(self.target * self._device_rate)
        if not self._playing:
            # Silence first, so that from the start as much waits as later on.
            silence = new(max(0, wanted - self._ring.level - resampled.size))
            self._ring.write(silence)
            self.n_silent += silence.size if self._started else 0
            resampled = self._faded_in(resampled)
            self._started = self._playing = True
            self._hold.restart()
        self._before = self.waiting
        over = self._ring.level + resampled.size - wanted
        if over > (self._chunk + self.jitter) * self._device_rate:
            # Down to the target, in one piece, rather than at every chunk a little.
            over = min(over, resampled.size)
            resampled = self._faded_in(resampled[over:])
            self.n_skipped += over
        self.n_skipped += resampled.size - self._ring.write(resampled)
        self._follow(seconds, speed)

    def _faded_in(self, samples: F32) -> F32:
        faded: F32 = samples.copy()
        n = min(faded.size, self._ramp.size)
        faded[:n] *= self._ramp[:n]
        return faded

    def _follow(self, seconds: float, speed: float | None) -> None:
        """Set the speed for the next chunk."""
        self._hold.target = self.target
        held = self._hold.update(self.waiting, seconds)
        self.speed = held if speed is None else speed
        change = round(seconds * self._rate)
        self._resampler.set_io_ratio(self._rate * self.speed, self._device_rate, change)

    def play(self, out: F32) -> None:
        """Fill (frames,) float32 with what comes next: sound, or silence where there is none."""
        self._largest = max(self._largest, out.size)
        playing = self._playing
        n = self._ring.read(out) if playing else 0
        if n < out.size:
            self._fall_silent(out, n)
            if self._started and not self._ending:
                self.n_silent += out.size - n
                self.n_underruns += playing
                self._playing = False
        self._last = float(out[-1])

    def _fall_silent(self, out: F32, n: int) -> None:
        """Fill out from sample n on: from the last one before it down to zero, without a click."""
        fall = self._ramp[::-1][: out.size - n]
        np.multiply(fall, out[n - 1] if n else self._last, out=out[n : n + fall.size])
        out[n + fall.size :] = 0

    def finish(self) -> None:
        """Append what is left in the resampler; that nothing follows is no underrun."""
        self._ending = True
        self._ring.write(self._resampler.resample_chunk(new(0), last=True))

    @property
    def drained(self) -> bool:
        """Whether all that was written has been played."""
        return self._ring.level == 0


class Speaker(OpenDevice):
    """One open speaker; what is written to it is played.

    Parameters
    ----------
    device : Device
        Which one.
    rate : int
        Hz of what is written.
    latency : float or str
        Seconds, ``low`` or ``high``: what PortAudio is asked for.
    margin, chunk : float
        Seconds; see `Playout`.

    Raises
    ------
    AudioError
        It cannot be opened.
    """

    kind = "output"
    name = "speaker"

    def __init__(
        self, device: Device, rate: int, latency: Latency, margin: float, chunk: float
    ) -> None:
        super().__init__(device, devices.output_format(device, rate))
        self.playout = Playout(rate, self.format.rate, margin, chunk)
        self._mono = new(1 << 16)
        self.n_xruns = 0
        """Times that the system had nothing to play, for want of the callback."""
        self._open(latency, self._wanted)

    def _wanted(self, out: Any, frames: int, times: Any, status: Any) -> None:
        self._heartbeat.beat()
        if status.output_underflow:
            self.n_xruns += 1
        mono = self._mono[:frames]
        self.playout.play(mono)
        out[:] = mono[:, np.newaxis]

    @property
    def n_underruns(self) -> int:
        """Times that nothing was left to play, here or in the system."""
        return self.playout.n_underruns + self.n_xruns

    @property
    def seconds_silent(self) -> float:
        """Silence that was played for want of sound."""
        return self.playout.n_silent / self.format.rate

    @property
    def seconds_skipped(self) -> float:
        """Sound that was not played, so that delay does not grow."""
        return self.playout.n_skipped / self.format.rate

    @property
    def latency(self) -> float:
        """Seconds from the callback to the ear."""
        return float(self._stream.latency)

    def drain(self, seconds: float) -> None:
        """Wait until all is played after `Playout.finish`, so many seconds at most."""
        deadline = time.monotonic() + seconds
        while not self.playout.drained and self.alive and time.monotonic() < deadline:
            time.sleep(0.01)
        # What the callback handed over is still on its way.
        time.sleep(min(self.latency, 0.5))
