"""A Dask cluster of this machine: a scheduler and workers with nannies, all real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

WAIT = 60.0
"""Seconds that something may take that must happen."""

_END_WITH_PARENT = "import ctypes; ctypes.CDLL(None).prctl(1, 9); "
_BLOCKED = "import sys; sys.modules['fcs_edge'] = None; "
_QUIET = {
    "DASK_DISTRIBUTED__WORKER__MEMORY__TARGET": "False",
    "DASK_DISTRIBUTED__WORKER__MEMORY__SPILL": "False",
    "DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE": "False",
    "DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE": "False",
}


def wait_for(condition: Callable[[], Any], what: str, seconds: float = WAIT) -> Any:
    """Return the first true value of a condition."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """Return the processes that a process started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # The name in brackets may hold blanks.
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(path.name))
    return found


def command_of(pid: int) -> str:
    """Return the command line of a process; nothing if it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def corpus_children(mark: str) -> list[int]:
    """Return the processes of corpus workers whose environment holds a mark."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if "fcs_edge.corpus" not in (path / "cmdline").read_text():
                continue
            if mark.encode() in (path / "environ").read_bytes():
                found.append(int(path.name))
    return found


class LoopbackCluster:
    """A scheduler and workers, each worker with a nanny and one thread.

    Parameters
    ----------
    folder : Path
        An empty folder.
    with_fcs_edge : bool
        Whether the scheduler can import this package.
    """

    def __init__(self, folder: Path, *, with_fcs_edge: bool = True) -> None:
        self.folder, self.mark = folder, f"loopback-{folder}"
        self._environment = {"LOOPBACK": self.mark, "XDG_CACHE_HOME": str(folder / "cache")}
        self._file = folder / "scheduler.json"
        self._log = (folder / "log").open("ab")
        self.workers: list[subprocess.Popen[bytes]] = []
        code = "from distributed.cli.dask_scheduler import main; main()"
        self.scheduler = self._started(
            ("" if with_fcs_edge else _BLOCKED) + code,
            *("--host", "127.0.0.1", "--port", "0", "--no-dashboard"),
            *("--scheduler-file", str(self._file)),
        )
        self.address = wait_for(self._address, "the scheduler's start")

    def _address(self) -> str | None:
        with suppress(OSError, ValueError):
            return str(json.loads(self._file.read_text())["address"])
        return None

    def _started(self, code: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", _END_WITH_PARENT + code, *arguments],
            env={**os.environ, **_QUIET, **self._environment, **environment},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    def add_worker(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start a nanny, which starts a worker of one thread."""
        number = len(self.workers)
        nanny = self._started(
            "from distributed.cli.dask_worker import main; main()",
            *(self.address, "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"),
            *("--name", f"w{number}", "--local-directory", str(self.folder / f"w{number}")),
            **environment,
        )
        self.workers.append(nanny)
        return nanny

    def worker_of(self, nanny: subprocess.Popen[bytes]) -> int:
        """Return the process of a nanny's worker."""

        def found() -> list[int]:
            return [p for p in children(nanny.pid) if "spawn_main" in command_of(p)]

        return int(wait_for(found, "the worker's start")[0])

    def n_workers(self) -> int:
        """Return the number of workers that the scheduler knows."""
        import distributed

        client_class: Any = distributed.Client
        with client_class(self.address, set_as_default=False) as client:
            return len(client.nthreads())

    def encoders(self) -> list[int]:
        """Return the child processes that encode."""
        return corpus_children(self.mark)

    def log(self) -> str:
        """Return what all processes wrote."""
        return (self.folder / "log").read_text(errors="replace")

    def stop(self) -> None:
        """End all processes."""
        for process in [*self.workers, self.scheduler]:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
        if not self._log.closed:
            self._log.close()
