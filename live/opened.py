"""What a microphone and a speaker have in common: an open stream of PortAudio's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from fcs_edge.live import devices
from fcs_edge.live.devices import Device, DeviceLostError, Format, Heartbeat

SUSPENDED_SECONDS = 1.0
"""A device whose callback is not called for so long is suspended."""

Latency = float | str


class OpenDevice:
    """One open device, in one direction.

    Parameters
    ----------
    device : Device
        Which one.
    chosen : Format
        What it is opened with.
    """

    kind: ClassVar[str]
    """``input`` or ``output``."""
    name: ClassVar[str]
    """What its user calls it."""

    def __init__(self, device: Device, chosen: Format) -> None:
        self.device, self.format = device, chosen
        self._heartbeat = Heartbeat()
        self._stream: Any = None

    def _open(self, latency: Latency, callback: Callable[..., None]) -> None:
        """Start the stream, whose callback sets the heartbeat.

        Raises
        ------
        AudioError
            It cannot be opened.
        """
        sounddevice = devices.library()
        make = getattr(sounddevice, f"{self.kind.capitalize()}Stream")
        self._heartbeat.beat()
        try:
            with devices.silenced():
                self._stream = make(
                    samplerate=self.format.rate,
                    channels=self.format.channels,
                    device=self.device.number,
                    dtype="float32",
                    latency=latency,
                    callback=callback,
                )
                self._stream.start()
        except sounddevice.PortAudioError as error:
            raise devices.problem(self.kind, self.device, error) from None

    @property
    def alive(self) -> bool:
        """Whether the device is still there, if only suspended."""
        return bool(self._stream.active)

    @property
    def suspended(self) -> bool:
        """Whether the device is there and does nothing."""
        return self._heartbeat.silence > SUSPENDED_SECONDS

    def check(self) -> None:
        """Raise `DeviceLostError` where the device is gone."""
        if not self.alive:
            raise DeviceLostError(f"{self.name} {self.device.name}: it is gone")

    def close(self) -> None:
        """Let go of the device."""
        with devices.silenced():
            self._stream.close(ignore_errors=True)
