"""What runs on a Dask cluster: plain functions, whose arguments and results are text and bytes.

The scheduler imports this module too. So it imports the rest of the package where it is used.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fcs_edge.corpus.job import Report
    from fcs_edge.corpus.worker_process import WorkerProcess

IDLE_SECONDS = 5.0
"""That a child waits for the next shard, where the driver does not end it."""


def work(text: str) -> str:
    """Do one shard in a child process of this Dask worker.

    Parameters
    ----------
    text : str
        A JSON object: ``order``, which is checked as `check` does before the first shard; ``job``;
        ``report_seconds``, the time between events with reports.

    Returns
    -------
    str
        A JSON object: ``worker``, this worker's address, and what became of the shard, or why
        this worker does not do it; see `_done`.
    """
    task = json.loads(text)
    run = _run_here(task["order"]["run"])
    if run.ended:
        return json.dumps({"ended": True, "worker": _address()})
    answer = run.check(task["order"])
    if not _fits(answer):
        return json.dumps({**answer, "worker": _address()})
    return json.dumps({**_done(run, task), "worker": _address()})


def _done(run: _RunHere, task: dict[str, Any]) -> dict[str, Any]:
    """Return ``totals``, ``failure`` and ``blamed`` of a job; or ``refused``, ``fault``, ``ended``.

    The last three say why it is not done: the dataset, a fault of this package, `end`.
    """
    from fcs_edge.corpus.wire import job_of
    from fcs_edge.corpus.worker_process import WorkerError
    from fcs_edge.errors import FcsError

    job = job_of(json.dumps(task["job"]))
    reports = _Reports(run.name, job.name, task["report_seconds"])
    try:
        with run.worker(job.name) as child:
            outcome = child.run(job, reports.add)
    except FcsError as error:
        return {"ended": True} if run.ended else {"refused": str(error)}
    except WorkerError as error:
        return {"fault": str(error), "trace": str(error.__cause__).strip()}
    reports.send()
    return {
        "totals": None if outcome.totals is None else vars(outcome.totals),
        "failure": outcome.failure,
        "blamed": dict(outcome.job.blamed),
    }


async def check(text: str) -> str:
    """Compare this worker with the driver of a run, in a thread and a child process.

    Parameters
    ----------
    text : str
        The order of `preflight.examine`, with the ``run``.

    Returns
    -------
    str
        The child's answer, or its ``error``.
    """
    order = json.loads(text)
    return json.dumps(await asyncio.to_thread(_run_here(order["run"]).check, order))


def fcs_edge_version() -> str:
    """Return the version of this package here: on the scheduler, which needs nothing else."""
    return version("fcs-edge")


def running(run: str) -> list[str]:
    """Return the names of the shards that this worker is encoding for a run."""
    here = _RUNS.get(run)
    return [] if here is None else here.busy()


def end(run: str) -> None:
    """End all children of a run on this worker, at once; a task that begins later starts none."""
    _run_here(run).end()


def receive_model(sha256: str, sender: str, offset: int, data: bytes) -> None:
    """Take bytes of a model; see `model_cache.receive`."""
    from fcs_edge.corpus.model_cache import receive

    receive(sha256, sender, offset, data)


def complete_model(sha256: str, sender: str, file_sha256: str) -> None:
    """Give a received model its name; see `model_cache.complete`."""
    from fcs_edge.corpus.model_cache import complete

    complete(sha256, sender, file_sha256)


class _RunHere:
    """What a run has on this Dask worker: whether the worker fits it, and child processes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ended = False
        self._checking = threading.Lock()
        self._answer: dict[str, Any] = {}
        self._recipe: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._idle: list[WorkerProcess] = []
        self._busy: dict[str, WorkerProcess] = {}
        self._timer: threading.Timer | None = None

    def check(self, order: dict[str, Any]) -> dict[str, Any]:
        """Return what `preflight.examine` answers, of a child that is asked once."""
        from fcs_edge.corpus.preflight import ask_child
        from fcs_edge.errors import FcsError

        with self._checking:
            if self._answer and not self._answer.get("lacks"):
                return self._answer
            here, expected = fcs_edge_version(), order["expected"]["versions"]["fcs-edge"]
            if here != expected:
                # Nothing else of another version can be understood.
                self._answer = {"wrong": [f"has fcs-edge {here}: install {expected} there"]}
                return self._answer
            try:
                self._answer = ask_child(order)
            except FcsError as error:
                self._answer = {"error": str(error)}
            if _fits(self._answer):
                self._recipe = {**order["recipe"], "model": self._answer["model"]}
            return self._answer

    @contextmanager
    def worker(self, shard: str) -> Iterator[WorkerProcess]:
        """Yield a child for a shard; it waits for the next one when the block ends."""
        from fcs_edge.corpus.wire import recipe_of
        from fcs_edge.corpus.worker_process import WorkerProcess

        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            child = self._idle.pop() if self._idle else None
            child = child or WorkerProcess(recipe_of(json.dumps(self._recipe)))
            self._busy[shard] = child
            if self.ended:
                child.kill()
        try:
            yield child
        except BaseException:
            self._give_back(shard, None)
            child.kill()
            child.close()
            raise
        self._give_back(shard, child)

    def _give_back(self, shard: str, child: WorkerProcess | None) -> None:
        with self._lock:
            del self._busy[shard]
            if child is not None and not self.ended:
                self._idle.append(child)
                child = None
            if not self._busy and not self.ended:
                self._timer = threading.Timer(IDLE_SECONDS, self._expire)
                self._timer.daemon = True
                self._timer.start()
        if child is not None:
            child.close()

    def _expire(self) -> None:
        """End the children if nothing came: the driver may be dead."""
        with self._lock:
            idle, self._idle = ([], self._idle) if self._busy else (self._idle, [])
        for child in idle:
            child.close()

    def busy(self) -> list[str]:
        """Return the shards that children work on."""
        with self._lock:
            return list(self._busy)

    def end(self) -> None:
        """End all children; tasks that wait for them end too."""
        with self._lock:
            self.ended = True
            if self._timer is not None:
                self._timer.cancel()
            idle, self._idle = self._idle, []
            for child in self._busy.values():
                child.kill()
        for child in idle:
            child.close()


