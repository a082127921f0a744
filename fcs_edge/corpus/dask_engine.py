"""The engine of a Dask cluster: its workers run the same child processes as one machine does."""

from __future__ import annotations

import asyncio
import json
import queue
import secrets
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from concurrent import futures
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from fcs_edge.corpus import dask_preflight, dask_task
from fcs_edge.corpus.dask_cluster import CLOSE_SECONDS, Cluster
from fcs_edge.corpus.job import Job, OnReport, Outcome, Recipe, Report, Totals
from fcs_edge.corpus.preflight import setup_in_child
from fcs_edge.corpus.storage import Storage, open_storage
from fcs_edge.corpus.watcher import Watcher
from fcs_edge.corpus.wire import report_of, to_json
from fcs_edge.corpus.worker_process import WorkerError, WorkerTracebackError
from fcs_edge.errors import CorpusError, FcsError, reason

JOBS_A_THREAD = 3
"""Shards in flight for each thread of the cluster: few, as a death taints all of them."""
MOST_ATTEMPTS = 3
"""Attempts at a shard that the cluster does not finish; each ends several workers that die."""
WAIT_SECONDS = 600.0
"""That a run waits for workers, where there are none."""
_RESULT_SECONDS = 60
_POLL_SECONDS = 0.05
_LOOK_SECONDS = 2.0
_REPORT_SECONDS = 1.0


@dataclass(eq=False)
class _Flight:
    """A shard that the cluster has."""

    job: Job
    attempts: int = 0
    """Those that failed."""
    places: list[int] = field(default_factory=list)
    """Where each start of it on a worker came to: the number of the item, -1 before the first."""
    workers: frozenset[str] | None = None
    """Those that may do it; None for all."""
    future: Any = None


