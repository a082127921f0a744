"""What an engine is: something that runs the shards of a corpus in other processes."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Protocol

from fcs_edge.corpus.job import Job, OnReport, Outcome, Recipe


class Engine(Protocol):
    """Runs jobs in worker processes; a context whose end is the end of all of them."""

    @property
    def workers(self) -> int:
        """Number of processes; of a cluster those that are there now."""

    def __enter__(self) -> Engine:
        """Prepare the workers."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all workers at once, whatever they do."""

    def run(self, jobs: Iterator[Job], recipe: Recipe, on_report: OnReport) -> Iterator[Outcome]:
        """Run jobs, and yield what became of each as it ends.

        Parameters
        ----------
        jobs : iterator of Job
            Taken one by one, as workers are free.
        recipe : Recipe
            What the jobs share.
        on_report : callable
            Takes what workers say, in the caller's thread, while it waits for an outcome. After
            `stop` it soon takes a report of the kind "stopping".

        Raises
        ------
        fcs_edge.FcsError
            No worker can start, or none can write the dataset.
        WorkerError
            A worker found a fault of this package.
        """

    def stop(self) -> None:
        """Start no further job; those that run end as they would. A signal handler may call it."""
