"""The engine of one machine: worker processes of one thread each."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

from fcs_edge.arguments import as_count
from fcs_edge.bench.host import usable_cores, uses_numba
from fcs_edge.corpus.job import Job, OnReport, Outcome, Recipe, Report
from fcs_edge.corpus.worker_process import WorkerProcess

_JOIN_SECONDS = 5.0
"""That a killed worker may take to end: one that waits for a lost disk does not end."""
_MOST_EVENTS = 100_000
"""Reports that wait for a caller who does other work; further ones are left out."""


@dataclass(frozen=True)
class _Ended:
    """A thread has no further job."""

    error: BaseException | None = None


_Event = Report | Outcome | _Ended


class LocalEngine:
    """Worker processes of this machine; see `Engine`. It runs once.

    Each worker has a thread here, which takes jobs for it and waits for what it says.

    Parameters
    ----------
    workers : int, optional
        Number of processes. Absent: the cores that this process may use.

    Raises
    ------
    TypeError
        `workers` is no integer.
    ValueError
        It is below 1.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._workers = usable_cores() if workers is None else as_count(workers, "workers", 1)
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._jobs_lock = threading.Lock()
        self._alive: list[WorkerProcess] = []
        self._threads: list[threading.Thread] = []
        self._stopped = False
        self._warm = threading.Event()

    @property
    def workers(self) -> int:
        """Number of processes."""
        return self._workers

    def __enter__(self) -> LocalEngine:
        """Return the engine."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all workers at once."""
        self._stopped = True
        self._warm.set()
        for worker in self._alive:
            worker.kill()
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)

    def run(self, jobs: Iterator[Job], recipe: Recipe, on_report: OnReport) -> Iterator[Outcome]:
        """Run jobs; see `Engine.run`."""
        self._start(jobs, recipe)
        n_running = len(self._threads)
        while n_running:
            event = self._events.get()
            if isinstance(event, Report):
                on_report(event)
            elif isinstance(event, Outcome):
                yield event
            elif event.error is not None:
                raise event.error
            else:
                n_running -= 1

    def stop(self) -> None:
        """Start no further job."""
        self._stopped = True
        # This queue alone may be used in a signal handler.
        self._events.put(Report("stopping", ""))

    def _start(self, jobs: Iterator[Job], recipe: Recipe) -> None:
        """Start a thread for each worker, as long as there are jobs."""
        if not uses_numba():
            self._warm.set()
        for number in range(self._workers):
            worker = WorkerProcess(recipe, lives_with_thread=True)
            thread = threading.Thread(
                target=self._serve, args=(number, worker, jobs), name=f"corpus worker {number}"
            )
            thread.daemon = True
            self._alive.append(worker)
            self._threads.append(thread)
            thread.start()

    def _serve(self, number: int, worker: WorkerProcess, jobs: Iterator[Job]) -> None:
        """Give jobs to a worker until there are none; a thread of its own runs this."""
        error: BaseException | None = None
        try:
            if number > 0:
                # The first worker compiles kernels for all, and leaves them on disk.
                self._warm.wait()
            with worker:
                while (job := self._next(jobs)) is not None:
                    self._events.put(worker.run(job, self._take))
        except BaseException as raised:
            error = raised
        if number == 0:
            self._warm.set()
        self._events.put(_Ended(error))

    def _next(self, jobs: Iterator[Job]) -> Job | None:
        with self._jobs_lock:
            return None if self._stopped else next(jobs, None)

    def _take(self, report: Report) -> None:
        if report.kind != "file":
            self._warm.set()
        if self._events.qsize() < _MOST_EVENTS:
            self._events.put(report)
