"""Shards as they are read: batches of rows, in memory that the shard's size does not change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fcs_edge.errors import CorpusError, parsing
from fcs_edge.model.layers import U16

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pyarrow.parquet import ParquetFile

    from fcs_edge.corpus.storage import Storage

BATCH_ROWS = 128
"""Rows that are in memory at once."""

_EXPECTED = "not a readable Parquet file"


@contextmanager
def open_shard(storage: Storage, name: str) -> Iterator[ParquetFile]:
    """Open a shard for reading.

    Parameters
    ----------
    storage : Storage
        The dataset.
    name : str
        The file's name there, "data/0123456789abcdef.parquet".

    Raises
    ------
    CorpusError
        The file is missing or is no Parquet; one line that names it.
    """
    import pyarrow.parquet as pq

    with parsing(name, CorpusError, _EXPECTED):
        file = storage.open(name)
    with file:
        with parsing(name, CorpusError, _EXPECTED):
            parquet = pq.ParquetFile(file)
        yield parquet


def facts_of(parquet: ParquetFile) -> Mapping[str, str]:
    """Return what the schema of a shard states beside its columns."""
    metadata = parquet.schema_arrow.metadata or {}
    return {
        key.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for key, value in metadata.items()
    }


def batches(
    parquet: ParquetFile, name: str, columns: Sequence[str], size: int = BATCH_ROWS
) -> Iterator[RecordBatch]:
    """Yield some columns of a shard, a number of rows at a time.

    Raises
    ------
    CorpusError
        The file is damaged, or is no shard of tokens.
    """
    present = parquet.schema_arrow.names
    missing = [column for column in columns if column not in present]
    if missing:
        raise CorpusError(f"{name}: no shard of tokens; it has no column {missing[0]}")
    with parsing(name, CorpusError, "damaged"):
        yield from parquet.iter_batches(batch_size=size, columns=list(columns))


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
        import pyarrow as pa

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
