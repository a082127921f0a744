"""What stands beside the shards: dataset.json, the dataset card, the table of errors."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from fcs_edge.corpus.job import Recipe, Totals
from fcs_edge.corpus.storage import Storage


def check_model(storage: Storage, recipe: Recipe) -> None:
    """Refuse a dataset that holds tokens of another model or of other settings.

    Raises
    ------
    CorpusError
        It does; the line names both, and ``--force``.
    """
    raise NotImplementedError


def begin_dataset(storage: Storage) -> None:
    """Remove dataset.json, whose presence means that no shard is missing."""
    raise NotImplementedError


def write_dataset(
    storage: Storage, recipe: Recipe, names: Sequence[str], totals: Mapping[str, Totals]
) -> None:
    """Write the table of errors, the dataset card, and dataset.json last.

    Parameters
    ----------
    storage : Storage
        The dataset; it holds all shards.
    recipe : Recipe
        What the shards share.
    names : sequence of str
        The shards' names, in the order of the input.
    totals : mapping of str to Totals
        The sums of each shard by its name.
    """
    raise NotImplementedError


def take_back(storage: Storage, names: Collection[str]) -> list[str]:
    """Move shards of these names that a run set aside back to the data; return their names.

    Their mirrors are removed: `mirror.incomplete` then names the shards.
    """
    raise NotImplementedError


def set_aside(
    storage: Storage, names: Collection[str], recipe: Recipe, *, prune: bool = False
) -> list[str]:
    """Move all shards but those of these names to ``stale``, or delete them; return their names.

    With `prune`, shards that earlier runs set aside are deleted too. The mirrors of rows that
    the dataset no longer has, or that the run did not write, are removed.
    """
    raise NotImplementedError
