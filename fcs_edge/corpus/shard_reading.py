"""Shards as they are read: batches of rows, in memory that the shard's size does not change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fcs_edge.corpus.arrow import pyarrow
from fcs_edge.corpus.schema import open_shard
from fcs_edge.errors import CorpusError
from fcs_edge.model.layers import U16

if TYPE_CHECKING:
    from fcs_edge.corpus.storage import Storage

BATCH_ROWS = 128
"""Rows that are in memory at once."""


def batches(
    storage: Storage, path: str, columns: Sequence[str], size: int = BATCH_ROWS
) -> Iterator[Any]:
    """Yield some columns of a shard, a number of rows at a time, as pyarrow.RecordBatch.

    Parameters
    ----------
    storage : Storage
        The dataset.
    path : str
        The shard's file there, "data/0123456789abcdef.parquet".
    columns : sequence of str
        The columns.
    size : int
        Rows of a batch.

    Raises
    ------
    CorpusError
        The file is missing, damaged, or no shard of tokens.
    """
    with open_shard(storage, path) as shard:
        present = shard.schema_arrow.names
        missing = [column for column in columns if column not in present]
        if missing:
            raise CorpusError(f"{storage.label(path)}: no shard; it has no column {missing[0]}")
        # A thread of pyarrow's may outlive the interpreter, and abort it.
        yield from shard.iter_batches(size, columns=list(columns), use_threads=False)


def tokens_bytes(storage: Storage, path: str) -> int:
    """Return the bytes that the tokens of a shard take in its file."""
    with open_shard(storage, path) as shard:
        groups = map(shard.metadata.row_group, range(shard.metadata.num_row_groups))
        chunks = (group.column(i) for group in groups for i in range(group.num_columns))
        return sum(
            chunk.total_compressed_size
            for chunk in chunks
            if chunk.path_in_schema.split(".")[0] == "tokens"
        )


class TokenRows:
    """The tokens of a batch of rows: all of them, and where each row's begin.

    Parameters
    ----------
    column : pyarrow.ListArray
        The column ``tokens``.
    name : str
        The shard, for messages.

    Attributes
    ----------
    tokens : (n,) ndarray of uint16
        The tokens of all rows, one after the other.
    lengths : (rows,) ndarray of int64
        The number of tokens of each row, 0 where there are none.
    starts : (rows,) ndarray of int64
        The first token of each row in `tokens`.
    """

    def __init__(self, column: Any, name: str) -> None:
        pa = pyarrow()
        if column.type != pa.list_(pa.uint16()):
            raise CorpusError(f"{name}: no shard of tokens; they are {column.type}, not uint16")
        lengths = column.value_lengths().fill_null(0)
        self.tokens: U16 = column.flatten().to_numpy(zero_copy_only=False)
        self.lengths: NDArray[np.int64] = lengths.to_numpy(zero_copy_only=False).astype(np.int64)
        self.starts: NDArray[np.int64] = np.cumsum(self.lengths) - self.lengths

    def row(self, index: int) -> U16:
        """Return the tokens of a row, (n,) uint16."""
        start = self.starts[index]
        return self.tokens[start : start + self.lengths[index]]
