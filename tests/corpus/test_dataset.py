"""A dataset that is opened: rows in the order of the input, by id, as a table, as sound."""

from __future__ import annotations

import pickle
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fcs_edge
import fcs_edge.corpus
from corpus_rows import cut_row, failed_row, recipe_of, row_of
from fcs_edge.corpus import mirror
from fcs_edge.corpus.dataset import TokenDataset
from fcs_edge.corpus.dataset_files import begin_dataset, read_dataset, write_dataset
from fcs_edge.corpus.job import Recipe, Row, Totals
from fcs_edge.corpus.schema import COLUMNS, write_shard
from fcs_edge.corpus.storage import Folder, ObjectStore, Storage, data_name
from fcs_edge.errors import BitstreamError, CorpusError
from fcs_edge.whole_files import decode_file

pa = pytest.importorskip("pyarrow")

RECIPE = recipe_of(text_columns=("text",))
A, B = "f" * 16, "0" * 16
ROWS: dict[str, list[Row]] = {
    A: [row_of(0, text="one"), failed_row(1), row_of(2), failed_row(3, "a damaged header")],
    B: [cut_row(4), row_of(5)],
}
INTACT = [row for rows in ROWS.values() for row in rows if row["tokens"] is not None]


def fill(storage: Storage, recipe: Recipe = RECIPE) -> Storage:
    totals = {name: write_shard(storage, name, rows, recipe) for name, rows in ROWS.items()}
    write_dataset(storage, recipe, [A, B], totals)
    return storage


def in_folder(tmp_path: Path) -> TokenDataset:
    fill(Folder(tmp_path, create=True))
    return fcs_edge.corpus.open(tmp_path)


def in_store(tmp_path: Path) -> TokenDataset:
    fs = pytest.importorskip("pyarrow._fs")
    storage = fill(ObjectStore(fs._MockFileSystem(), "bucket/tokens", "mock://bucket/tokens"))
    return TokenDataset(storage, read_dataset(storage))


@pytest.fixture(params=[in_folder, in_store])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> TokenDataset:
    opened: TokenDataset = request.param(tmp_path)
    return opened


def test_rows_have_the_order_of_the_input(dataset: TokenDataset) -> None:
    assert len(dataset) == len(INTACT) == 4
    rows = list(dataset)
    assert [row["id"] for row in rows] == [row["id"] for row in INTACT]
    for row, written in zip(rows, INTACT, strict=True):
        assert list(row) == [*COLUMNS, "text"]
        np.testing.assert_array_equal(row["tokens"], written["tokens"])
        assert row["tokens"].dtype == np.uint16
        assert row["tokens"].flags.writeable
    assert rows[0]["text"] == "one"


def test_rows_may_have_fewer_columns_and_failures(dataset: TokenDataset) -> None:
    first = next(dataset.rows(["tokens", "id"]))
    assert list(first) == ["tokens", "id"]
    (tokens,) = next(dataset.rows(["tokens"])).values()
    np.testing.assert_array_equal(tokens, INTACT[0]["tokens"])
    everything = list(dataset.rows(["id", "tokens"], failed=True))
    assert [row["tokens"] is None for row in everything] == [False, True, False, True, False, False]
    with pytest.raises(ValueError, match="no column 'speaker'; there are id, path"):
        next(dataset.rows(["speaker"]))


def test_a_row_is_found_by_its_id(dataset: TokenDataset) -> None:
    for row in INTACT:
        assert row["id"] in dataset
        np.testing.assert_array_equal(dataset[row["id"]]["tokens"], row["tokens"])
    failed = failed_row(1)["id"]
    assert failed not in dataset
    with pytest.raises(CorpusError, match=f"^{failed}: has no tokens: holds no sound$"):
        dataset[failed]
    assert "another" not in dataset
    assert 5 not in dataset
    with pytest.raises(KeyError, match="another"):
        dataset["another"]