class _Reports:
    """Collects what a child says of a shard, and sends it as events of this Dask worker."""

    def __init__(self, run: str, shard: str, seconds: float) -> None:
        self._topic, self._shard, self._seconds = topic(run), shard, seconds
        self._lines: list[tuple[str, str]] = []
        # The beginning is an event too: a driver counts by them how often a shard began.
        self._log()
        self._sent = 0.0

    def add(self, report: Report) -> None:
        """Take a report; of those of progress, the last one counts."""
        from fcs_edge.corpus.wire import to_json

        if self._lines and self._lines[-1][0] == report.kind == "progress":
            self._lines.pop()
        self._lines.append((report.kind, to_json(report)))
        if time.monotonic() - self._sent >= self._seconds:
            self.send()

    def send(self) -> None:
        """Send what is collected."""
        if self._lines:
            self._log()

    def _log(self) -> None:
        from distributed import get_worker

        self._sent = time.monotonic()
        lines, self._lines = self._lines, []
        get_worker().log_event(
            self._topic, {"shard": self._shard, "reports": [line for _, line in lines]}
        )


def topic(run: str) -> str:
    """Return the topic of a run's events."""
    return f"fcs-edge-{run}"


def _fits(answer: dict[str, Any]) -> bool:
    return "model" in answer and not answer["wrong"]


def _address() -> str:
    from distributed import get_worker

    return str(get_worker().address)


_RUNS: dict[str, _RunHere] = {}
"""Runs that this process has worked for."""
_LOCK = threading.Lock()


def _run_here(name: str) -> _RunHere:
    with _LOCK:
        return _RUNS.setdefault(name, _RunHere(name))
