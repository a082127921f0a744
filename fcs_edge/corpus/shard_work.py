"""The work on one shard, the same in every worker: its items' rows, written once."""

from __future__ import annotations

import time
from collections.abc import Callable

from fcs_edge.codec import Codec
from fcs_edge.corpus.item_encoder import ItemEncoder, row_without_tokens
from fcs_edge.corpus.job import Job, OnReport, Recipe, Report, Row, Totals
from fcs_edge.corpus.mirror import write_mirror
from fcs_edge.corpus.schema import write_shard
from fcs_edge.corpus.storage import Storage, open_storage
from fcs_edge.corpus.wire import row_of, row_to_json
from fcs_edge.errors import CorpusError
from fcs_edge.modelfile import catalogue
from fcs_edge.modelfile.config import SAMPLE_RATE_IN

_REPORT_SECONDS = 0.3
"""Between two reports of progress."""


def prepare(recipe: Recipe) -> Callable[[Job, OnReport], Totals]:
    """Load a recipe's model and open its dataset; return what does one job.

    Raises
    ------
    fcs_edge.FcsError
        The model's file is missing, damaged or another one than the recipe's; or the dataset is
        gone.
    """
    codec = Codec(catalogue.referenced(recipe.model), activations=recipe.activations)
    if codec.model.sha256 != recipe.model_sha256:
        raise CorpusError(f"{recipe.model}: the file is another one than when the run began")
    encoder, storage = ItemEncoder(codec, recipe), open_storage(recipe.out)

    def work(job: Job, on_report: OnReport) -> Totals:
        return run_shard(job, recipe, encoder, storage, on_report)

    return work


def run_shard(
    job: Job, recipe: Recipe, encoder: ItemEncoder, storage: Storage, on_report: OnReport
) -> Totals:
    """Encode a shard's items, write it and its mirrors, and return its totals.

    The bytes depend on the job and the recipe alone.

    Parameters
    ----------
    job : Job
        The shard.
    recipe : Recipe
        What shards of a run share.
    encoder : ItemEncoder
        The codec, ready for any item.
    storage : Storage
        The dataset.
    on_report : callable
        Takes a report as an item begins and ends, and a few times a second between.

    Raises
    ------
    OSError, fcs_edge.FcsError
        The shard cannot be written. A fault of a file is an error in its row.
    """
    rows = [_row(job, index, encoder, on_report) for index in range(len(job.items))]
    encoder.close()
    if recipe.also:
        # A shard that is there has its files.
        write_mirror(storage, job.name, recipe, rows)
    return write_shard(storage, job.name, rows, recipe)


def _row(job: Job, index: int, encoder: ItemEncoder, on_report: OnReport) -> Row:
    """Return an item's row; report its begin, progress and end."""
    item = job.items[index]
    text = None
    if item.id in job.rows:
        row = row_of(job.rows[item.id])
    elif item.id in job.blamed:
        row = row_without_tokens(item, job.blamed[item.id])
    else:
        on_report(Report("file", job.name, index))
        row = encoder.row(item, _Progress(job.name, index, on_report).take)
        text = row_to_json(row)
    seconds = 0.0 if row["n_samples"] is None else row["n_samples"] / SAMPLE_RATE_IN
    on_report(Report("done", job.name, index, seconds, row["error"], text))
    return row


class _Progress:
    """Reports of how much of an item is done, a few a second at most."""

    def __init__(self, name: str, index: int, on_report: OnReport) -> None:
        self._name, self._index, self._on_report = name, index, on_report
        self._last = time.monotonic()

    def take(self, seconds: float) -> None:
        """Take the seconds of sound that are done."""
        now = time.monotonic()
        if now - self._last >= _REPORT_SECONDS:
            self._last = now
            self._on_report(Report("progress", self._name, self._index, seconds))
