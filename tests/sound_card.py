"""A virtual sound card: PulseAudio as the test's own process, with two null sinks.

The microphone records what is played into `micsink`. `spk.monitor` records what is played to the
speaker. With FCS_EDGE_NEED_SOUND=1, tests fail instead of skip where PulseAudio is missing.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from helpers import COMMAND

PROGRAMS = ("pulseaudio", "pactl", "paplay", "parec")
_MODULES = (
    "module-native-protocol-unix",
    "module-null-sink sink_name=spk rate=48000 channels=2",
    "module-null-sink sink_name=micsink rate=48000 channels=1",
    "module-remap-source source_name=mic master=micsink.monitor",
)
_ASOUNDRC = """
pcm.!default { type pulse }
ctl.!default { type pulse }
"""


class SoundCard:
    """PulseAudio, and the programs that use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "run").mkdir(mode=0o700)
        (folder / "home").mkdir()
        (folder / "home" / ".asoundrc").write_text(_ASOUNDRC)
        self.env = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "HOME": str(folder / "home"),
            "PULSE_LATENCY_MSEC": "40",
        }
        self._running: list[subprocess.Popen[Any]] = []
        self.start()

    def start(self) -> None:
        """Start the server."""
        loads = [part for module in _MODULES for part in ("-L", module)]
        self.server = self.popen(
            *("pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--disallow-exit"),
            *("--log-level=error", "--resample-method=speex-float-5", *loads),
        )
        for _ in range(100):
            if self.control("info", check=False) == 0:
                break
            time.sleep(0.1)
        self.control("set-default-sink", "spk")
        self.control("set-default-source", "mic")

    def control(self, *arguments: str, check: bool = True) -> int:
        """Run pactl."""
        command = ["pactl", *arguments]
        return subprocess.run(command, env=self.env, check=check, capture_output=True).returncode

    def popen(self, *command: object, **options: Any) -> subprocess.Popen[Any]:
        """Start a program."""
        process = subprocess.Popen([str(c) for c in command], env=self.env, **options)
        self._running.append(process)
        return process

    def fcs(self, *arguments: object, **options: Any) -> subprocess.Popen[bytes]:
        """Start fcs-edge; its standard error is a pipe."""
        options = {"stderr": subprocess.PIPE, **options}
        return self.popen(*COMMAND, *arguments, **options)

    def speak(self, sound: Path) -> subprocess.Popen[Any]:
        """Play a file into the microphone."""
        return self.popen("paplay", "--device=micsink", sound)

    def record(self, source: str, path: Path, rate: int) -> subprocess.Popen[Any]:
        """Record a source as bare 16-bit samples, from the moment this returns."""
        sink = path.open("wb")
        form = ("--format=s16le", "--channels=1", f"--rate={rate}", "--latency-msec=40")
        process = self.popen("parec", "-d", source, *form, stdout=sink)
        sink.close()
        deadline = time.monotonic() + 10
        while not path.stat().st_size and time.monotonic() < deadline:
            time.sleep(0.02)
        return process

    def close(self) -> None:
        """Kill all programs."""
        for process in reversed(self._running):
            process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()


@contextmanager
def virtual_sound_card() -> Iterator[SoundCard]:
    """Run a sound card; without PulseAudio skip the test, or fail it where sound is needed."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        if os.environ.get("FCS_EDGE_NEED_SOUND"):
            pytest.fail(f"{', '.join(missing)}: not installed")
        pytest.skip(f"{', '.join(missing)}: not installed")
    # Not pytest's own folder: a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="fcs"))
    card = SoundCard(folder)
    try:
        yield card
    finally:
        card.close()
        shutil.rmtree(folder, ignore_errors=True)


def interrupt(process: subprocess.Popen[Any]) -> None:
    """Press Ctrl-C."""
    process.send_signal(signal.SIGINT)
