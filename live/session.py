"""A live session: open devices, run a worker, wait for lost devices, and stop on signals."""

from __future__ import annotations

import io
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

from fcs_edge import signals
from fcs_edge.codec import Codec
from fcs_edge.errors import AudioError
from fcs_edge.files import DiscardingFile
from fcs_edge.live import devices
from fcs_edge.live.devices import DeviceLostError
from fcs_edge.live.latency import Latency, margin
from fcs_edge.live.loop import Loopback
from fcs_edge.live.microphone import Microphone
from fcs_edge.live.opened import REOPEN_SECONDS, OpenDevice
from fcs_edge.live.speaker import Speaker
from fcs_edge.live.statistics import Statistics

_SWITCH_SECONDS = 0.001
_RETRY_SECONDS = 0.5
_SHOW_SECONDS = 0.15
_DRAIN_SECONDS = 1.0
SILENT_SECONDS = 10.0
"""Time without a block of the device after which sound with a duration ends."""
_SILENT = {"input": "no sound arrived for", "output": "it played nothing for"}
_QUIT_KEYS = ("q", "\x03")


def open_microphone(
    codec: Codec,
    requested: str | None,
    latency: Latency,
    channel: int | str = "mean",
    reconnect: bool = False,
) -> Microphone:
    """Open the microphone that a user requests; the default one where it is None.

    With `reconnect`, `Microphone.check` takes one that delivers nothing for 5 s for gone.

    Raises
    ------
    AudioError
        There is no such microphone, or it does not open.
    """
    device = devices.find("input", requested)
    microphone = Microphone(device, codec.sample_rate_in, latency, channel)
    if reconnect:
        microphone.patience = REOPEN_SECONDS
    return microphone


def open_speaker(
    codec: Codec, requested: str | None, latency: Latency, reconnect: bool = False
) -> Speaker:
    """Open the speaker that a user requests; the default one where it is None.

    With `reconnect`, `Speaker.check` takes one that plays nothing for 5 s for gone.

    Raises
    ------
    AudioError
        There is no such speaker, or it does not open.
    """
    device = devices.find("output", requested)
    speaker = Speaker(device, codec.sample_rate_out, latency, margin(latency), codec.latency)
    if reconnect:
        speaker.patience = REOPEN_SECONDS
    return speaker


@contextmanager
def prompt_threads() -> Iterator[None]:
    """Switch threads often, so that a callback does not wait for a panel to be drawn.

    The output of PortAudio and ALSA is discarded. The program's own standard error remains.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        with _own_stderr():
            yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def _own_stderr() -> Iterator[None]:
    """Give Python a copy of standard error, and discard what libraries write to the original."""
    try:
        redirected = sys.stderr.fileno() == 2
    except (OSError, ValueError):
        redirected = False
    if not redirected:
        yield
        return
    python = sys.stderr
    with (
        # Neither a full disk nor a closed terminal ends the sound.
        _text(DiscardingFile(os.dup(2), "w"), python.encoding) as own,
        devices.silenced(),
    ):
        sys.stderr = own
        try:
            yield
        finally:
            sys.stderr = python


@contextmanager
def stop_on_signals(stop: Callable[[], None], remains: str = "") -> Iterator[None]:
    """Call `stop` on the first of SIGINT, SIGTERM and SIGHUP; a second one interrupts at once.

    A signal that the caller ignores stays ignored: `nohup` ignores SIGHUP, and a shell ignores
    SIGINT of its background jobs.

    Parameters
    ----------
    stop : callable
        Ends the sound; it may take a second.
    remains : str, optional
        What the interruption leaves, if anything: the text of the `KeyboardInterrupt`.
    """
    stopping = stopped = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal stopping, stopped
        if stopped:
            raise KeyboardInterrupt(remains)
        if not stopping:
            stopping = True
            # A second signal may interrupt this, and must not leave it half done.
            stop()
            stopped = True

    with signals.handled(on_signal):
        yield


def _text(file: io.RawIOBase, encoding: str) -> io.TextIOWrapper:
    """Return a file for lines of text; it closes `file`."""
    buffered = io.BufferedWriter(file)
    return io.TextIOWrapper(buffered, encoding, errors="replace", line_buffering=True)


class Stoppable(Protocol):
    """What runs on the devices of a session."""

    statistics: Statistics

    @property
    def stopped(self) -> bool:
        """Whether a stop was requested."""

    def stop(self) -> None:
        """Request it."""


def run_with_devices(
    session: Callable[[], None], loop: Stoppable, reconnect: bool, warn: Callable[[str], None]
) -> None:
    """Run a session until it stops; after a device is lost, wait for it and run again.

    Parameters
    ----------
    session : callable
        Opens the devices, runs `loop` on them and closes them.
    loop : Stoppable
        What the session runs.
    reconnect : bool
        Whether to wait for a lost device.
    warn : callable
        Takes the text of a warning.

    Raises
    ------
    AudioError
        A device does not open, or is lost and `reconnect` is false.
    """
    waiting = False
    while not loop.stopped:
        try:
            session()
        except DeviceLostError as error:
            if not reconnect:
                raise AudioError(
                    f"{error}; connect it and start again, or wait for it with --reconnect"
                ) from None
            loop.statistics.n_lost_devices += 1
            warn(f"{error}; waiting for it")
            waiting = True
        except AudioError:
            if not waiting:
                raise
        if not loop.stopped:
            time.sleep(_RETRY_SECONDS)
            devices.refresh()


class Worker:
    """A function on a thread; `join` raises what the function raised."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the function has not returned yet."""
        return self._thread.is_alive()

    def join(self) -> None:
        """Wait for the function to return."""
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._function()
        except BaseException as error:
            self._error = error


