"""Microphones and speakers by name, their formats, and errors that say what to do."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from fcs_edge.errors import AudioError

_RATES = (48000, 44100, 96000, 32000, 22050, 16000, 8000)
_UNCHECKED_SECONDS = 0.5
"""A longer time between two checks means that this process was stopped."""
_SURROUND = 8
"""Channels of the largest common layout, 7.1."""
_KINDS = {"input": "microphone", "output": "speaker"}


class DeviceLostError(AudioError):
    """An open microphone or speaker is gone."""


class Heartbeat:
    """The time since a callback was called, for a caller that checks it often.

    A long time between two checks does not count: the process was stopped, and with it the
    callback.
    """

    def __init__(self) -> None:
        self.beat()
        self.started = False
        """Whether the callback was called yet."""
        self._checked_at = time.monotonic()

    def beat(self) -> float:
        """Record a call; return its time in seconds of ``time.monotonic``."""
        self._called_at = time.monotonic()
        self.started = True
        return self._called_at

    @property
    def silence(self) -> float:
        """Seconds since the last call."""
        now = time.monotonic()
        if now - self._checked_at > _UNCHECKED_SECONDS:
            self._called_at = now
        self._checked_at = now
        return now - self._called_at


@dataclass(frozen=True)
class Device:
    """A device of PortAudio."""

    number: int
    name: str
    system: str
    """The host API: ALSA, JACK, ..."""
    inputs: int
    """Channels that it records at most; 0 for a device that only plays."""
    outputs: int
    """Channels that it plays at most; 0 for a device that only records."""
    rate: int
    """Preferred sample rate in Hz."""
    default: bool
    """Whether it is used where the user names none."""


@dataclass(frozen=True)
class DeviceFormat:
    """The rate and channels that a device is opened with."""

    rate: int
    """Hz."""
    channels: int


def library() -> Any:
    """Return the module sounddevice, with PortAudio loaded.

    Raises
    ------
    AudioError
        PortAudio is not installed.
    """
    try:
        import sounddevice

        _discard_alsa_messages()
    except OSError:
        raise AudioError(
            "the PortAudio library is missing: install it (Debian, Ubuntu, Raspberry Pi OS: "
            "apt install libportaudio2)"
        ) from None
    return sounddevice


def _on_alsa_message(file: bytes, line: int, function: bytes, code: int) -> None:
    """Discard a message of ALSA."""


_ALSA_HANDLER = ctypes.CFUNCTYPE(
    None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int
)(_on_alsa_message)


@cache
def _discard_alsa_messages() -> None:
    """Keep ALSA from reporting underruns on standard error: they are counted."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libasound.so.2").snd_lib_error_set_handler(_ALSA_HANDLER)


def refresh() -> None:
    """Let PortAudio search for devices again; no stream may be open."""
    sounddevice = library()
    with silenced():
        sounddevice._terminate()
        sounddevice._initialize()


def devices() -> list[Device]:
    """Return all devices, in PortAudio's order."""
    sounddevice = library()
    defaults = set(sounddevice.default.device)
    systems = sounddevice.query_hostapis()
    return [
        Device(
            number,
            facts["name"],
            systems[facts["hostapi"]]["name"],
            facts["max_input_channels"],
            facts["max_output_channels"],
            round(facts["default_samplerate"]),
            number in defaults,
        )
        for number, facts in enumerate(sounddevice.query_devices())
    ]


def find(kind: str, requested: str | None) -> Device:
    """Return the device that a user requests.

    Parameters
    ----------
    kind : str
        ``input`` or ``output``.
    requested : str or None
        Its number, its name or a part of the name; the default device where it is None.

    Raises
    ------
    AudioError
        No device matches, or more than one.
    """
    present = [d for d in devices() if (d.inputs if kind == "input" else d.outputs)]
    if not present:
        raise AudioError(
            f"no {_KINDS[kind]} found: plug one in, or see fcs-edge mic --list-devices"
        )
    if requested is None:
        number = library().default.device[0 if kind == "input" else 1]
        matches = [d for d in present if d.number == number] or present[:1]
    elif requested.isdigit():
        matches = [d for d in present if d.number == int(requested)]
    else:
        name = requested.lower()
        same = [d for d in present if d.name.lower() == name]
        matches = same or [d for d in present if name in d.name.lower()]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        problem = f"no {_KINDS[kind]} is called {requested!r}"
    else:
        names = ", ".join(f"{d.number} {d.name}" for d in matches)
        problem = f"several {_KINDS[kind]}s have {requested!r} in their names ({names})"
    raise AudioError(f"{problem}; give a number of fcs-edge mic --list-devices")


def input_format(device: Device, rate: int, channel: int | str = "mean") -> DeviceFormat:
    """Return the format to open a microphone with: `rate` and enough channels, or the nearest.

    Raises
    ------
    AudioError
        The device has too few channels, or refuses all formats.
    """
    if isinstance(channel, int) and channel > device.inputs:
        raise AudioError(
            f"microphone {device.number}, {device.name}: has no channel {channel}, "
            f"{device.inputs} at most (fcs-edge mic --list-devices)"
        )
    return _format("input", device, rate, _input_channels(device.inputs, channel))


def _input_channels(most: int, channel: int | str) -> list[int]:
    """Return the numbers of channels to try, the best first.

    A sound server offers any number of channels and mixes those of the device into them. It then
    leaves the first eight unchanged where all eight are requested. For a mean, two show whether
    they cancel each other.
    """
    if not isinstance(channel, int):
        return [n for n in dict.fromkeys((2, 1, most)) if n <= most]
    return [
        n for n in dict.fromkeys((min(most, _SURROUND), channel, 2, most)) if channel <= n <= most
    ]


def output_format(device: Device, rate: int) -> DeviceFormat:
    """Return the format to open a speaker with: `rate` and one channel, or the nearest."""
    channels = [n for n in dict.fromkeys((1, 2, device.outputs)) if n <= device.outputs]
    return _format("output", device, rate, channels)


def _format(kind: str, device: Device, rate: int, channels: list[int]) -> DeviceFormat:
    sounddevice = library()
    check = getattr(sounddevice, f"check_{kind}_settings")
    rates = dict.fromkeys((rate, device.rate, *_RATES))
    refused: Exception | None = None
    with silenced():
        for offered in (DeviceFormat(r, n) for r in rates for n in channels):
            try:
                check(
                    device=device.number,
                    samplerate=offered.rate,
                    channels=offered.channels,
                    dtype="float32",
                )
            except (sounddevice.PortAudioError, ValueError) as error:
                refused = refused or error
            else:
                return offered
    raise problem(kind, device, refused)


def problem(kind: str, device: Device, error: Exception | None) -> AudioError:
    """Return an error that says what to do about an error of PortAudio."""
    text = str(error)
    if "Device unavailable" in text or "busy" in text.lower():
        advice = "it is busy or unplugged; close the program that uses it, or choose another device"
    elif "Illegal combination" in text or "Invalid device" in text:
        advice = "it is gone; plug it in again, or choose another device"
    elif "sample rate" in text.lower() or "channels" in text.lower():
        advice = "it supports no usable sample rate and channels; choose another device"
    else:
        advice = f"PortAudio reports: {text.partition(':')[2].strip() or text}"
    return AudioError(
        f"{_KINDS[kind]} {device.number}, {device.name}: cannot be opened: {advice} "
        "(fcs-edge mic --list-devices)"
    )


@contextmanager
def silenced() -> Iterator[None]:
    """Discard what libraries print to standard error: ALSA reports on devices not in use."""
    try:
        saved = os.dup(2)
    except OSError:
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
