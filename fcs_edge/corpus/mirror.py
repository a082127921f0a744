"""Tokens as a file an input, beside the table: ``npz/ID.npz`` or ``fcs/ID.fcs``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fcs_edge.corpus.job import Recipe, Row
from fcs_edge.corpus.storage import Storage


def write_mirror(
    storage: Storage, name: str, recipe: Recipe, rows: Sequence[Row] | None = None
) -> None:
    """Write the files of a shard's rows, for each suffix of `Recipe.also`.

    Parameters
    ----------
    storage : Storage
        The dataset.
    name : str
        The shard's name.
    recipe : Recipe
        What the shards share.
    rows : sequence of dict, optional
        The rows, where the shard is not yet written: files come first, so that a shard that is
        there has them. Absent: they are read from the shard.
    """
    raise NotImplementedError


def incomplete(storage: Storage, names: Iterable[str], recipe: Recipe) -> Iterator[str]:
    """Yield the shards of which files are missing."""
    raise NotImplementedError
