"""What stands beside shards: dataset.json last, a card, errors as a table, and stale shards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from corpus_rows import cut_row, failed_row, recipe_of, row_of
from fcs_edge.corpus import card, mirror, schema
from fcs_edge.corpus.dataset_files import (
    CARD,
    DATASET,
    ERRORS,
    begin_dataset,
    check_model,
    read_dataset,
    set_aside,
    take_back,
    write_dataset,
)
from fcs_edge.corpus.job import Recipe, Row, Totals
from fcs_edge.corpus.schema import write_shard
from fcs_edge.corpus.storage import Folder, data_name, shard_names
from fcs_edge.corpus.versions import versions
from fcs_edge.errors import CorpusError

pytest.importorskip("pyarrow")

RECIPE = recipe_of()
A, B, C = "a" * 16, "0" * 16, "c" * 16
SHARDS: dict[str, list[Row]] = {
    A: [row_of(0), failed_row(1, "a\tb\\n\nc"), row_of(2)],
    B: [cut_row(3), row_of(4)],
    C: [row_of(5)],
}


@pytest.fixture
def storage(tmp_path: Path) -> Folder:
    return Folder(tmp_path, create=True)


def write_all(
    storage: Folder, recipe: Recipe = RECIPE, names: tuple[str, ...] = (A, B, C)
) -> dict[str, Totals]:
    """Write shards with their mirrors, and return the sums of each."""
    for name in names:
        mirror.write_mirror(storage, name, recipe, SHARDS[name])
    return {name: write_shard(storage, name, SHARDS[name], recipe) for name in names}


def test_dataset_json_lists_all_of_the_dataset(storage: Folder) -> None:
    totals = write_all(storage)
    write_dataset(storage, RECIPE, [A, B, C], totals)
    contents = read_dataset(storage)
    assert [shard.name for shard in contents.shards] == [A, B, C]
    assert [shard.totals for shard in contents.shards] == list(totals.values())
    assert contents.facts.totals == totals[A] + totals[B] + totals[C]
    assert contents.facts.settings == RECIPE.settings
    stated = json.loads(storage.read(DATASET))
    assert list(stated) == [
        *("format", "schema_version", "model", "settings", "channel", "versions", "columns"),
        *("totals", "shards"),
    ]
    assert set(stated["versions"]) == {"fcs-edge", "libsndfile", "soxr", "pyarrow"}


def test_versions_are_those_that_wrote_the_shards(
    storage: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    totals = write_all(storage)
    monkeypatch.setattr(schema, "versions", lambda: {**versions(), "libsndfile": "9.9"})
    write_dataset(storage, RECIPE, [A, B], totals)
    assert json.loads(storage.read(DATASET))["versions"] == versions()
    totals |= write_all(storage, names=(B,))
    write_dataset(storage, RECIPE, [A, B], totals)
    stated = json.loads(storage.read(DATASET))["versions"]
    assert stated == {**versions(), "libsndfile": f"{versions()['libsndfile']}, 9.9"}
    assert read_dataset(storage).facts.versions == stated


def test_a_run_that_changes_nothing_writes_nothing(storage: Folder) -> None:
    totals = write_all(storage)
    write_dataset(storage, RECIPE, [A, B], totals)
    paths = [Path(storage.label(name)) for name in (DATASET, CARD, ERRORS)]
    before = [path.stat() for path in paths]
    write_dataset(storage, RECIPE, [A, B], totals)
    after = [path.stat() for path in paths]
    assert [(s.st_ino, s.st_mtime_ns) for s in after] == [(s.st_ino, s.st_mtime_ns) for s in before]
    paths[2].unlink()
    write_dataset(storage, RECIPE, [A, B], totals)
    assert paths[2].exists()


def test_the_files_depend_on_the_shards_alone(storage: Folder, tmp_path: Path) -> None:
    write_dataset(storage, RECIPE, [A, B], write_all(storage))
    other = Folder(tmp_path / "other", create=True)
    recipe = replace(RECIPE, out="/elsewhere", file_timeout=9.0, also=("npz",))
    totals = write_all(other, recipe, (B, A))
    write_dataset(other, recipe, [A, B], totals)
    for name in (DATASET, CARD, ERRORS):
        assert storage.read(name) == other.read(name)


def test_errors_are_a_table_of_one_line_a_row(storage: Folder) -> None:
    write_dataset(storage, RECIPE, [B, A], write_all(storage))
    cut, failed = SHARDS[B][0], SHARDS[A][1]
    assert storage.read(ERRORS).decode() == (
        "id\tpath\terror\twarning\n"
        f"{cut['id']}\t{cut['path']}\t\tcut: 468970 of 937984 bytes\n"
        f"{failed['id']}\t{failed['path']}\ta\\tb\\\\n\\nc\t\n"
    )


def test_a_dataset_without_errors_has_an_empty_table(storage: Folder) -> None:
    write_dataset(storage, RECIPE, [C], write_all(storage))
    assert storage.read(ERRORS) == b"id\tpath\terror\twarning\n"
    write_dataset(storage, RECIPE, [], {})
    assert read_dataset(storage).facts.totals == Totals()


class Refusing(Folder):
    """A folder that takes one name no more."""

    refused = ""

    def write(self, name: str) -> AbstractContextManager[BinaryIO]:
        if name == self.refused:
            raise CorpusError("full")
        return super().write(name)


@pytest.mark.parametrize("refused", [ERRORS, CARD, DATASET])
def test_dataset_json_means_that_all_is_there(refused: str, tmp_path: Path) -> None:
    storage = Refusing(tmp_path, create=True)
    totals = write_all(storage)
    write_dataset(storage, RECIPE, [A, B, C], totals)
    storage.refused = refused
    totals = {A: totals[A], B: totals[B]}
    with pytest.raises(CorpusError, match="full"):
        write_dataset(storage, RECIPE, [A, B], totals)
    assert not storage.exists(DATASET)
    storage.refused = ""
    write_dataset(storage, RECIPE, [A, B], totals)
    begin_dataset(storage)
    assert not storage.exists(DATASET)
    assert storage.exists(CARD)


def test_a_card_of_its_owner_stays(storage: Folder) -> None:
    totals = write_all(storage)
    write_dataset(storage, RECIPE, [A], totals)
    text = storage.read(CARD).decode()
    assert f"  data_files:\n  - data/{A}.parquet\ntags:" in text
    assert "| tokens | 50 |" in text
    write_dataset(storage, RECIPE, [A, B], totals)
    assert "| tokens | 100 |" in storage.read(CARD).decode()
    own = storage.read(CARD).replace(card._LAST, b"")
    with storage.write(CARD) as file:
        file.write(own)
    write_dataset(storage, RECIPE, [A], totals)
    assert storage.read(CARD) == own


@pytest.mark.parametrize("is_finished", [True, False])
def test_another_model_is_refused(is_finished: bool, storage: Folder, model: Path) -> None:
    check_model(storage, RECIPE)
    totals = write_all(storage)
    if is_finished:
        write_dataset(storage, RECIPE, [A, B, C], totals)
    check_model(storage, RECIPE)
    others: Mapping[str, Recipe] = {
        "the model edge-65k 43934277cb0043fc, and this run has the model": recipe_of(model),
        "search True, and this run has search False: ": replace(
            RECIPE, settings={**RECIPE.settings, "search": False}
        ),
        "the channel mean, and this run has the channel 1": replace(RECIPE, channel=1),
    }
    for line, recipe in others.items():
        with pytest.raises(CorpusError, match=f"holds tokens of {line}.* --force"):
            check_model(storage, recipe)


def test_stale_shards_go_aside_and_come_back(storage: Folder) -> None:
    write_dataset(storage, RECIPE, [A, B, C], write_all(storage))
    data = storage.read(data_name(B))
    assert set_aside(storage, [A, C], RECIPE) == [B]
    assert not storage.exists(DATASET)
    assert shard_names(storage) == [A, C]
    assert shard_names(storage, "stale") == [B]
    assert set_aside(storage, [A, C], RECIPE) == []
    assert take_back(storage, [A, B]) == [B]
    assert storage.read(data_name(B)) == data
    assert shard_names(storage, "stale") == []
    assert take_back(storage, [A, B]) == []


def test_stale_shards_are_deleted_if_requested(storage: Folder) -> None:
    write_all(storage)
    set_aside(storage, [A, B], RECIPE)
    assert set_aside(storage, [A], RECIPE, prune=True) == [B]
    assert shard_names(storage) == [A]
    assert not (Path(storage.location) / "stale").exists()


def test_a_damaged_or_foreign_shard_goes_aside_too(storage: Folder) -> None:
    write_all(storage, replace(RECIPE, also=("npz",)), (A,))
    with storage.write(data_name(B)) as file:
        file.write(b"damaged")
    check_model(storage, replace(RECIPE, channel="mean"))
    with pytest.raises(CorpusError, match="holds tokens of the channel mean"):
        check_model(storage, replace(RECIPE, channel=0))
    assert set_aside(storage, [A], RECIPE) == [B]
    assert take_back(storage, [B]) == [B]


def test_mirrors_show_rows_of_the_dataset_alone(storage: Folder) -> None:
    recipe = replace(RECIPE, also=("npz",))
    write_all(storage, recipe)
    moved, gone, also_in_c = SHARDS[B][0]["id"], SHARDS[B][1]["id"], SHARDS[C][0]["id"]
    rows_of_c = [row_of(5), row_of(3)]
    mirror.write_mirror(storage, C, recipe, rows_of_c)
    write_shard(storage, C, rows_of_c, recipe)
    set_aside(storage, [A, C], recipe)
    assert storage.exists(mirror.mirror_name(moved, "npz"))
    assert not storage.exists(mirror.mirror_name(gone, "npz"))
    # A run that writes no mirrors leaves none of the tokens that it replaced.
    set_aside(storage, [A], RECIPE)
    assert not storage.exists(mirror.mirror_name(also_in_c, "npz"))
    # What comes back may have been written anew meanwhile.
    mirror.write_mirror(storage, C, recipe, rows_of_c)
    assert take_back(storage, [C]) == [C]
    assert list(mirror.incomplete(storage, [A, C], recipe)) == [C]


def hostile(stated: dict[str, Any]) -> dict[str, Any]:
    """Return changes of a dataset.json, and what is said of each."""
    first = stated["shards"][0]
    more = asdict(Totals(files=1))
    return {
        "its format is not": {**stated, "format": "another"},
        "its schema_version is not 1": {**stated, "schema_version": 2},
        "'../../../etc/x' is no name of a shard": {
            **stated,
            "shards": [{**first, "name": "../../../etc/x"}],
        },
        "or is there twice": {**stated, "shards": [first, first]},
        "its totals are not the sums": {**stated, "totals": {**stated["totals"], **more}},
        "its tokens is '-1'": {**stated, "shards": [{**first, "tokens": -1}]},
        "its tokens is '1.5'": {**stated, "totals": {**stated["totals"], "tokens": 1.5}},
        "its settings is": {**stated, "settings": []},
        "not the dataset.json of tokens": {**stated, "model": "edge-65k"},
        "its fingerprint is": {**stated, "model": {**stated["model"], "fingerprint": 1}},
        "json of tokens .'shards'": {k: v for k, v in stated.items() if k != "shards"},
        "json of tokens": {**stated, "shards": 5},
    }


def test_a_hostile_dataset_json_is_refused_in_one_line(storage: Folder) -> None:
    write_dataset(storage, RECIPE, [A, B], write_all(storage))
    good = storage.read(DATASET)
    texts = {line: json.dumps(value) for line, value in hostile(json.loads(good)).items()}
    texts |= {"of tokens .nested": "[" * 100000, "of tokens .Unterminated": good[:100].decode()}
    texts |= {"is there twice": good.decode().replace("{", '{"format": 1,', 1)}
    for line, text in texts.items():
        with storage.write(DATASET) as file:
            file.write(text.encode())
        with pytest.raises(CorpusError, match=line) as raised:
            read_dataset(storage)
        assert str(raised.value).startswith(f"{storage.label(DATASET)}: ")
        assert "\n" not in str(raised.value)
    storage.delete(DATASET)
    with pytest.raises(CorpusError, match=r"dataset\.json: no such file"):
        read_dataset(storage)
