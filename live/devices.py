"""Microphones and speakers by name, what they offer, and what to say when they do not."""

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
_LOOKED_AWAY_SECONDS = 0.5
_KINDS = {"input": "microphone", "output": "speaker"}


class DeviceLostError(AudioError):
    """A microphone or speaker that was open is gone."""


class Heartbeat:
    """Whether a callback is still called, as one sees it who looks often.

    A time in which nobody looked does not count: this process was stopped, and so was the callback.
    """

    def __init__(self) -> None:
        self.beat()
        self._looked = time.monotonic()

    def beat(self) -> None:
        """Say that it was called."""
        self._called = time.monotonic()

    @property
    def silence(self) -> float:
        """Seconds since it was called."""
        now = time.monotonic()
        if now - self._looked > _LOOKED_AWAY_SECONDS:
            self._called = now
        self._looked = now
        return now - self._called


@dataclass(frozen=True)
class Device:
    """One of PortAudio's devices."""

    number: int
    name: str
    system: str
    """Whose device it is: ALSA, JACK, ..."""
    inputs: int
    """Channels it records at most; 0 where it is no microphone."""
    outputs: int
    """Channels it plays at most; 0 where it is no speaker."""
    rate: int
    """Hz, what it prefers."""
    default: bool
    """Whether it is taken where none is named."""


@dataclass(frozen=True)
class Format:
    """What a device is opened with."""

    rate: int
    """Hz."""
    channels: int


def library() -> Any:
    """Return sounddevice, with PortAudio loaded.

    Raises
    ------
    AudioError
        There is no PortAudio on this machine.
    """
    try:
        import sounddevice

        _hush_alsa()
    except OSError:
        raise AudioError(
            "the PortAudio library is missing: install it (Debian, Ubuntu, Raspberry Pi OS: "
            "apt install libportaudio2)"
        ) from None
    return sounddevice


def _said_by_alsa(file: bytes, line: int, function: bytes, code: int) -> None:
    """Take what ALSA has to say."""


_SAID = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int)(
    _said_by_alsa
)


@cache
def _hush_alsa() -> None:
    """Keep ALSA from writing about underruns to standard error: they are counted."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libasound.so.2").snd_lib_error_set_handler(_SAID)


def refresh() -> None:
    """Let PortAudio look for devices again; no stream may be open."""
    sounddevice = library()
    with silenced():
        sounddevice._terminate()
        sounddevice._initialize()


def devices() -> list[Device]:
    """Return all devices, in PortAudio's order."""
    sounddevice = library()
    chosen = set(sounddevice.default.device)
    systems = sounddevice.query_hostapis()
    return [
        Device(
            number,
            found["name"],
            systems[found["hostapi"]]["name"],
            found["max_input_channels"],
            found["max_output_channels"],
            round(found["default_samplerate"]),
            number in chosen,
        )
        for number, found in enumerate(sounddevice.query_devices())
    ]


def find(kind: str, wanted: str | None) -> Device:
    """Return the device that is meant.

    Parameters
    ----------
    kind : str
        ``input`` or ``output``.
    wanted : str or None
        Its number, its name or a part of the name; the default one where it is absent.

    Raises
    ------
    AudioError
        There is none, or more than one.
    """
    known = [d for d in devices() if (d.inputs if kind == "input" else d.outputs)]
    if not known:
        raise AudioError(
            f"no {_KINDS[kind]} found: plug one in, or see `fcs-edge mic --list-devices`"
        )
    if wanted is None:
        number = library().default.device[0 if kind == "input" else 1]
        found = [d for d in known if d.number == number] or known[:1]
    elif wanted.isdigit():
        found = [d for d in known if d.number == int(wanted)]
    else:
        same = [d for d in known if d.name.lower() == wanted.lower()]
        found = same or [d for d in known if wanted.lower() in d.name.lower()]
    if len(found) == 1:
        return found[0]
    if not found:
        problem = f"no {_KINDS[kind]} is called {wanted!r}"
    else:
        names = ", ".join(f"{d.number} {d.name}" for d in found)
        problem = f"{wanted!r} is a part of several {_KINDS[kind]}s' names ({names})"
    raise AudioError(f"{problem}; see `fcs-edge mic --list-devices` and give a number")


def input_format(device: Device, rate: int) -> Format:
    """Return what to open a microphone with: `rate` and one channel, or what is nearest."""
    return _format("input", device, rate)


def output_format(device: Device, rate: int) -> Format:
    """Return what to open a speaker with: `rate` and one channel, or what is nearest."""
    return _format("output", device, rate)


def _format(kind: str, device: Device, rate: int) -> Format:
    sounddevice = library()
    check = getattr(sounddevice, f"check_{kind}_settings")
    most = device.inputs if kind == "input" else device.outputs
    rates = dict.fromkeys((rate, device.rate, *_RATES))
    channels = [n for n in dict.fromkeys((1, 2, most)) if n <= most]
    refused: Exception | None = None
    with silenced():
        for offered in (Format(r, n) for r in rates for n in channels):
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
    """Return an error that says what to do about what PortAudio said."""
    text = str(error)
    if "Device unavailable" in text or "busy" in text.lower():
        advice = "it is busy or was unplugged: close the program that has it, or choose another"
    elif "Illegal combination" in text or "Invalid device" in text:
        advice = "it is gone: plug it in again, or choose another"
    elif "sample rate" in text.lower() or "channels" in text.lower():
        advice = "it offers no sample rate and channels that can be used; choose another"
    else:
        advice = f"PortAudio says: {text.partition(':')[2].strip() or text}"
    return AudioError(
        f"{_KINDS[kind]} {device.number}, {device.name}: cannot be opened; {advice} "
        "(fcs-edge mic --list-devices)"
    )


@contextmanager
def silenced() -> Iterator[None]:
    """Keep what ALSA prints about devices that nobody asked for off standard error."""
    try:
        saved = os.dup(2)
    except OSError:
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
