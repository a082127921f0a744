"""The work on one shard, the same in every worker: its items' rows, written once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fcs_edge.corpus.job import Job, OnReport, Recipe, Totals

if TYPE_CHECKING:
    from fcs_edge.corpus.item_encoder import ItemEncoder  # type: ignore[import-not-found]
    from fcs_edge.corpus.storage import Storage  # type: ignore[import-not-found]
else:
    ItemEncoder = Storage = Any


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
    raise NotImplementedError


def prepare(recipe: Recipe) -> Callable[[Job, OnReport], Totals]:
    """Load a recipe's model and open its dataset; return what does one job."""
    raise NotImplementedError
