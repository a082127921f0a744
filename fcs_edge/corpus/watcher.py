"""What a run says while it works, for whoever shows it."""

from __future__ import annotations

from fcs_edge.corpus.job import Job, Outcome, Report, Totals


class Watcher:
    """Is called while a run goes on; a subclass shows it. All in the caller's thread."""

    def scanning(self, n_items: int) -> None:
        """Take the number of items that are found so far."""

    def planned(self, n_items: int, seconds: float, size: int, n_shards: int) -> None:
        """Take what there is in all: items, estimated seconds, bytes, shards."""

    def resumed(self, n_shards: int, totals: Totals, seconds: float, size: int) -> None:
        """Take what of it earlier runs did: shards, totals, estimated seconds, bytes."""

    def encoding(self, workers: int) -> None:
        """Take that workers begin, and how many; of a cluster the number may change."""

    def started(self, job: Job) -> None:
        """Take a shard that is given to a worker; again, where its worker died."""

    def report(self, report: Report) -> None:
        """Take what a worker says of an item of a shard that has started."""

    def finished(self, outcome: Outcome) -> None:
        """Take what became of a shard."""

    def stopping(self, n_running: int, seconds: float | None) -> None:
        """Take that Ctrl-C came, how many shards end first, and in about how many seconds."""

    def note(self, text: str) -> None:
        """Take a line that is information."""

    def warn(self, text: str) -> None:
        """Take a line about a problem that does not end the run."""
