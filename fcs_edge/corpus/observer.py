"""What a run says while it works, for whoever shows it."""

from __future__ import annotations

from fcs_edge.corpus.job import Job, Outcome, Report, Totals


class Observer:
    """Is called by a run as it goes on, in the run's own thread; this one shows nothing."""

    def scanned(self, n_items: int, size: int) -> None:
        """Take the items and bytes that are found so far."""

    def planned(self, n_items: int, seconds: float, done: Totals, workers: int) -> None:
        """Take what the run has before it, once all is found.

        Parameters
        ----------
        n_items : int
            All items, those of shards that exist included.
        seconds : float
            Sound of the items that are not encoded yet, estimated from their bytes.
        done : Totals
            The sums over the shards that exist.
        workers : int
            Processes that encode at the same time.
        """

    def reported(self, job: Job, report: Report) -> None:
        """Take what a worker says of a shard that is not finished."""

    def finished(self, outcome: Outcome) -> None:
        """Take what became of a shard; its items' reports end with it."""

    def restarted(self, job: Job) -> None:
        """Take that a shard goes again from its start: its worker died."""

    def noted(self, line: str) -> None:
        """Take a line that is information."""

    def warned(self, line: str) -> None:
        """Take a line about a problem that does not end the run."""
