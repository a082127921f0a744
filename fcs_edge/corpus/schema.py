"""The columns of a shard, and the shard as one Parquet file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeVar

from fcs_edge.corpus import arrow_columns
from fcs_edge.corpus.arrow import pyarrow
from fcs_edge.corpus.job import Recipe, Row, Totals
from fcs_edge.corpus.storage import Storage, data_name
from fcs_edge.corpus.versions import versions
from fcs_edge.errors import CorpusError, shown
from fcs_edge.modelfile import catalogue, strict_json
from fcs_edge.modelfile.config import SAMPLE_RATE_IN

SCHEMA_VERSION = 1

ROW_GROUP_ROWS = 2000
"""Rows that a reader has in memory at least."""

_PREFIX = "fcs_edge."
_TOKENS = "list<uint16>"
_RANDOM = ("tokens", "sha256")
_LEVEL = 5
"""Of zstd: 9 takes 2 % fewer bytes, and more memory."""
_MOST_TOKENS = (1 << 31) - 1
_T = TypeVar("_T")

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


class ShardFacts(NamedTuple):
    """What a shard's file states of all its rows."""

    model: str
    model_sha256: str
    fingerprint: str
    bits_per_token: int
    token_rate: float
    sample_rate: int
    settings: Mapping[str, Any]
    channel: int | Literal["mean"]
    versions: Mapping[str, str]
    """Of fcs-edge and of the libraries that took part, by name."""
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
    data = shard_bytes(rows, recipe)
    with storage.write(data_name(name)) as file:
        file.write(data)
    return sums(rows)


def shard_bytes(rows: Sequence[Row], recipe: Recipe) -> Any:
    """Return rows as the bytes of a shard; see `write_shard`."""
    return _parquet(_table(rows, recipe, sums(rows)))


def is_cut(row: Mapping[str, Any]) -> bool:
    """Return whether a row has tokens of what is intact only."""
    return row.get("error") is None and (row.get("warning") or "").startswith(CUT)


def sums(rows: Sequence[Row]) -> Totals:
    """Return the sums over rows."""
    intact = [row for row in rows if row.get("error") is None]
    return Totals(
        files=len(rows),
        errors=len(rows) - len(intact),
        cut=sum(map(is_cut, intact)),
        samples=sum(row.get("n_samples") or 0 for row in intact),
        tokens=sum(row.get("n_tokens") or 0 for row in intact),
        not_finite=sum(row.get("n_not_finite") or 0 for row in intact),
        size=sum(row.get("size") or 0 for row in rows),
    )


def columns_of(recipe: Recipe) -> dict[str, str]:
    """Return the types of all columns of a recipe's shards by name, as `COLUMNS` has them."""
    return {**COLUMNS, **dict.fromkeys(map(text_column, recipe.text_columns), "string")}


def arrow_schema(recipe: Recipe, totals: Totals) -> Any:
    """Return a shard's columns, and what it states of all its rows, as a pyarrow.Schema."""
    pa = pyarrow()
    columns = [(name, arrow_type(kind)) for name, kind in columns_of(recipe).items()]
    return pa.schema(
        columns, {_PREFIX + key: text for key, text in _stated(recipe, totals).items()}
    )


def arrow_type(kind: str) -> Any:
    """Return the type of Arrow that `COLUMNS` names."""
    pa = pyarrow()
    return pa.list_(pa.uint16()) if kind == _TOKENS else pa.type_for_alias(kind)


def _stated(recipe: Recipe, totals: Totals) -> dict[str, str]:
    bits, token_rate, sample_rate, name = model_rates(recipe.model, recipe.model_sha256)
    return {
        "schema_version": str(SCHEMA_VERSION),
        "model": name,
        "model_sha256": recipe.model_sha256,
        "fingerprint": recipe.fingerprint,
        "bits_per_token": str(bits),
        "token_rate": repr(token_rate),
        "sample_rate": str(sample_rate),
        "settings": json.dumps(recipe.settings, sort_keys=True),
        "channel": str(recipe.channel),
        "versions": json.dumps(versions(), sort_keys=True),
        "totals": json.dumps(asdict(totals), sort_keys=True),
    }


class Rates(NamedTuple):
    """What turns a model's tokens into bits and seconds."""

    bits_per_token: int
    token_rate: float
    sample_rate: int
    name: str
    """The model's own name."""


@lru_cache(maxsize=4)
def model_rates(model: str, sha256: str) -> Rates:
    """Return the rates of a model.

    Parameters
    ----------
    model, sha256 : str
        Those of a `Recipe`.

    Raises
    ------
    CorpusError
        The model's file is another one by now.
    """
    found = catalogue.find(model)
    if found.sha256 != sha256:
        raise CorpusError(f"{found.path}: has changed since the run began; start it again")
    config = found.config
    token_rate = SAMPLE_RATE_IN / config.samples_per_token
    return Rates(config.bits_per_token, token_rate, SAMPLE_RATE_IN, found.name)


