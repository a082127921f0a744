"""The columns of a shard, and the shard as one Parquet file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fcs_edge.corpus.job import Recipe, Row, Totals
from fcs_edge.corpus.storage import Storage

SCHEMA_VERSION = 1

COLUMNS: Mapping[str, str] = {
    "id": "string",
    "path": "string",
    "member": "string",
    "offset": "double",
    "duration": "double",
    "n_samples": "int64",
    "n_tokens": "int32",
    "tokens": "list<uint16>",
    "sample_rate_in": "int32",
    "channels": "int32",
    "n_not_finite": "int64",
    "size": "int64",
    "mtime_ns": "int64",
    "sha256": "string",
    "warning": "string",
    "error": "string",
}
"""Types of Arrow by column. Columns of manifests follow them, as strings."""

CUT = "cut"
"""How the warning of a row begins whose sound is cut: its tokens are those of what is intact."""


class FailedRow(NamedTuple):
    """A row that has no tokens, or whose sound is cut."""

    id: str
    path: str
    problem: str
    """The error, or the warning."""
    is_error: bool
    """Whether the row has no tokens."""


class ShardFacts(NamedTuple):
    """What a shard's file states of all its rows."""

    model: str
    model_sha256: str
    fingerprint: str
    bits_per_token: int
    token_rate: float
    sample_rate: int
    settings: Mapping[str, Any]
    channel: int | str
    totals: Totals
    columns: tuple[str, ...]


def text_column(name: str) -> str:
    """Return a manifest column's name in a shard: ``manifest_NAME`` where its own is taken."""
    return f"manifest_{name}" if name in COLUMNS else name


def write_shard(storage: Storage, name: str, rows: Sequence[Row], recipe: Recipe) -> Totals:
    """Write rows as a shard; the same rows give the same bytes.

    Parameters
    ----------
    storage : Storage
        The dataset.
    name : str
        The shard's name.
    rows : sequence of dict
        Values by column, in the order of the input. Columns that a row lacks are null. The tokens
        are (n,) uint16, or None where the row has an error. Columns of `Recipe.text_columns` stand
        under their `text_column`.
    recipe : Recipe
        What all shards of the dataset share.

    Returns
    -------
    Totals
        The sums over the rows.
    """
    raise NotImplementedError


def read_totals(storage: Storage, name: str) -> Totals:
    """Return the sums over a shard's rows, from the end of its file alone."""
    return read_facts(storage, name).totals


def read_facts(storage: Storage, name: str) -> ShardFacts:
    """Return what a shard's file states of all its rows, from the end of its file alone.

    Raises
    ------
    CorpusError
        The file is missing, damaged, or no shard of this version.
    """
    raise NotImplementedError


def failed_rows(storage: Storage, name: str) -> list[FailedRow]:
    """Return the rows of a shard that have no tokens, or whose sound is cut."""
    raise NotImplementedError
