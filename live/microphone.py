"""From a microphone to the worker: a callback, a ring, a resampler."""

from __future__ import annotations

from typing import Any

import numpy as np
import soxr

from fcs_edge.live import devices
from fcs_edge.live.devices import Device
from fcs_edge.live.latency import Latency
from fcs_edge.live.opened import OpenDevice
from fcs_edge.live.ring import SampleRing
from fcs_edge.model.layers import F32, new

_RING_SECONDS = 4.0
_BLOCK_FRAMES = 1 << 16
_AUDIBLE_POWER, _CANCELLED_SHARE = 1e-6, 0.01
"""Power of -60 dB, and the share of it that is 20 dB less."""


class Microphone(OpenDevice):
    """One open microphone; `read` returns its audio.

    Parameters
    ----------
    device : Device
        The device.
    rate : int
        Sample rate of `read` in Hz.
    latency : float or str
        Seconds, ``low`` or ``high``: what is requested from PortAudio.
    channel : int or str, optional
        The channel to read, from 1, or ``mean``.

    Raises
    ------
    AudioError
        It does not open.
    """

    kind = "input"
    name = "microphone"

    def __init__(
        self, device: Device, rate: int, latency: Latency, channel: int | str = "mean"
    ) -> None:
        super().__init__(device, devices.input_format(device, rate, channel))
        self.rate = rate
        self._channel = channel - 1 if isinstance(channel, int) else None
        self._squares = new(self.format.channels)
        self._energies = np.zeros(self.format.channels)
        self._mean_energy = 0.0
        self._n_frames = 0
        self._ring = SampleRing(round(_RING_SECONDS * self.format.rate))
        self._block = new(self._ring.capacity)
        self._mono = new(_BLOCK_FRAMES)
        self._resampler: Any = None
        if self.format.rate != rate:
            self._resampler = soxr.ResampleStream(self.format.rate, rate, 1, dtype="float32")
        self.n_overruns = 0
        """Times that the system lost audio before it reached the program."""
        self._n_dropped = 0
        self._max_frames = 0
        self._open(latency, self._on_input)

    def _on_input(self, samples: Any, frames: int, times: Any, status: Any) -> None:
        now = self._heartbeat.beat()
        self._n_frames += frames
        self.gaps.update(now, self._n_frames)
        self._max_frames = max(self._max_frames, frames)
        if status.input_overflow:
            self.n_overruns += 1
        mono = self._mono[:frames]
        if samples.shape[1] == 1:
            mono = samples[:, 0]
        elif self._channel is not None:
            mono = samples[:, self._channel]
        else:
            np.mean(samples, axis=1, out=mono)
            np.einsum("ij,ij->j", samples, samples, out=self._squares)
            self._energies += self._squares
            self._mean_energy += float(np.dot(mono, mono))
        self._n_dropped += frames - self._ring.write(mono)

    def add_losses(self, before: Microphone) -> None:
        """Count what another one lost, in whose place this one is."""
        self.gaps.add(before.gaps)
        self.n_overruns += before.n_overruns

    @property
    def latency(self) -> float:
        """Seconds from the microphone to the ring, and through the resampler."""
        delay = self._resampler.delay() / self.rate if self._resampler is not None else 0.0
        return float(self._stream.latency) + delay

    @property
    def cancelling(self) -> bool:
        """Whether the mean of the channels has 20 dB less energy than the loudest of them."""
        loudest = float(self._energies.max())
        # From one second of -60 dB on: less is the noise of the device.
        audible = loudest > _AUDIBLE_POWER * max(self._n_frames, self.format.rate)
        return audible and self._mean_energy < _CANCELLED_SHARE * loudest

    @property
    def block(self) -> float:
        """Seconds of the largest block that the device delivered."""
        return self._max_frames / self.format.rate

    @property
    def waiting(self) -> float:
        """Seconds of audio that wait in the ring."""
        return self._ring.level / self.format.rate

    @property
    def seconds_dropped(self) -> float:
        """Seconds of audio that were not read: skipped, or beyond the ring's capacity."""
        return self._n_dropped / self.format.rate

    def skip(self, seconds: float) -> None:
        """Drop the oldest audio that waits."""
        self._n_dropped += self._ring.skip(round(seconds * self.format.rate))

    def discard(self) -> None:
        """Drop all that waits without counting it: it is older than the session."""
        self._ring.skip(self._ring.capacity)

    def read(self) -> F32:
        """Return all audio that waits, (n,) float32 at `rate`; finite, channels averaged."""
        n = self._ring.read(self._block)
        samples = self._block[:n]
        if self._resampler is None:
            return samples
        resampled: F32 = self._resampler.resample_chunk(np.nan_to_num(samples, copy=False))
        return resampled
