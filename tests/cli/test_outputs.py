"""Outputs that the commands share."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from fcs_edge.cli import piped_input

_MUCH = 1 << 20

_WRITES = f"""
import signal
from fcs_edge.cli.output_files import output_file
signal.signal(signal.SIGUSR1, lambda *_: None)
print("ready", end="", flush=True)
with output_file("-") as file:
    file.write(bytes({_MUCH}))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_has_arrived_before_a_signal_is_passed_on(number: int) -> None:
    """More than a pipe holds by default; what comes later is not read."""
    source, sender = os.pipe()
    wake, waker = os.pipe()
    target, filler = os.pipe()
    fcntl.fcntl(sender, fcntl.F_SETPIPE_SZ, 1 << 18)
    sound = os.urandom(200_000)
    assert os.write(sender, sound) == len(sound)
    os.write(waker, bytes([signal.SIGUSR1, number]))
    thread = threading.Thread(target=piped_input._pass_on, args=(source, wake, filler))
    thread.start()
    with open(target, "rb") as file:
        assert file.read() == sound
    thread.join()
    for descriptor in (source, sender, wake, waker):
        os.close(descriptor)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_signal_shortens_no_write(unbuffered: str) -> None:
    """A write to a full pipe arrives in full, with PYTHONUNBUFFERED too."""
    command = [sys.executable, "-c", _WRITES]
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.read(5) == b"ready"
        time.sleep(0.3)
        for _ in range(3):
            process.send_signal(signal.SIGUSR1)
            time.sleep(0.05)
        arrived = 0
        while part := process.stdout.read(_MUCH):
            arrived += len(part)
    assert process.returncode == 0
    assert arrived == _MUCH
