"""What the live commands share: options for devices, keys, the state of the terminal."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, TypeVar

import click
from rich.console import Console
from rich.table import Table

from fcs_edge.cli.common import Messages
from fcs_edge.codec import Codec
from fcs_edge.errors import AudioError
from fcs_edge.link import keys
from fcs_edge.live import devices
from fcs_edge.live.devices import DeviceLostError
from fcs_edge.live.microphone import Microphone
from fcs_edge.live.opened import Latency
from fcs_edge.live.speaker import Speaker
from fcs_edge.live.statistics import Statistics

_F = TypeVar("_F", bound=Callable[..., Any])

MARGINS = {"low": 0.02, "high": 0.08}
"""Seconds that wait when the next chunk comes, by --latency; else half of what is asked for."""
_SWITCH_SECONDS = 0.001
_RETRY_SECONDS = 1.0
_SHOW_SECONDS = 0.15


def _latency(context: click.Context, option: click.Parameter, value: str) -> Latency:
    """Return ``low`` or ``high`` as it is, or the number of seconds."""
    if value in MARGINS:
        return value
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 2:
        raise click.BadParameter(f"{value!r} is not low, high or a number of seconds up to 2.")
    return seconds


def latency_option(command: _F) -> _F:
    """Add --latency."""
    decorate: Callable[[_F], _F] = click.option(
        "--latency",
        metavar="low|high|SECONDS",
        callback=_latency,
        default="high",
        show_default=True,
        help="What is asked of the devices, and how much sound is kept ready for late chunks.",
    )
    return decorate(command)


def input_option(command: _F) -> _F:
    """Add --input."""
    decorate: Callable[[_F], _F] = click.option(
        "--input",
        "microphone",
        metavar="DEVICE",
        help="The microphone: a number of --list-devices, or a part of its name.",
    )
    return decorate(command)


def output_option(command: _F) -> _F:
    """Add --output."""
    decorate: Callable[[_F], _F] = click.option(
        "--output",
        "speaker",
        metavar="DEVICE",
        help="The speaker: a number of --list-devices, or a part of its name.",
    )
    return decorate(command)


def reconnect_option(command: _F) -> _F:
    """Add --reconnect."""
    decorate: Callable[[_F], _F] = click.option(
        "--reconnect", is_flag=True, help="Wait for a device that goes away, and go on with it."
    )
    return decorate(command)


def key_option(command: _F) -> _F:
    """Add --key."""
    decorate: Callable[[_F], _F] = click.option(
        "--key",
        metavar="FILE",
        help="The key that packets are sealed with, the same at both ends; see fcs-edge key.",
    )
    return decorate(command)


def say_open(key: Path | None, messages: Messages) -> None:
    """Say that a link without a key is open, or what is wrong with its key file."""
    if key is None:
        messages.note(
            "the link is open: whoever can reach it can listen in and talk; --key seals it"
        )
    elif warning := keys.key_warning(key):
        messages.warn(warning)


def open_microphone(codec: Codec, wanted: str | None, latency: Latency) -> Microphone:
    """Open the microphone that is meant."""
    return Microphone(devices.find("input", wanted), codec.sample_rate_in, latency)


def open_speaker(codec: Codec, wanted: str | None, latency: Latency) -> Speaker:
    """Open the speaker that is meant."""
    device = devices.find("output", wanted)
    margin = MARGINS[latency] if isinstance(latency, str) else latency / 2
    return Speaker(device, codec.sample_rate_out, latency, margin, codec.latency)


def list_devices() -> None:
    """Print all devices."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "name", "system", "in", "out", "Hz", ""):
        table.add_column(heading, justify="right" if heading in ("in", "out", "Hz") else "left")
    found = devices.devices()
    for d in found:
        shown = [str(n) if n else "-" for n in (d.inputs, d.outputs)]
        default = "default" if d.default else ""
        table.add_row(str(d.number), d.name, d.system, *shown, str(d.rate), default)
    console = Console(highlight=False)
    console.print(table if found else "no devices found")


@contextmanager
def prompt_threads() -> Iterator[None]:
    """Let threads take turns often: a callback must not wait for a panel to be drawn.

    What PortAudio and ALSA print goes nowhere; what the program says still goes to standard error.
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
    try:
        redirected = sys.stderr.fileno() == 2
    except (OSError, ValueError):
        redirected = False
    if not redirected:
        yield
        return
    python = sys.stderr
    with (
        open(os.dup(2), "w", encoding=python.encoding, errors="replace", buffering=1) as own,
        devices.silenced(),
    ):
        sys.stderr = own
        try:
            yield
        finally:
            sys.stderr = python


@contextmanager
def ending(stop: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C, or being asked to end, end the work in good order; a second Ctrl-C at once."""
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        stop()

    before = [(number, signal.signal(number, ask)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


class Stoppable(Protocol):
    """What a command runs on its devices."""

    statistics: Statistics

    @property
    def stopped(self) -> bool:
        """Whether it was asked to stop."""


def with_devices(
    session: Callable[[], None], loop: Stoppable, reconnect: bool, messages: Messages
) -> None:
    """Run a session until it is stopped; where a device goes away, wait for it and run again.

    Raises
    ------
    AudioError
        A device cannot be opened, or is gone and `reconnect` is false.
    """
    waiting = False
    while not loop.stopped:
        try:
            session()
        except DeviceLostError as error:
            if not reconnect:
                raise AudioError(f"{error}; plug it in again (--reconnect waits for it)") from None
            loop.statistics.n_lost_devices += 1
            messages.warn(f"{error}; waiting for it")
            waiting = True
        except AudioError:
            if not waiting:
                raise
        if not loop.stopped:
            time.sleep(_RETRY_SECONDS)
            devices.refresh()


class Keys:
    """Keys as they are pressed, where standard input is a terminal."""

    def __init__(self) -> None:
        self._saved: Any = None

    def __enter__(self) -> Keys:
        """Let keys come one by one, unseen."""
        if sys.stdin.isatty():
            import termios
            import tty

            self._saved = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(self, *_: object) -> None:
        """Give the terminal back as it was."""
        if self._saved is not None:
            import termios

            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._saved)

    def wait(self, seconds: float) -> str:
        """Wait so long, or until a key is pressed; return it, or an empty string."""
        if self._saved is None:
            time.sleep(seconds)
            return ""
        import select

        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return sys.stdin.read(1) if ready else ""


class Worker:
    """A function on a thread; what it raises is raised again where it is waited for."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it has not returned yet."""
        return self._thread.is_alive()

    def join(self) -> None:
        """Wait for its end."""
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
    pressed: Keys,
    show: Callable[[], None],
    stop: Callable[[], None],
    deadline: float = math.inf,
    other: Callable[[str], None] = lambda key: None,
) -> None:
    """Show what goes on until the worker ends; q, or the deadline, lets it.

    What the worker raised is raised here. `other` takes each other key.
    """
    while worker.running:
        key = pressed.wait(_SHOW_SECONDS)
        if key in ("q", "\x03") or time.monotonic() >= deadline:
            stop()
        elif key:
            other(key)
        show()
    worker.join()