def watch(
    worker: Worker,
    read_key: Callable[[float], str],
    show: Callable[[], None],
    stop: Callable[[], None],
    deadline: float = math.inf,
    on_key: Callable[[str], None] = lambda key: None,
    beside: Sequence[Worker] = (),
) -> None:
    """Update the display until the worker ends; raise what the worker raised.

    Parameters
    ----------
    worker : Worker
        What runs.
    read_key : callable
        Takes seconds to wait; returns the key pressed meanwhile, or an empty string.
    show : callable
        Updates the display.
    stop : callable
        Stops the worker: called on the key q and after the deadline.
    deadline : float
        Seconds of ``time.monotonic``.
    on_key : callable
        Takes each other key.
    beside : sequence of Worker, optional
        Others that must run as well: where one ends early, `stop` is called, and its exception
        is raised.
    """
    while worker.running:
        if not all(other.running for other in beside):
            stop()
        key = read_key(_SHOW_SECONDS)
        if key in _QUIT_KEYS or time.monotonic() >= deadline:
            stop()
        elif key:
            on_key(key)
        show()
    worker.join()
    for other in beside:
        if not other.running:
            other.join()


class SilenceGuard:
    """Ends sound of limited duration whose device delivers or plays nothing.

    Parameters
    ----------
    loop : Stoppable
        What runs.
    device : callable
        Returns the microphone or speaker, None before it is open.
    enabled : bool
        Whether it ends the sound; without it `check` does nothing.
    """

    def __init__(
        self, loop: Stoppable, device: Callable[[], OpenDevice | None], enabled: bool
    ) -> None:
        self._loop, self._device, self._enabled = loop, device, enabled
        self.warning = ""
        """Why the sound was ended; empty where it was not."""

    def check(self) -> None:
        """Stop after 10 s without a block of the device; call it several times a second."""
        device = self._device()
        if not self._enabled or device is None or self._loop.stopped:
            return
        if device.silence > SILENT_SECONDS:
            self.warning = (
                f"{device.name} {device.device.name}: {_SILENT[device.kind]} "
                f"{SILENT_SECONDS:g} s, so the sound ends before its --duration; --reconnect waits"
            )
            self._loop.stop()


@dataclass(frozen=True)
class DeviceRequest:
    """The devices that a user requests for a loopback.

    Attributes
    ----------
    microphone, speaker : str or None
        See `fcs_edge.live.devices.find`.
    latency : float or str
        See `fcs_edge.live.latency`.
    playing : bool
        Whether a speaker is opened.
    channel : int or str
        See `fcs_edge.live.microphone.Microphone`.
    reconnect : bool
        Whether a microphone that delivers nothing is taken for lost.
    """

    microphone: str | None
    speaker: str | None
    latency: Latency
    playing: bool
    channel: int | str = "mean"
    reconnect: bool = False


def run_loopback(
    loop: Loopback, codec: Codec, request: DeviceRequest, wait: Callable[[Worker], None]
) -> None:
    """Open the devices, run a loopback on a worker, play what waits, and close the devices.

    Parameters
    ----------
    loop : Loopback
        What the worker runs.
    codec : Codec
        The model.
    request : DeviceRequest
        Which devices to open.
    wait : callable
        Returns once the worker has ended; see `watch`.

    Raises
    ------
    AudioError
        A device does not open.
    DeviceLostError
        A device is gone.
    """
    with ExitStack() as opened:
        microphone = open_microphone(
            codec, request.microphone, request.latency, request.channel, request.reconnect
        )
        opened.callback(microphone.close)
        speaker = None
        if request.playing:
            speaker = open_speaker(codec, request.speaker, request.latency)
            opened.callback(speaker.close)
        wait(Worker(lambda: loop.run(microphone, speaker)))
        if speaker is not None:
            speaker.drain(_DRAIN_SECONDS)
