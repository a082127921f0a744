"""The main function of a worker process: jobs in, reports and totals out, as lines of JSON."""

from __future__ import annotations

from collections.abc import Callable

from fcs_edge.corpus.job import Job, OnReport, Totals

Work = Callable[[Job, OnReport], Totals]
"""Does one job."""

KINDS = {"encode": "fcs_edge.corpus.shard_work"}
"""The module of each kind of work: its `prepare(recipe)` returns the `Work`."""


def main() -> None:
    """Do the jobs of standard input until it ends."""
    raise NotImplementedError
