"""A dataset of tokens, opened for reading."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcs_edge.codec import Codec
from fcs_edge.corpus.arrow import pyarrow
from fcs_edge.corpus.dataset_files import DATASET, Contents, Shard, read_dataset
from fcs_edge.corpus.job import Row, Totals
from fcs_edge.corpus.schema import COLUMNS, arrow_type, shard_facts
from fcs_edge.corpus.shard_reading import FailedRow, failed_rows, open_shard, read_facts, table_rows
from fcs_edge.corpus.storage import Storage, data_name, open_storage, shard_names
from fcs_edge.errors import CorpusError
from fcs_edge.model.layers import F32, new
from fcs_edge.tokens.event_decoder import check_origin, decode_array, labelled
from fcs_edge.tokens.fcs import codec_of
from fcs_edge.tokens.npy import TokenArray
from fcs_edge.tokens.npz import Origin

_RECENT = 16
"""Shards that stay in memory where rows are read by id: about a megabyte each."""


class TokenDataset:
    """The rows of a dataset that have tokens, in the order of the input; see `open`.

    Memory does not depend on the number of rows. Only reading by id adds 16 bytes a row.

    Parameters
    ----------
    storage : Storage
        The dataset.
    contents : Contents
        What its shards are.

    Attributes
    ----------
    storage : Storage
        The dataset.
    shards : tuple of str
        Names of the shards, in the order of the input.
    facts : ShardFacts
        What all shards state: model, settings, columns.
    totals : Totals
        Sums over all rows, with and without tokens.
    """

    def __init__(self, storage: Storage, contents: Contents) -> None:
        self.storage, self.facts = storage, contents.facts
        self.totals: Totals = contents.facts.totals
        self.shards = tuple(shard.name for shard in contents.shards)
        self._totals = {shard.name: shard.totals for shard in contents.shards}
        self._recent: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process opens: hashes of text differ there."""
        state = {**vars(self), "_recent": {}}
        return {name: state[name] for name in state if name not in ("_index", "_codec")}

    def __repr__(self) -> str:
        """Name the place, the model and the number of rows."""
        return f"<TokenDataset {self.storage.location}: {len(self)} rows of {self.model}>"

    def __len__(self) -> int:
        """Return the number of rows that have tokens."""
        return self.totals.files - self.totals.errors

    def __contains__(self, id: object) -> bool:
        """Return whether a row of this id has tokens."""
        row = self._row(id) if isinstance(id, str) else None
        return row is not None and row["tokens"] is not None

    def __getitem__(self, id: str) -> Row:
        """Return the row of an id, its tokens as (n,) uint16.

        Raises
        ------
        KeyError
            There is no such row.
        CorpusError
            The row has no tokens.
        """
        row = self._row(id)
        if row is None:
            raise KeyError(id)
        if row["tokens"] is None:
            why = row["error"] or "fcs-edge corpus check says more"
            raise CorpusError(f"{id}: has no tokens: {why}")
        return row

    def __iter__(self) -> Iterator[Row]:
        """Yield `rows`."""
        return self.rows()

    def rows(self, columns: Sequence[str] | None = None, *, failed: bool = False) -> Iterator[Row]:
        """Yield the rows, with one shard in memory at a time.

        Parameters
        ----------
        columns : sequence of str, optional
            What a row holds. Absent: all columns.
        failed : bool
            Whether rows without tokens are there too; their tokens are None.

        Yields
        ------
        dict
            Values by column; tokens are (n,) uint16.
        """
        for name in self.shards:
            yield from table_rows(self._table(name, columns, failed))

    def to_arrow(self, columns: Sequence[str] | None = None) -> Any:
        """Return the rows as a pyarrow.Table, all in memory."""
        tables = [self._table(name, columns, failed=False) for name in self.shards]
        names = self.facts.columns if columns is None else columns
        schema = pyarrow().schema([(n, arrow_type(COLUMNS.get(n, "string"))) for n in names])
        if not tables:
            return schema.empty_table()
        return pyarrow().concat_tables([table.cast(schema) for table in tables])

    def decode(self, id: str, codec: Codec | None = None, *, any_model: bool = False) -> F32:
        """Return the sound of a row.

        Parameters
        ----------
        id : str
            The row's id.
        codec : Codec, optional
            The model. Absent: the one of the dataset's fingerprint that ``fcs-edge models`` lists.
        any_model : bool
            Whether tokens of another model are decoded.

        Returns
        -------
        numpy.ndarray
            (n,) float32 at ``codec.sample_rate_out``. It ends where the input ended.

        Raises
        ------
        fcs_edge.FcsError
            The row has no tokens, or the model is another one, or has no name here.
        KeyError
            There is no such row.
        """
        row, facts = self[id], self.facts
        fingerprint = bytes.fromhex(facts.fingerprint)
        codec = codec or self._codec
        origin = Origin(fingerprint, facts.model, facts.sample_rate, dict(facts.settings))
        tokens = row["tokens"]
        array = TokenArray(tokens.size, tokens.dtype, iter([tokens]))
        with labelled(id):
            check_origin(origin, codec, any_model)
            return np.concatenate([new(0), *decode_array(array, codec, id, row["n_samples"])])

    @cached_property
    def _codec(self) -> Codec:
        codec = codec_of(bytes.fromhex(self.facts.fingerprint))
        if codec is None:
            raise CorpusError(
                f"{self.storage.location}: its model {self.facts.model}, fingerprint "
                f"{self.facts.fingerprint}, has no name here: load its file, and give the codec"
            )
        return codec

    @property
    def model(self) -> str:
        """The model's name."""
        return self.facts.model

    @property
    def errors(self) -> Iterator[FailedRow]:
        """Rows that have no tokens, and rows whose sound is cut."""
        return failed_rows(self.storage, self._totals)

    def _table(self, name: str, columns: Sequence[str] | None, failed: bool) -> Any:
        """Return rows of a shard as a table, once it is known to be a shard of this dataset."""
        expected = list(self.facts.columns if columns is None else columns)
        if unknown := [column for column in expected if column not in self.facts.columns]:
            raise ValueError(f"no column {unknown[0]!r}; there are {', '.join(self.facts.columns)}")
        with open_shard(self.storage, data_name(name)) as shard:
            facts = shard_facts(shard)
            if facts._replace(totals=self.totals, versions=self.facts.versions) != self.facts:
                raise ValueError("it is a shard of another model, or of other settings")
            if facts.totals != self._totals[name]:
                raise ValueError("its sums are not those that dataset.json states")
            table = shard.read(list(dict.fromkeys([*expected, "error"])), use_threads=False)
            if not failed and facts.totals.errors:
                table = table.filter(pyarrow("pyarrow.compute").is_null(table["error"]))
            return table.select(expected)

    def _recent_table(self, name: str) -> Any:
        """Return all rows of a shard; the last few shards stay in memory."""
        table = self._recent.pop(name, None)
        self._recent[name] = self._table(name, None, failed=True) if table is None else table
        if len(self._recent) > _RECENT:
            del self._recent[next(iter(self._recent))]
        return self._recent[name]

    def _row(self, id: str) -> Row | None:
        hashes, shards, rows = self._index
        first = np.searchsorted(hashes, hash(id))
        while first < hashes.size and hashes[first] == hash(id):
            table = self._recent_table(self.shards[shards[first]])
            (row,) = table_rows(table.slice(rows[first], 1))
            if row["id"] == id:
                return row
            first += 1
        return None

    @cached_property
    def _index(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
        """Hashes of ids, ascending; for each the number of the shard, and the row in it."""
        hashes, counts = [np.zeros(0, np.int64)], []
        for name in self.shards:
            ids = self._table(name, ("id",), failed=True)["id"].to_pylist()
            hashes.append(np.fromiter(map(hash, ids), np.int64, len(ids)))
            counts.append(len(ids))
        joined = np.concatenate(hashes)
        order = np.argsort(joined, kind="stable")
        shards = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        numbers = [np.arange(n, dtype=np.int32) for n in (0, *counts)]
        return joined[order], shards[order], np.concatenate(numbers)[order]


def open(path: str | os.PathLike[str], *, partial: bool = False) -> TokenDataset:
    """Open a dataset of tokens.

    Parameters
    ----------
    path : str or path
        A folder, or the URI of an object store: ``s3://bucket/tokens``.
    partial : bool
        Whether a dataset opens whose run is not finished. It has the shards that are there, in the
        order of their names.

    Returns
    -------
    TokenDataset
        Its rows that have tokens.

    Raises
    ------
    CorpusError
        There is no dataset, its run is not finished, or it is damaged; or pyarrow is missing.

    Examples
    --------
    >>> tokens = open("tokens/")  # doctest: +SKIP
    >>> for row in tokens.rows(["id", "tokens"]):  # doctest: +SKIP
    ...     print(row["id"], row["tokens"].size)
    >>> sound = tokens.decode("a/b.flac")  # doctest: +SKIP
    """
    pyarrow()
    storage = open_storage(path)
    present = shard_names(storage)
    if storage.exists(DATASET):
        contents = read_dataset(storage)
        there = set(present)
        missing = [shard.name for shard in contents.shards if shard.name not in there]
        if missing:
            raise CorpusError(f"{storage.label(data_name(missing[0]))}: the shard is missing")
        return TokenDataset(storage, contents)
    if not present:
        raise CorpusError(f"{storage.location}: holds no dataset of tokens")
    if not partial:
        raise CorpusError(
            f"{storage.location}: has no {DATASET}: the run that encodes it is not finished"
        )
    return TokenDataset(storage, _present(storage, present))


def _present(storage: Storage, names: Sequence[str]) -> Contents:
    """Return what the shards that are there state."""
    facts = [read_facts(storage, name) for name in names]
    shards = tuple(Shard(n, f.totals, "") for n, f in zip(names, facts, strict=True))
    total = sum((shard.totals for shard in shards), Totals())
    return Contents(facts[0]._replace(totals=total), shards)
