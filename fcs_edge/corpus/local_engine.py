"""The engine of one machine: worker processes, one thread each."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

from fcs_edge.corpus.job import Job, OnReport, Outcome, Recipe


class LocalEngine:
    """Worker processes of this machine; see `Engine`.

    Parameters
    ----------
    workers : int, optional
        Number of processes. Absent: the cores that this process may use.
    """

    def __init__(self, workers: int | None = None) -> None:
        raise NotImplementedError

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
        raise NotImplementedError

    def run(self, jobs: Iterator[Job], recipe: Recipe, on_report: OnReport) -> Iterator[Outcome]:
        """Run jobs; see `Engine.run`."""
        raise NotImplementedError

    def stop(self) -> None:
        """Start no further job."""
        raise NotImplementedError