def test_ids_of_equal_hash_differ_by_their_text(
    dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcs_edge.corpus.dataset.hash", lambda _: 7, raising=False)
    for row in INTACT:
        assert dataset[row["id"]]["id"] == row["id"]
    assert "another" not in dataset


def test_few_shards_stay_in_memory(dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcs_edge.corpus.dataset._RECENT", 1)
    for row in [*INTACT, *INTACT[::-1]]:
        np.testing.assert_array_equal(dataset[row["id"]]["tokens"], row["tokens"])
        assert len(dataset._recent) == 1


def test_another_process_finds_rows_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = in_folder(tmp_path)
    assert INTACT[1]["id"] in dataset
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 4000
    # Each process has hashes of its own.
    monkeypatch.setattr("fcs_edge.corpus.dataset.hash", lambda x: hash(x) ^ 5, raising=False)
    there = pickle.loads(pickled)
    for row in INTACT:
        np.testing.assert_array_equal(there[row["id"]]["tokens"], row["tokens"])


def test_the_rows_are_a_table(dataset: TokenDataset) -> None:
    table = dataset.to_arrow()
    assert table.num_rows == len(dataset)
    assert table.column_names == [*COLUMNS, "text"]
    assert table.schema.field("tokens").type == pa.list_(pa.uint16())
    assert table["tokens"].to_pylist() == [row["tokens"].tolist() for row in INTACT]
    assert dataset.to_arrow(["n_tokens"]).to_pydict() == {"n_tokens": [25] * 4}


def test_errors_name_what_has_no_tokens_or_is_cut(dataset: TokenDataset) -> None:
    assert [(row.id, row.problem) for row in dataset.errors] == [
        (row_of(1)["id"], "holds no sound"),
        (row_of(3)["id"], "a damaged header"),
        (row_of(4)["id"], "cut: 468970 of 937984 bytes"),
    ]


def test_a_dataset_states_model_and_totals(dataset: TokenDataset) -> None:
    assert dataset.model == dataset.facts.model == "edge-65k"
    assert dataset.totals == Totals(6, 2, 1, 4 * 8000, 4 * 25, 0, 600 + 15)
    assert repr(dataset) == f"<TokenDataset {dataset.storage.location}: 4 rows of edge-65k>"


def test_a_row_decodes_as_its_file_does(tmp_path: Path, model: Path) -> None:
    codec = fcs_edge.load(model)
    recipe = recipe_of(model, also=("npz",))
    rows = [row_of(0, 0.51), row_of(1)]
    storage = Folder(tmp_path, create=True)
    mirror.write_mirror(storage, A, recipe, rows)
    write_dataset(storage, recipe, [A], {A: write_shard(storage, A, rows, recipe)})
    dataset = fcs_edge.corpus.open(tmp_path)
    for row in rows:
        path = storage.label(mirror.mirror_name(row["id"], "npz"))
        sound = dataset.decode(row["id"], codec)
        np.testing.assert_array_equal(sound, decode_file(path, codec=codec))
        assert sound.size == codec.output_length(row["n_samples"])
    with pytest.raises(CorpusError, match="has no name here: load its file, and give the codec"):
        dataset.decode(rows[0]["id"])
    with pytest.raises(BitstreamError, match=rf"^{rows[0]['id']}: encoded with another"):
        dataset.decode(rows[0]["id"], fcs_edge.load())
    with pytest.raises(KeyError):
        dataset.decode("another", codec)


def test_a_run_that_is_not_finished_opens_if_requested(tmp_path: Path) -> None:
    begin_dataset(fill(Folder(tmp_path, create=True)))
    with pytest.raises(CorpusError, match=r"has no dataset\.json: the run .* is not finished"):
        fcs_edge.corpus.open(tmp_path)
    dataset = fcs_edge.corpus.open(tmp_path, partial=True)
    assert dataset.shards == (B, A)
    assert dataset.totals.files == 6
    assert len(list(dataset)) == len(dataset) == 4


def test_stale_shards_and_mirrors_are_no_rows(tmp_path: Path) -> None:
    storage = fill(Folder(tmp_path, create=True))
    with storage.write(f"stale/{'c' * 16}.parquet") as file:
        file.write(storage.read(data_name(A)))
    with storage.write(data_name("d" * 16)) as file:
        file.write(storage.read(data_name(A)))
    assert len(list(fcs_edge.corpus.open(tmp_path))) == 4


def remove_a_shard(storage: Storage) -> None:
    storage.delete(data_name(B))


def cut_a_shard(storage: Storage) -> None:
    data = storage.read(data_name(B))
    with storage.write(data_name(B)) as file:
        file.write(data[: len(data) // 2])


def replace_a_shard(storage: Storage) -> None:
    write_shard(storage, B, [row_of(n) for n in range(3)], RECIPE)


def mix_settings(storage: Storage) -> None:
    recipe = replace(RECIPE, settings={**RECIPE.settings, "search": False})
    write_shard(storage, B, ROWS[B], recipe)


def mix_columns(storage: Storage) -> None:
    write_shard(storage, B, ROWS[B], replace(RECIPE, text_columns=()))


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (remove_a_shard, "the shard is missing"),
        (cut_a_shard, "not a readable shard"),
        (replace_a_shard, r"its sums are not those that dataset\.json states"),
        (mix_settings, "it is a shard of another model, or of other settings"),
        (mix_columns, "it is a shard of another model, or of other settings"),
    ],
)
def test_a_damaged_dataset_is_one_line(
    harm: Callable[[Storage], None], problem: str, tmp_path: Path
) -> None:
    storage = fill(Folder(tmp_path, create=True))
    harm(storage)
    with pytest.raises(CorpusError, match=rf"{B}\.parquet: .*{problem}") as raised:
        list(fcs_edge.corpus.open(tmp_path))
    assert "\n" not in str(raised.value)


def test_what_holds_no_dataset_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="none: no such folder"):
        fcs_edge.corpus.open(tmp_path / "none")
    with pytest.raises(CorpusError, match=f"^{tmp_path}: holds no dataset of tokens$"):
        fcs_edge.corpus.open(tmp_path, partial=True)
    storage = Folder(tmp_path, create=True)
    write_dataset(storage, RECIPE, [], {})
    empty = fcs_edge.corpus.open(tmp_path)
    assert len(empty) == len(list(empty)) == empty.to_arrow().num_rows == 0
    assert "a" not in empty


def test_a_dataset_needs_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(Folder(tmp_path, create=True))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(CorpusError, match=r"^fcs-edge corpus needs pyarrow: pip install pyarrow$"):
        fcs_edge.corpus.open(tmp_path)


def test_a_dataset_may_be_moved(tmp_path: Path) -> None:
    fill(Folder(tmp_path / "here", create=True))
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert len(fcs_edge.corpus.open(tmp_path / "there")) == 4
