"""The main function of a worker process: jobs in, reports and totals out, as lines of JSON.

A worker is started by `WorkerProcess`. It reads a recipe from standard input, then jobs. It answers
on standard output with objects of one key: ``ready``, ``report``, ``totals``, ``refused`` (a line
for the user) or ``fault`` (a traceback). It ends with its input, in the middle of a job too.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import BinaryIO

from fcs_edge.corpus.job import Job, OnReport, Recipe, Report, Totals
from fcs_edge.corpus.wire import job_of, recipe_of, to_json
from fcs_edge.errors import FcsError

Work = Callable[[Job, OnReport], Totals]
"""Does one job."""

KINDS = {"encode": "fcs_edge.corpus.shard_work", "decode": "fcs_edge.corpus.decoding"}
"""The module of each kind of work: its `prepare(recipe)` returns the `Work`."""

WITH_THREAD = "with-thread"
"""The argument of a worker that ends with the thread that starts it."""

_PR_SET_PDEATHSIG = 1
_NO_MEMORY = "a worker ran out of memory; give fewer --workers"


def main() -> None:
    """Do the jobs of standard input until it ends."""
    if WITH_THREAD in sys.argv:
        _end_with_thread()
    requests, answers = _private_pipes()
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests, lines), daemon=True).start()
    with suppress(BrokenPipeError):
        _answer(answers, _last_words(lines, answers))
    # Threads of libraries may still run, and must not keep the process.
    os._exit(1)


def _end_with_thread() -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _private_pipes() -> tuple[BinaryIO, int]:
    """Take standard input and output away from everybody else; their output goes to errors."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return open(requests, "rb"), answers


def _read(requests: BinaryIO, lines: queue.SimpleQueue[bytes]) -> None:
    """Pass requests on; end the process with them, even while it works."""
    for line in requests:
        lines.put(line)
    os._exit(0)


def _last_words(lines: queue.SimpleQueue[bytes], answers: int) -> dict[str, str]:
    """Do jobs for ever; return what to say before the process ends."""
    try:
        work = _prepared(recipe_of(lines.get().decode()))
        _answer(answers, {"ready": ""})
        while True:
            job = job_of(lines.get().decode())
            reporter = _Reporter(answers, len(job.items))
            totals = work(job, reporter.take)
            reporter.flush({"totals": to_json(totals)})
    except FcsError as error:
        return {"refused": str(error)}
    except MemoryError:
        return {"refused": _NO_MEMORY}
    except OSError as error:
        if error.errno == errno.ENOMEM:
            return {"refused": _NO_MEMORY}
        if error.strerror is None:
            return _fault(error)
        named = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        return {"refused": f"{named}{error.strerror}"}
    except Exception as error:
        return _fault(error)


def _prepared(recipe: Recipe) -> Work:
    work: Work = import_module(KINDS[recipe.kind]).prepare(recipe)
    return work


def _fault(error: Exception) -> dict[str, str]:
    """Return an exception that is a fault of this package."""
    lines = str(error).splitlines() or [""]
    return {
        "fault": f"{type(error).__name__}: {lines[0]}",
        "trace": "".join(traceback.format_exception(error)),
    }


class _Reporter:
    """Sends reports; that an item is done waits for the next one, which begins at once."""

    def __init__(self, answers: int, n_items: int) -> None:
        self._answers = answers
        self._n_items = n_items
        self._waiting = b""

    def take(self, report: Report) -> None:
        """Take a report."""
        self._waiting += _line({"report": to_json(report)})
        if report.kind != "done" or report.index == self._n_items - 1:
            self.flush()

    def flush(self, answer: dict[str, str] | None = None) -> None:
        """Send what waits, and an answer."""
        lines = self._waiting + (b"" if answer is None else _line(answer))
        self._waiting = b""
        _write(self._answers, lines)


def _answer(answers: int, answer: dict[str, str]) -> None:
    _write(answers, _line(answer))


def _line(answer: dict[str, str]) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


if __name__ == "__main__":
    main()
