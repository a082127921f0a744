"""From the worker to a speaker: a resampler that follows its clock, a ring, a callback."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import soxr

from fcs_edge.live import devices
from fcs_edge.live.clock import MAX_CORRECTION, ClockHold
from fcs_edge.live.devices import Device
from fcs_edge.live.latency import Latency, playout_excess, playout_target
from fcs_edge.live.opened import OpenDevice
from fcs_edge.live.ring import SampleRing
from fcs_edge.model.layers import F32, new

_RING_SECONDS = 4.0
_RAMP_SECONDS = 0.005
"""Length of the fade into and out of silence, which avoids clicks."""


class Playout:
    """A queue of audio before a speaker: resampled to the device's rate, its level held.

    It holds no device, so that a test can simulate the clocks. One thread writes, one plays.

    Parameters
    ----------
    rate, device_rate : int
        Sample rates of what is written and of what is played, in Hz.
    margin : float
        Seconds that wait when the next chunk arrives: the reserve for late chunks.
    chunk : float
        Duration of a chunk in seconds.
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
        self._max_frames = 0
        self._last = self._waiting_before = 0.0
        self.speed = 1.0
        """Playback speed, 1 for nominal."""
        self.jitter = 0.0
        """Seconds by which the arrival of chunks varies."""
        self.n_underruns = 0
        """Times that the queue was empty."""
        self.n_silent = 0
        """Samples of silence, at the device's rate, played because the queue was empty."""
        self.n_skipped = 0
        """Samples, at the device's rate, that were skipped, so that delay does not grow."""

    @property
    def waiting(self) -> float:
        """Seconds of audio that wait."""
        return self._ring.level / self._device_rate

    @property
    def target(self) -> float:
        """Seconds that should wait just after a chunk; see `fcs_edge.live.latency`."""
        block = self._max_frames / self._device_rate
        return playout_target(self._chunk, self._margin, self.jitter, block)

    @property
    def delay(self) -> float:
        """Seconds that a sample written now waits, the resampler included."""
        resampling: float = self._resampler.delay() / self._device_rate
        return self._waiting_before + resampling

    def write(self, samples: F32, speed: float | None = None) -> None:
        """Append a chunk, (n,) float32 at `rate`; skip audio beyond the allowed delay.

        The next chunk is played at `speed`, or at the speed that holds this queue's level.
        """
        if not samples.size:
            return
        seconds = samples.size / self._rate
        resampled: F32 = self._resampler.resample_chunk(samples)
        target = round(self.target * self._device_rate)
        if not self._playing:
            # Silence first, so that the target waits from the start.
            silence = new(max(0, target - self._ring.level - resampled.size))
            self._ring.write(silence)
            self.n_silent += silence.size if self._started else 0
            resampled = self._faded_in(resampled)
            self._started = self._playing = True
            self._hold.restart()
        self._waiting_before = self.waiting
        over = self._ring.level + resampled.size - target
        if over > playout_excess(self._chunk, self.jitter) * self._device_rate:
            # One skip down to the target, rather than a small one at every chunk.
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
        holding = self._hold.update(self.waiting, seconds)
        self.speed = holding if speed is None else speed
        change = round(seconds * self._rate)
        self._resampler.set_io_ratio(self._rate * self.speed, self._device_rate, change)

    def play(self, out: F32) -> None:
        """Fill (frames,) float32 with the next audio, or with silence where the queue is empty."""
        self._max_frames = max(self._max_frames, out.size)
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
        """Fade `out` from sample n on, from the sample before it to zero."""
        fall = self._ramp[::-1][: out.size - n]
        np.multiply(fall, out[n - 1] if n else self._last, out=out[n : n + fall.size])
        out[n + fall.size :] = 0

    def finish(self) -> None:
        """Append the rest of the resampler; an empty queue is no underrun from here on."""
        self._ending = True
        self._ring.write(self._resampler.resample_chunk(new(0), last=True))

    @property
    def drained(self) -> bool:
        """Whether the queue is empty."""
        return self._ring.level == 0


class Speaker(OpenDevice):
    """One open speaker; it plays what is written to its `playout`.

    Parameters
    ----------
    device : Device
        The device.
    rate : int
        Sample rate of what is written, in Hz.
    latency : float or str
        Seconds, ``low`` or ``high``: what is requested from PortAudio.
    margin, chunk : float
        Seconds; see `Playout`.

    Raises
    ------
    AudioError
        It does not open.
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
        """Times that the system had nothing to play, because the callback was late."""
        self._xrun_seconds = 0.0
        self._called_at = math.inf
        self._n_frames = 0
        self._open(latency, self._on_output)

    def _on_output(self, out: Any, frames: int, times: Any, status: Any) -> None:
        now = self._heartbeat.beat()
        if status.output_underflow:
            self.n_xruns += 1
            self._xrun_seconds += max(self.latency, now - self._called_at)
            self.gaps.restart()
        self._called_at = now
        # On the clock that never jumps, which PortAudio's is not.
        self.gaps.update(now + times.outputBufferDacTime - times.currentTime, self._n_frames)
        self._n_frames += frames
        mono = self._mono[:frames]
        self.playout.play(mono)
        out[:] = mono[:, np.newaxis]

    def add_losses(self, before: Speaker) -> None:
        """Count what another one lost, in whose place this one is."""
        self.gaps.add(before.gaps)
        self.n_xruns += before.n_underruns
        self._xrun_seconds += before.seconds_silent
        self.playout.n_skipped += round(before.seconds_skipped * self.format.rate)

    @property
    def n_underruns(self) -> int:
        """Times that nothing was left to play, in the queue or in the system."""
        return self.playout.n_underruns + self.n_xruns

    @property
    def seconds_silent(self) -> float:
        """Seconds of silence played: because the queue was empty, or the callback was late.

        A late callback counts from the one before it, and at least the latency of the device:
        a sound server drops what it held.
        """
        return self.playout.n_silent / self.format.rate + self._xrun_seconds

    @property
    def seconds_skipped(self) -> float:
        """Seconds of audio that were skipped, so that delay does not grow."""
        return self.playout.n_skipped / self.format.rate

    @property
    def latency(self) -> float:
        """Seconds from the callback to the loudspeaker."""
        return float(self._stream.latency)

    def drain(self, seconds: float) -> None:
        """Wait until all is played after `Playout.finish`, at most `seconds`."""
        deadline = time.monotonic() + seconds
        while not self.playout.drained and self.alive and time.monotonic() < deadline:
            time.sleep(0.01)
        # The system still holds what the callback wrote last.
        time.sleep(min(self.latency, 0.5))
