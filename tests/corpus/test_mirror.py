"""Files beside the table: those that `encode` writes, under ids that are safe as paths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fcs_edge
from corpus_rows import failed_row, recipe_of, row_of
from fcs_edge.corpus import mirror
from fcs_edge.corpus.schema import write_shard
from fcs_edge.corpus.storage import Folder, ObjectStore, Storage
from fcs_edge.whole_files import decode_file, encode_file, read_fcs

pytest.importorskip("pyarrow")

NAME = "0123456789abcdef"
RECIPE = recipe_of(also=("npz", "fcs"))


@pytest.fixture
def storage(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "out", create=True)


def files(storage: Storage) -> list[str]:
    return [name for suffix in ("npz", "fcs") for name in storage.tree(suffix)]


@pytest.mark.parametrize("suffix", ["npz", "fcs"])
def test_files_are_those_that_encode_writes(
    suffix: str, sounds: Path, storage: Folder, model: Path, tmp_path: Path
) -> None:
    codec = fcs_edge.load(model)
    out = tmp_path / f"one.{suffix}"
    encoded = encode_file(sounds / "a/one.wav", out, codec)
    row = row_of(0, id="a/one.wav", tokens=encoded.tokens, n_samples=encoded.n_samples)
    recipe = recipe_of(model, also=(suffix,))
    mirror.write_mirror(storage, NAME, recipe, [row])
    assert files(storage) == [f"{suffix}/a/one.wav.{suffix}"]
    assert storage.read(files(storage)[0]) == out.read_bytes()
    decoded = decode_file(storage.label(files(storage)[0]), codec=codec)
    np.testing.assert_array_equal(decoded, decode_file(out, codec=codec))


def test_files_of_a_shard_are_those_of_its_rows(storage: Folder, tmp_path: Path) -> None:
    rows = [row_of(0), failed_row(1), row_of(2)]
    mirror.write_mirror(storage, NAME, RECIPE, rows)
    write_shard(storage, NAME, rows, RECIPE)
    other = Folder(tmp_path / "other", create=True)
    write_shard(other, NAME, rows, RECIPE)
    mirror.write_mirror(other, NAME, RECIPE)
    assert len(files(storage)) == 4
    assert {n: storage.read(n) for n in files(storage)} == {n: other.read(n) for n in files(other)}
    path = storage.label(mirror.mirror_name(rows[2]["id"], "fcs"))
    np.testing.assert_array_equal(read_fcs(path).tokens, rows[2]["tokens"])


def test_a_row_that_lost_its_tokens_loses_its_files(storage: Folder) -> None:
    mirror.write_mirror(storage, NAME, RECIPE, [row_of(0), row_of(1)])
    mirror.write_mirror(storage, NAME, RECIPE, [failed_row(0), row_of(1)])
    assert files(storage) == [mirror.mirror_name(row_of(1)["id"], s) for s in ("npz", "fcs")]


def local(tmp_path: Path) -> Storage:
    return Folder(tmp_path, create=True)


def mock(tmp_path: Path) -> Storage:
    fs = pytest.importorskip("pyarrow._fs")
    return ObjectStore(fs._MockFileSystem(), "bucket", "mock://bucket")


@pytest.mark.parametrize("place", [local, mock])
def test_missing_files_are_written_again(place: Callable[[Path], Storage], tmp_path: Path) -> None:
    storage = place(tmp_path)
    names = {digit * 16: [row_of(int(digit)), failed_row(9)] for digit in "123"}
    for name, rows in names.items():
        mirror.write_mirror(storage, name, RECIPE, rows)
        write_shard(storage, name, rows, RECIPE)
    assert list(mirror.incomplete(storage, names, RECIPE)) == []
    storage.delete(mirror.mirror_name(row_of(2)["id"], "fcs"))
    assert list(mirror.incomplete(storage, names, RECIPE)) == ["2" * 16]
    assert list(mirror.incomplete(storage, names, replace(RECIPE, also=("npz",)))) == []
    assert list(mirror.incomplete(storage, names, replace(RECIPE, also=()))) == []
    mirror.write_mirror(storage, "2" * 16, RECIPE)
    assert list(mirror.incomplete(storage, names, RECIPE)) == []


def test_ids_stay_below_the_folder_of_the_mirror(storage: Folder) -> None:
    ids = [
        *("../up", "/etc/passwd", "a//b", "..", ".", "", "a/./b", "a/../../b", ".hidden-01234567"),
        *("tab\there", "x" * 300, f"{'é' * 200}.wav", "a\\b", "a:b", "C:\\x", "~", "-rf"),
    ]
    recipe = replace(RECIPE, also=("npz",))
    for id in ids:
        mirror.write_mirror(storage, NAME, recipe, [row_of(0, id=id)])
    assert len(files(storage)) == len(ids)
    everything = [p for p in Path(storage.location).parent.rglob("*") if p.is_file()]
    assert len([path for path in everything if path.suffix == ".npz"]) == len(ids)
    assert storage.clean() == 0


def test_an_id_that_is_named_like_a_file_of_another_has_its_own(storage: Folder) -> None:
    rows = [
        row_of(0, id="a.wav"),
        row_of(1, id="a.wav.npz/b.wav"),
        row_of(2, id="a.wav.npz_/b.wav"),
    ]
    mirror.write_mirror(storage, NAME, replace(RECIPE, also=("npz",)), rows)
    assert len(files(storage)) == 3
