"""Shards as they are read: what they state, all rows, or batches of rows in constant memory."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fcs_edge.corpus.arrow import pyarrow
from fcs_edge.corpus.job import Row, Totals
from fcs_edge.corpus.schema import ShardFacts, is_cut, shard_facts
from fcs_edge.corpus.storage import Storage, data_name
from fcs_edge.errors import CorpusError, parsing, reason
from fcs_edge.model.layers import U16

BATCH_ROWS = 128
"""Rows that are in memory at once."""
_UNREADABLE = "not a readable shard; a run encodes its files again once it is deleted"


@contextmanager
def open_shard(storage: Storage, path: str) -> Iterator[Any]:
    """Open a shard by its name in the dataset, as a pyarrow.parquet.ParquetFile.

    Whatever pyarrow raises in the block becomes a CorpusError that names the file.
    """
    parquet = pyarrow("pyarrow.parquet")
    label = storage.label(path)
    with storage.open(path) as file, parsing(label, CorpusError, _UNREADABLE):
        # A thread of pyarrow that still holds a file of Python as the program ends aborts it.
        source = pyarrow().OSFile(file.name) if isinstance(file, io.BufferedReader) else file
        try:
            yield parquet.ParquetFile(source, pre_buffer=False, page_checksum_verification=True)
        except OSError as error:
            if error.errno is not None:
                raise
            # That is how pyarrow reports what it cannot decode.
            raise ValueError(reason(error)) from error


def read_facts(storage: Storage, name: str) -> ShardFacts:
    """Return what a shard's file states of all its rows, from the end of its file alone.

    Raises
    ------
    CorpusError
        The file is missing, damaged, or no shard of this version.
    """
    with open_shard(storage, data_name(name)) as shard:
        return shard_facts(shard)


def read_totals(storage: Storage, name: str) -> Totals:
    """Return the sums over a shard's rows, from the end of its file alone."""
    return read_facts(storage, name).totals


def shard_rows(storage: Storage, path: str, columns: Sequence[str]) -> Iterator[Row]:
    """Yield some columns of a shard's rows by its name in the dataset; tokens are uint16 arrays."""
    with open_shard(storage, path) as shard:
        table = shard.read(list(columns), use_threads=False)
    yield from table_rows(table)


def table_rows(table: Any) -> Iterator[Row]:
    """Yield the rows of a table; tokens are (n,) uint16 arrays, or None."""
    others = [name for name in table.column_names if name != "tokens"]
    for batch in table.to_batches():
        values = zip(*(batch.column(name).to_pylist() for name in others), strict=True)
        rows = [dict(zip(others, row, strict=True)) for row in values] or [{}] * batch.num_rows
        if "tokens" not in table.column_names:
            yield from rows
            continue
        lists = batch.column("tokens")
        flat, ends = lists.values.to_numpy(), lists.offsets.to_pylist()
        for n, (row, is_there) in enumerate(zip(rows, lists.is_valid().to_pylist(), strict=True)):
            # A copy may be written to, and outlives the shard.
            tokens = flat[ends[n] : ends[n + 1]].copy() if is_there else None
            yield {name: tokens if name == "tokens" else row[name] for name in table.column_names}


class FailedRow(NamedTuple):
    """A row that has no tokens, or whose sound is cut."""

    id: str
    path: str
    problem: str
    """The error, or the warning."""
    is_error: bool
    """Whether the row has no tokens."""


def failed_rows(storage: Storage, totals: Mapping[str, Totals]) -> Iterator[FailedRow]:
    """Yield the rows of shards that have no tokens, or whose sound is cut.

    Parameters
    ----------
    storage : Storage
        The dataset.
    totals : mapping of str to Totals
        The shards in their order, each with its sums: one without such rows is not read.
    """
    for name, stated in totals.items():
        if not stated.errors and not stated.cut:
            continue
        for row in shard_rows(storage, data_name(name), ("id", "path", "warning", "error")):
            if row["error"] is not None or is_cut(row):
                problem = row["error"] or row["warning"]
                yield FailedRow(row["id"], row["path"], problem, row["error"] is not None)


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