def _table(rows: Sequence[Row], recipe: Recipe, totals: Totals) -> Any:
    if totals.tokens > _MOST_TOKENS:
        raise CorpusError(
            f"a shard of {totals.tokens:,} tokens is too large; use a lower --shard-hours"
        )
    arrays = []
    for name, kind in columns_of(recipe).items():
        values = [row.get(name) for row in rows]
        if kind == _TOKENS:
            arrays.append(arrow_columns.lists(values))
        elif kind == "string":
            arrays.append(arrow_columns.strings(values))
        else:
            arrays.append(arrow_columns.numbers(values, kind))
    return pyarrow().Table.from_arrays(arrays, schema=arrow_schema(recipe, totals))


def _parquet(table: Any) -> Any:
    """Return a table as the bytes of a Parquet file that any reader of it reads."""
    names = [name for name in table.column_names if name not in _RANDOM]
    sink = pyarrow().BufferOutputStream()
    pyarrow("pyarrow.parquet").write_table(
        table,
        sink,
        row_group_size=ROW_GROUP_ROWS,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=_LEVEL,
        # Tokens hardly repeat: an index into a list of them is longer than they are.
        use_dictionary=names,
        write_statistics=names,
        # zstd finds few flipped bits, and tokens have no wrong values.
        write_page_checksum=True,
    )
    return sink.getvalue()


def shard_facts(shard: Any) -> ShardFacts:
    """Return what a shard, a pyarrow.parquet.ParquetFile, states of all its rows.

    Raises
    ------
    ValueError
        It states something else than a shard of this version does.
    """
    schema = shard.schema_arrow
    stated = {
        key.decode()[len(_PREFIX) :]: value.decode()
        for key, value in (schema.metadata or {}).items()
        if key.startswith(_PREFIX.encode())
    }
    if stated.get("schema_version") != str(SCHEMA_VERSION):
        raise ValueError("its schema is not that of a shard of this version")
    _check_columns(schema)
    facts = facts_of(stated, tuple(schema.names))
    if facts.totals.files != shard.metadata.num_rows:
        raise ValueError(f"it holds {shard.metadata.num_rows} rows, not {facts.totals.files}")
    return facts


def _check_columns(schema: Any) -> None:
    types = [(column.name, column.type) for column in schema]
    for found, (name, kind) in zip(types, COLUMNS.items(), strict=False):
        if found != (name, arrow_type(kind)):
            raise ValueError(f"its column {shown(found[0], 40)} is not {name}, {kind}")
    others = types[len(COLUMNS) :]
    text = arrow_type("string")
    if len(types) < len(COLUMNS) or any(kind != text for _, kind in others):
        raise ValueError("its columns are not those of a shard")


def facts_of(stated: Mapping[str, Any], columns: tuple[str, ...]) -> ShardFacts:
    """Return checked facts from the text of a shard, or from values of dataset.json.

    Raises
    ------
    ValueError
        One is missing, or not valid.
    """
    get = _Checked(stated)
    return ShardFacts(
        model=get("model", str, lambda name: len(name) < 1000),
        model_sha256=get("model_sha256", str, lambda text: is_hex(text, 64)),
        fingerprint=get("fingerprint", str, lambda text: is_hex(text, 16)),
        bits_per_token=get("bits_per_token", int, lambda n: 1 <= n <= 16),
        token_rate=get("token_rate", float, lambda rate: 0 < rate < math.inf),
        sample_rate=get("sample_rate", int, lambda n: 0 < n < 1 << 24),
        settings=get("settings", dict, lambda _: True),
        channel=channel_of(get("channel", str, lambda text: text == "mean" or text.isdecimal())),
        versions=get("versions", dict, _is_text),
        totals=totals_of(get("totals", dict, lambda _: True)),
        columns=columns,
    )


def _is_text(values: Mapping[str, str]) -> bool:
    return all(isinstance(value, str) for value in values.values())


def totals_of(stated: Mapping[str, Any]) -> Totals:
    """Return checked sums.

    Raises
    ------
    ValueError
        One is missing, or no number.
    """
    get = _Checked(stated)
    return Totals(**{f.name: get(f.name, int, lambda n: 0 <= n < 1 << 63) for f in fields(Totals)})


def channel_of(text: str) -> int | Literal["mean"]:
    """Return `Recipe.channel` from its text."""
    return "mean" if text == "mean" else int(text)


def is_hex(text: object, digits: int) -> bool:
    """Return whether a value is text of so many hexadecimal digits."""
    is_text = isinstance(text, str) and len(text) == digits
    return is_text and all(c in "0123456789abcdef" for c in str(text))


class _Checked:
    """Values of a foreign mapping, each of a type and within bounds; numbers may be text."""

    def __init__(self, stated: Mapping[str, Any]) -> None:
        self._stated = stated

    def __call__(self, key: str, kind: type[_T], is_valid: Callable[[_T], bool]) -> _T:
        value = self._stated.get(key)
        if isinstance(value, str) and kind is not str:
            value = strict_json.loads(value)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind or not is_valid(value):
            raise ValueError(f"its {key} is {shown(value, 40)!r}")
        return value
