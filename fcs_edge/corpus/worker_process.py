"""A worker: a child process that does jobs, and whose death costs one item at most."""

from __future__ import annotations

from types import TracebackType

from fcs_edge.corpus.job import Job, OnReport, Outcome, Recipe


class WorkerError(Exception):
    """A worker found a fault of this package; its traceback is the cause."""


class WorkerProcess:
    """A child process that is started at its first job, and again after a death.

    Parameters
    ----------
    recipe : Recipe
        What all its jobs share.
    lives_with_thread : bool
        Whether the child ends with the thread that starts it. That thread must live as long as the
        worker is used.
    """

    def __init__(self, recipe: Recipe, *, lives_with_thread: bool = False) -> None:
        raise NotImplementedError

    def __enter__(self) -> WorkerProcess:
        """Return the worker."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the child."""
        self.kill()

    def run(self, job: Job, on_report: OnReport) -> Outcome:
        """Do a job, in one child after another if they die.

        Parameters
        ----------
        job : Job
            The shard.
        on_report : callable
            Takes what the child says, in this thread.

        Returns
        -------
        Outcome
            The totals of the shard, which is written. Its job names the items that are to blame for
            deaths.

        Raises
        ------
        fcs_edge.CorpusError
            The child cannot start, or cannot write the dataset.
        WorkerError
            The child found a fault of this package.
        """
        raise NotImplementedError

    def kill(self) -> None:
        """End the child at once; any thread may call it, and `run` raises CorpusError then."""
        raise NotImplementedError
