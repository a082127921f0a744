"""Runs many commands, each in a fork of one warm process: as a shell does, but without the start.

A case is a command, its input, what is closed or ignored, and a signal that arrives in its midst.
"""

from __future__ import annotations

import array
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_SECONDS = 60


@dataclass(frozen=True)
class Case:
    """A command that runs in a folder."""

    folder: str
    arguments: Sequence[str]
    first: str = ""
    """A file whose bytes stand on standard input."""
    rest: str = ""
    """A file whose bytes follow after the signal, where it is ignored; then the input ends."""
    closed: Sequence[int] = ()
    """Standard descriptors that are closed."""
    ignored: bool = False
    """Whether the caller ignores the signal."""
    sent: int = 0
    """The signal that arrives once the command waits for more input, or writes a file."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    """Exit code, or minus the signal that ended it."""
    out: bytes
    err: str
    files: list[str]
    """Names in its folder."""


def run_cases(cases: Sequence[Case]) -> list[Outcome]:
    """Run commands in a new process, one after the other."""
    # As a script it would find tests/fcs_edge in place of the package.
    script = f"import runpy; runpy.run_path({__file__!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps([asdict(case) for case in cases]).encode(),
        stdout=subprocess.PIPE,
        check=True,
        env=os.environ | {"FCS_EDGE_COMPILED": "off"},
    )
    found = [Outcome(**facts) for facts in json.loads(done.stdout)]
    return [Outcome(o.status, str(o.out).encode("latin-1"), o.err, o.files) for o in found]


def _child(case: dict[str, Any], files: Sequence[int]) -> int:
    from fcs_edge.cli.main import main

    os.chdir(case["folder"])
    for standard, file in enumerate(files):
        os.dup2(file, standard)
    for descriptor in (*range(3, 64), *case["closed"]):
        try:
            os.close(descriptor)
        except OSError:
            continue
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if case["ignored"]:
        signal.signal(case["sent"], signal.SIG_IGN)
    # As Python does at its start.
    closed = case["closed"]
    sys.stdin = sys.__stdin__ = None if 0 in closed else open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = None if 1 in closed else open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = None if 2 in closed else open(2, "w", closefd=False)  # noqa: SIM115
    try:
        main(case["arguments"])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 99


def _new_files(pid: int, pipe: int, folder: str) -> set[str]:
    """Return the files of a command that have no name yet, once it has read all its input."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        # It may be closed meanwhile.
        with suppress(OSError):
            found.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    begins = (f"{folder}/#", f"{folder}/.")
    return {link for link in found if link.startswith(begins) and count[0] == 0}


def _wait_for(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + _SECONDS
    while not holds() and time.monotonic() < end:
        time.sleep(0.005)


def _run(case: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(writer)
            status = 98
            try:
                status = _child(case, (reader, out.fileno(), err.fileno()))
            finally:
                os._exit(status)
        os.close(reader)
        ended: list[int] = []

        before: set[str] = set()

        def waits() -> bool:
            # A file that is there twice is no trial of what the file system can do.
            nonlocal before
            earlier, before = before, _new_files(pid, writer, case["folder"])
            return bool(earlier & before)

        def has_ended() -> bool:
            if not ended and (found := os.waitpid(pid, os.WNOHANG))[0]:
                ended.append(os.waitstatus_to_exitcode(found[1]))
            return bool(ended)

        with open(writer, "wb", buffering=0) as pipe:
            for name in (case["first"], case["rest"]):
                if name:
                    with suppress(BrokenPipeError):
                        pipe.write(Path(name).read_bytes())
                if case["sent"] and name == case["first"]:
                    _wait_for(lambda: has_ended() or waits())
                    if not has_ended():
                        os.kill(pid, case["sent"])
                        if not case["ignored"]:
                            _wait_for(has_ended)
                            break
        _wait_for(has_ended)
        if not ended:
            os.kill(pid, signal.SIGKILL)
            ended.append(97)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("latin-1"))
    files = sorted(os.listdir(case["folder"]))
    return {"status": ended[0], "out": texts[0], "err": texts[1], "files": files}


def _serve() -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    cases = json.load(sys.stdin)
    import fcs_edge.cli.decode
    import fcs_edge.cli.encode

    model = next((c["arguments"][c["arguments"].index("-m") + 1] for c in cases), None)
    codec = fcs_edge.load(model)
    # Read from the cache once, not in each fork.
    import numpy as np

    codec.stream_decoder().push(codec.stream_encoder().push(np.zeros(1280, np.float32)))
    json.dump([_run(case) for case in cases], sys.stdout)


if __name__ == "__main__":
    _serve()