class DaskEngine:
    """A Dask cluster; see `Engine`.

    Parameters
    ----------
    address : str, optional
        The scheduler's: ``host:8786``. Absent: the cluster that the environment names.
    mixed_cpus : bool
        Whether workers may compute otherwise than this machine.
    watcher : Watcher, optional
        Takes notes and warnings.
    wait : float
        Seconds that a run waits for workers, where there are none.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        mixed_cpus: bool = False,
        watcher: Watcher | None = None,
        wait: float = WAIT_SECONDS,
    ) -> None:
        self.workers = 0
        """Threads of the cluster: children that encode at the same time."""
        self._cluster = Cluster(address)
        self._mixed_cpus, self._wait = mixed_cpus, wait
        self._watcher = watcher or Watcher()
        self._run = secrets.token_hex(8)
        self._stack = ExitStack()
        self._events: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        self._flights: list[_Flight] = []
        self._again: deque[_Flight] = deque()
        self._refused: dict[str, str] = {}
        self._workers: dict[str, int] = {}
        self._looked = self._worked = 0.0
        self._waiting = self._stopping = self._stopped = False
        self._order: dask_preflight.Order = {}

    def __enter__(self) -> DaskEngine:
        """Connect to the scheduler.

        Raises
        ------
        CorpusError
            Dask is not installed, or no scheduler answers.
        """
        self._stack.enter_context(self._cluster)
        self.workers = sum(self._cluster.threads().values())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all children of the run at once, and disconnect."""
        with self._stack, suppress(Exception):
            self._cluster.cancel([flight.future for flight in self._flights])
            self._cluster.call(dask_task.end, self._run, seconds=CLOSE_SECONDS)

    def stop(self) -> None:
        """Start no further job; those that run end as they would. A signal handler may call it."""
        self._stopping = True
        # This queue alone may be used in a signal handler.
        self._events.put({"shard": "", "reports": [to_json(Report("stopping", ""))]})

    def run(self, jobs: Iterator[Job], recipe: Recipe, on_report: OnReport) -> Iterator[Outcome]:
        """Run jobs; see `Engine.run`.

        Raises
        ------
        CorpusError
            The cluster does not fit this machine, the scheduler is gone, no worker comes, or none
            can write the dataset.
        WorkerError
            A worker found a fault of this package.
        """
        self._prepare(recipe)
        is_done = False
        while True:
            self._cluster.require()
            self._look()
            if self._stopping:
                self._drop_waiting()
            else:
                # A shard may go again after the last one was taken.
                is_done = self._fill(jobs)
            self._pass_reports(on_report)
            ended = [flight for flight in self._flights if flight.future.status != "pending"]
            for flight in ended:
                outcome = self._outcome(flight)
                if outcome is not None:
                    yield outcome
            if not self._flights and not self._again and (is_done or self._stopping):
                return
            if not ended:
                time.sleep(_POLL_SECONDS)

    def _prepare(self, recipe: Recipe) -> None:
        """Compare the cluster with this machine."""
        own = setup_in_child(recipe)
        dask_preflight.check_scheduler(self._cluster, own)
        seen = self._stack.enter_context(_seen_file(open_storage(recipe.out), self._run))
        self._order = dask_preflight.order_of(self._run, recipe, own, seen, self._mixed_cpus)
        self._cluster.subscribe(dask_task.topic(self._run), self._events.put)
        self._stack.callback(self._cluster.unsubscribe, dask_task.topic(self._run))
        self._worked = time.monotonic()
        self._look()
        if self._workers:
            self._watcher.note(f"checking the workers of {self._cluster.address} ...")
            faults = dask_preflight.unfit_workers(self._cluster, self._order, self._workers)
            if faults:
                raise CorpusError(dask_preflight.summary(faults))

    def _look(self) -> None:
        """Look now and then who is there, and wait for workers where nobody is."""
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._workers = self._cluster.threads()
        self._looked = now
        if self._workers.keys() - self._refused.keys():
            self._worked, self._waiting = now, False
        elif self._workers:
            faults = {a: self._refused[a] for a in self._workers}
            raise CorpusError(dask_preflight.summary(faults))
        elif now - self._worked > self._wait:
            raise CorpusError(
                f"{self._cluster.address}: no workers came within {self._wait:.0f} s; start some: "
                f"dask worker {self._cluster.address}"
            )
        elif not self._waiting:
            self._waiting = True
            self._watcher.note(
                f"{self._cluster.address} has no workers; the run waits up to {self._wait:.0f} s"
            )
        self._free_stranded()

    def _free_stranded(self) -> None:
        """Give shards that wait for workers that are gone to others."""
        here = self._workers.keys()
        stranded = [f for f in self._flights if f.workers is not None and not f.workers & here]
        self._cluster.cancel([flight.future for flight in stranded])
        for flight in stranded:
            self._flights.remove(flight)
            self._again.append(flight)

    def _fill(self, jobs: Iterator[Job]) -> bool:
        """Submit jobs up to some a thread; return whether all are submitted."""
        fitting = frozenset(self._workers.keys() - self._refused.keys())
        room = JOBS_A_THREAD * max(sum(self._workers[a] for a in fitting), 1)
        while len(self._flights) < room:
            flight = self._again.popleft() if self._again else None
            if flight is None:
                job = next(jobs, None)
                if job is None:
                    return True
                flight = _Flight(job)
            flight.workers = fitting if self._refused else None
            self._submit(flight)
        return False

    def _submit(self, flight: _Flight) -> None:
        task = {
            "order": self._order,
            "job": json.loads(to_json(flight.job)),
            # After a death it must be known at which item.
            "report_seconds": 0.0 if flight.attempts else _REPORT_SECONDS,
        }
        # Another run may have a shard of this name for another dataset.
        key = f"fcs-edge-{flight.job.name}-{self._run}-{secrets.token_hex(4)}"
        flight.future = self._cluster.submit(
            dask_task.work, json.dumps(task), key, sorted(flight.workers or ()) or None
        )
        self._flights.append(flight)

    def _drop_waiting(self) -> None:
        """Cancel the shards that no worker has started, once."""
        self._again.clear()
        if self._stopped:
            return
        self._stopped = True
        answers = self._cluster.call(dask_task.running, self._run).values()
        started = {name for answer in answers if isinstance(answer, list) for name in answer}
        waiting = [f for f in self._flights if f.job.name not in started]
        waiting = [f for f in waiting if f.future.status == "pending"]
        self._cluster.cancel([flight.future for flight in waiting])
        for flight in waiting:
            self._flights.remove(flight)

    def _pass_reports(self, on_report: OnReport) -> None:
        """Pass on what workers have reported, of shards that are in flight."""
        flights = {flight.job.name: flight for flight in self._flights}
        with suppress(queue.Empty):
            while True:
                message = self._events.get_nowait()
                flight = flights.get(message["shard"])
                reports = [report_of(line) for line in message["reports"]]
                if flight is not None and not reports:
                    flight.places.append(-1)
                    if len(flight.places) > 1:
                        reports = [Report("again", flight.job.name)]
                elif flight is not None:
                    flight.places[-1:] = [reports[-1].index]
                for report in reports:
                    if flight is not None or report.kind == "stopping":
                        on_report(report)

    def _outcome(self, flight: _Flight) -> Outcome | None:
        """Return what became of a shard that is no longer in flight; None if it goes again."""
        self._flights.remove(flight)
        future, answer, error = flight.future, None, None
        try:
            if future.status == "finished":
                answer = json.loads(future.result(timeout=_RESULT_SECONDS))
            elif future.status == "error":
                error = future.exception(timeout=_RESULT_SECONDS)
        except (OSError, TimeoutError, asyncio.TimeoutError, futures.CancelledError) as lost:
            # The worker that held the result is gone, or the scheduler.
            error = lost
        if answer is not None:
            return self._read(flight, answer)
        self._cluster.require()
        if error is None:
            return self._try_again(flight, "its task was cancelled")
        if type(error).__name__ == "KilledWorker":
            return self._try_again(flight, "its Dask workers died", died=True)
        if isinstance(error, ImportError | AttributeError):
            self._refuse(self._workers)
        return self._try_again(flight, f"{type(error).__name__}: {reason(error)}")

    def _read(self, flight: _Flight, answer: Mapping[str, Any]) -> Outcome | None:
        """Return the outcome that a worker's answer states; None if the shard goes again."""
        worker = answer["worker"]
        if "totals" in answer:
            job = replace(flight.job, blamed={**flight.job.blamed, **answer["blamed"]})
            totals = answer["totals"] and Totals(**answer["totals"])
            return Outcome(job, totals, answer["failure"])
        if "fault" in answer:
            raise WorkerError(answer["fault"]) from WorkerTracebackError(answer["trace"])
        if "ended" in answer:
            return self._try_again(flight, "its worker was ended")
        if "refused" in answer:
            raise CorpusError(f"the worker {worker} cannot go on: {answer['refused']}")
        self._refuse([worker])
        self._again.append(flight)
        return None

    def _try_again(self, flight: _Flight, why: str, *, died: bool = False) -> Outcome | None:
        """Let a shard go again, or give it up; blame the item at which its workers died."""
        flight.attempts += 1
        if flight.attempts >= MOST_ATTEMPTS:
            return Outcome(flight.job, failure=f"{why}, {flight.attempts} times")
        places = flight.places
        if died and len(places) > 1 and places[-1] == places[-2] >= 0:
            blamed = {flight.job.items[places[-1]].id: "killed its worker"}
            flight.job = replace(flight.job, blamed={**flight.job.blamed, **blamed})
            flight.attempts = 1
        flight.places = []
        self._again.append(flight)
        return None

    def _refuse(self, workers: Collection[str]) -> None:
        """Check workers that joined later; give those that do not fit no further shards."""
        new = [address for address in workers if address not in self._refused]
        faults = dask_preflight.unfit_workers(self._cluster, self._order, new)
        for address, line in faults.items():
            self._watcher.warn(f"the worker {address} {line}; it gets no shards")
        self._refused.update(faults)


@contextmanager
def _seen_file(storage: Storage, run: str) -> Iterator[str]:
    """Write a hidden file into the dataset, for workers to find; yield its name, and remove it."""
    name = f".run-{run[:8]}"
    with storage.write(name) as file:
        file.write(b"fcs-edge\n")
    try:
        yield name
    finally:
        with suppress(FcsError):
            storage.delete(name)
