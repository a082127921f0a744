"""Datasets in the libraries that people read them with. CI installs these; elsewhere they may lack.

Whatever stands beside the shards is read by none: no row is there twice.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corpus_rows import cut_row, failed_row, recipe_of, row_of
from fcs_edge.corpus import mirror
from fcs_edge.corpus.dataset_files import set_aside, write_dataset
from fcs_edge.corpus.job import Row
from fcs_edge.corpus.schema import COLUMNS, write_shard
from fcs_edge.corpus.storage import Folder

pytest.importorskip("pyarrow")

RECIPE = recipe_of(also=("npz",), text_columns=("text",))
OLD, A, B = "9" * 16, "a" * 16, "0" * 16
ROWS: dict[str, list[Row]] = {
    A: [row_of(0, text="one"), failed_row(1), row_of(2, member="b.flac")],
    B: [cut_row(3), row_of(4)],
}
EXPECTED = {
    row["id"]: None if row["tokens"] is None else row["tokens"].tolist()
    for rows in ROWS.values()
    for row in rows
}


def write(out: Path, shards: dict[str, list[Row]]) -> None:
    """Write a dataset as a run does: with mirrors, and what is there already set aside."""
    storage = Folder(out, create=True)
    for name, rows in shards.items():
        mirror.write_mirror(storage, name, RECIPE, rows)
    totals = {name: write_shard(storage, name, rows, RECIPE) for name, rows in shards.items()}
    set_aside(storage, list(shards), RECIPE)
    write_dataset(storage, RECIPE, list(shards), totals)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return a dataset that took the place of another one."""
    write(tmp_path / "out", {OLD: [row_of(0), row_of(7)]})
    write(tmp_path / "out", ROWS)
    return tmp_path / "out"


def load(out: Path, cache: Path, **options: Any) -> Any:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    with warnings.catch_warnings():
        # Its own, of other libraries.
        warnings.simplefilter("ignore")
        return datasets.load_dataset(str(out), cache_dir=str(cache), **options)


def test_datasets(out: Path, tmp_path: Path) -> None:
    loaded = load(out, tmp_path / "cache")
    assert list(loaded) == ["train"]
    rows = loaded["train"]
    assert rows.column_names == [*COLUMNS, "text"]
    assert {row["id"]: row["tokens"] for row in rows} == EXPECTED
    assert rows.num_rows == len(EXPECTED)
    assert rows.features["tokens"].feature.dtype == "uint16"


def test_datasets_as_a_stream(out: Path, tmp_path: Path) -> None:
    rows = load(out, tmp_path / "cache", split="train", streaming=True)
    assert [(row["id"], row["tokens"]) for row in rows] == [
        (row["id"], EXPECTED[row["id"]]) for shard in ROWS.values() for row in shard
    ]


def test_datasets_after_a_change(tmp_path: Path) -> None:
    write(tmp_path / "out", {OLD: [row_of(0), row_of(7)]})
    before = load(tmp_path / "out", tmp_path / "cache", split="train")
    assert before["id"] == [row_of(0)["id"], row_of(7)["id"]]
    # A run that is not finished changes nothing.
    write_shard(Folder(tmp_path / "out"), A, ROWS[A], RECIPE)
    between = load(tmp_path / "out", tmp_path / "cache2", split="train")
    assert between["id"] == before["id"]
    write(tmp_path / "out", ROWS)
    after = load(tmp_path / "out", tmp_path / "cache", split="train")
    assert {row["id"]: row["tokens"] for row in after} == EXPECTED
    assert after.num_rows == len(EXPECTED)
    # Files that failed are encoded again into shards of the same names.
    write(tmp_path / "out", ROWS | {A: [row_of(0), row_of(1), row_of(2)]})
    again = load(tmp_path / "out", tmp_path / "cache", split="train")
    assert again["error"] == [None] * 5


def by_polars(out: Path) -> list[dict[str, Any]]:
    polars = pytest.importorskip("polars")
    frame = polars.read_parquet(out / "data" / "*.parquet")
    assert frame.schema["tokens"] == polars.List(polars.UInt16)
    rows: list[dict[str, Any]] = frame.to_dicts()
    return rows


def by_duckdb(out: Path) -> list[dict[str, Any]]:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT * FROM '{out}/data/*.parquet'")
        names = [column[0] for column in found.description]
        return [dict(zip(names, values, strict=True)) for values in found.fetchall()]


def by_pyarrow(out: Path) -> list[dict[str, Any]]:
    dataset = pytest.importorskip("pyarrow.dataset")
    rows: list[dict[str, Any]] = dataset.dataset(out / "data").to_table().to_pylist()
    return rows


@pytest.mark.parametrize("read", [by_polars, by_duckdb, by_pyarrow])
def test_other_libraries(read: Callable[[Path], list[dict[str, Any]]], out: Path) -> None:
    rows = read(out)
    assert len(rows) == len(EXPECTED)
    assert {row["id"]: row["tokens"] for row in rows} == EXPECTED
    assert list(rows[0]) == [*COLUMNS, "text"]
    texts = {row["id"]: (row["text"], row["member"], row["error"]) for row in rows}
    assert texts[row_of(0)["id"]] == ("one", None, None)
    assert texts[row_of(1)["id"]] == (None, None, "holds no sound")
    assert texts[row_of(2)["id"]] == (None, "b.flac", None)


def test_duckdb_reads_what_a_shard_states(out: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        path = out / "data" / f"{A}.parquet"
        pairs = connection.execute(f"SELECT key, value FROM parquet_kv_metadata('{path}')")
        stated = dict(pairs.fetchall())
    assert stated[b"fcs_edge.fingerprint"] == b"4b4008f194143043"
