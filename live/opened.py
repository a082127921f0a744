"""The common part of a microphone and a speaker: an open stream of PortAudio."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

from fcs_edge.live import devices
from fcs_edge.live.devices import Device, DeviceFormat, DeviceLostError, Heartbeat
from fcs_edge.live.gaps import GapMeter
from fcs_edge.live.latency import Latency

SUSPENDED_SECONDS = 1.0
"""A device whose callback is not called for this time is suspended."""
REOPEN_SECONDS = 5.0
"""With ``--reconnect``, a device whose callback is not called for this time is opened again."""

_START_FACTOR = 3
"""Times the patience that a device has for its first call: a server starts for 2 s and more."""


class OpenDevice:
    """One open device, in one direction.

    Parameters
    ----------
    device : Device
        The device.
    form : DeviceFormat
        Rate and channels to open it with.
    """

    kind: ClassVar[str]
    """``input`` or ``output``."""
    name: ClassVar[str]
    """What messages call it."""

    def __init__(self, device: Device, form: DeviceFormat) -> None:
        self.device, self.format = device, form
        self._heartbeat = Heartbeat()
        self._stream: Any = None
        self._error: BaseException | None = None
        self.patience = math.inf
        """Seconds without a call after which `check` takes the device for gone."""
        self.gaps = GapMeter(form.rate)
        """Gaps that the device did not report."""

    def _open(self, latency: Latency, callback: Callable[..., None]) -> None:
        """Start the stream; its callback must set the heartbeat.

        Raises
        ------
        AudioError
            It does not open.
        """
        sounddevice = devices.library()

        def guarded(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except BaseException as error:
                self._error = error
                raise sounddevice.CallbackAbort from None

        stream_class = getattr(sounddevice, f"{self.kind.capitalize()}Stream")
        self._heartbeat = Heartbeat()
        try:
            with devices.silenced():
                self._stream = stream_class(
                    samplerate=self.format.rate,
                    channels=self.format.channels,
                    device=self.device.number,
                    dtype="float32",
                    latency=latency,
                    callback=guarded,
                )
                self._stream.start()
        except sounddevice.PortAudioError as error:
            raise devices.problem(self.kind, self.device, error) from None

    @property
    def alive(self) -> bool:
        """Whether the device is present; it may be suspended."""
        return bool(self._stream.active)

    @property
    def silence(self) -> float:
        """Seconds since the device last called, while this process was not stopped."""
        return self._heartbeat.silence

    @property
    def suspended(self) -> bool:
        """Whether the device is present and its callback is not called."""
        return self.silence > SUSPENDED_SECONDS

    def check(self) -> None:
        """Raise `DeviceLostError` where the device is gone, or what ended its callback."""
        if self._error is not None:
            raise self._error
        if self.silence > self.patience * (1 if self._heartbeat.started else _START_FACTOR):
            raise DeviceLostError(
                f"{self.name} {self.device.name}: nothing from it for {self.patience:g} s"
            )
        if not self.alive:
            raise DeviceLostError(f"{self.name} {self.device.name}: the device is gone")

    def close(self) -> None:
        """Close the device."""
        with devices.silenced():
            self._stream.close(ignore_errors=True)
