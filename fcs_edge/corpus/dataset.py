"""A dataset of tokens, opened for reading."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from fcs_edge.codec import Codec
from fcs_edge.corpus.job import Row, Totals
from fcs_edge.corpus.schema import FailedRow, ShardFacts
from fcs_edge.corpus.storage import Storage
from fcs_edge.model.layers import F32


class TokenDataset:
    """The rows of a dataset that have tokens, in the order of the input; see `open`."""

    storage: Storage
    shards: tuple[str, ...]
    """Names of the shards, in the order of the input."""
    facts: ShardFacts
    """What all shards state: model, settings, columns."""
    totals: Totals
    """Sums over all rows, with and without tokens."""

    def __len__(self) -> int:
        """Return the number of rows that have tokens."""
        raise NotImplementedError

    def __contains__(self, id: object) -> bool:
        """Return whether a row of this id has tokens."""
        raise NotImplementedError

    def __getitem__(self, id: str) -> Row:
        """Return the row of an id, its tokens as (n,) uint16."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Row]:
        """Yield `rows`."""
        return self.rows()

    def rows(self, columns: Sequence[str] | None = None, *, failed: bool = False) -> Iterator[Row]:
        """Yield the rows, a shard in memory at a time; with `failed` those without tokens too."""
        raise NotImplementedError

    def to_arrow(self, columns: Sequence[str] | None = None) -> Any:
        """Return the rows as a pyarrow.Table, all in memory."""
        raise NotImplementedError

    def decode(self, id: str, codec: Codec | None = None, *, any_model: bool = False) -> F32:
        """Return the sound of a row, (n,) float32 at the codec's output rate."""
        raise NotImplementedError

    @property
    def model(self) -> str:
        """The model's name."""
        return self.facts.model

    @property
    def errors(self) -> Iterator[FailedRow]:
        """Rows that have no tokens, and rows whose sound is cut."""
        raise NotImplementedError


def open(path: str | os.PathLike[str], *, partial: bool = False) -> TokenDataset:
    """Open a dataset of tokens, a folder or the URI of an object store.

    With `partial`, a dataset whose run is not finished opens, too: with the shards that are there.
    """
    raise NotImplementedError
