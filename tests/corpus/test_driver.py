"""Runs that go on: what is done again, what is not, and what leaves the dataset."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corpus_cases import SerialEngine, tree, write_sound
from fcs_edge.corpus import run as runs
from fcs_edge.corpus.item_encoder import ItemEncoder
from fcs_edge.corpus.run import Run
from fcs_edge.corpus.storage import open_storage
from fcs_edge.corpus.watcher import Watcher
from fcs_edge.errors import AudioError, CorpusError

Encode = Callable[..., Run]


class Notes(Watcher):
    """Keeps the warnings of a run."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return twelve short sounds."""
    for number in range(12):
        write_sound(tmp_path / "sounds" / f"{number:02}.wav", number)
    return tmp_path / "sounds"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def again(encode: Encode, folder: Path, out: Path) -> Callable[..., tuple[Run, int]]:
    """Return a function that runs the corpus in shards of four rows, and counts the shards done."""

    def call(**options: Any) -> tuple[Run, int]:
        engine = SerialEngine()
        run = encode(folder, out, **{"engine": engine, "shard_rows": 4, **options})
        return run, len(engine.done)

    return call


Again = Callable[..., tuple[Run, int]]


def test_a_finished_run_does_nothing_again(again: Again, out: Path) -> None:
    first, n_done = again()
    files = tree(out)
    assert (first.exit_code, first.resumed, n_done) == (0, 0, first.shards)
    second, n_done = again()
    assert (second.exit_code, second.resumed, n_done) == (0, first.shards, 0)
    assert second.totals == first.totals
    assert second.fresh.files == 0
    assert tree(out) == files


def test_an_iteration_that_is_left_is_a_run_that_goes_on(
    encode: Encode, again: Again, folder: Path, out: Path, model: Path, tmp_path: Path
) -> None:
    encode(folder, tmp_path / "whole", shard_rows=4)
    shards = runs.iter_encode(folder, out, model=model, engine=SerialEngine(), shard_rows=4)
    name = next(shards).name
    shards.close()
    assert list(tree(out)) == [f"data/{name}.parquet"]
    run, n_done = again()
    assert (run.resumed, n_done) == (1, run.shards - 1)
    assert tree(out) == tree(tmp_path / "whole")


@pytest.mark.parametrize("change", ["content", "new", "less", "name"])
def test_a_changed_corpus_changes_few_shards_and_what_is_stale_moves_and_comes_back(
    encode: Encode, again: Again, folder: Path, out: Path, tmp_path: Path, change: str
) -> None:
    first, _ = again()
    files, sound = tree(out), (folder / "05.wav").read_bytes()
    state = (folder / "05.wav").stat()
    if change == "content":
        write_sound(folder / "05.wav", 99)
    elif change == "new":
        write_sound(folder / "055.wav", 99)
    elif change == "less":
        (folder / "05.wav").unlink()
    else:
        (folder / "05.wav").rename(folder / "055.wav")
    run, n_done = again()
    assert 1 <= n_done <= 3
    assert run.stale > 0
    encode(folder, tmp_path / "new", shard_rows=4)
    own = {name: data for name, data in tree(out).items() if not name.startswith("stale/")}
    assert own == tree(tmp_path / "new")
    # The corpus becomes what it was.
    for path in folder.glob("05*.wav"):
        path.unlink()
    (folder / "05.wav").write_bytes(sound)
    os.utime(folder / "05.wav", ns=(state.st_atime_ns, state.st_mtime_ns))
    run, n_done = again(prune=True)
    assert (run.resumed, n_done) == (first.shards, 0)
    assert tree(out) == files


def test_another_model_is_refused_before_any_work(
    again: Again, out: Path, golden: Callable[[str], Any]
) -> None:
    first, _ = again()
    files, other = tree(out), golden("options").model
    engine = SerialEngine()
    with pytest.raises(CorpusError, match="--force"):
        again(model=other, engine=engine)
    assert engine.done == []
    assert tree(out) == files
    run, n_done = again(model=other, force=True)
    assert (n_done, run.stale) == (run.shards, first.shards)
    facts = json.loads((out / "dataset.json").read_bytes())
    assert len(facts["shards"]) == run.shards


def test_retry_errors_encodes_shards_with_errors_alone(
    again: Again, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, fails = ItemEncoder._encode, True

    def failing(self: Any, sound: Any, values: Any) -> None:
        if fails and values["id"] == "05.wav":
            raise AudioError("the disk is gone")
        row(self, sound, values)

    monkeypatch.setattr(ItemEncoder, "_encode", failing)
    first, _ = again()
    assert (first.exit_code, first.errors) == (1, 1)
    assert [(r.id, r.problem) for r in first.failed()] == [("05.wav", "the disk is gone")]
    second, n_done = again()
    # Old errors are listed again.
    assert (second.exit_code, n_done) == (1, 0)
    assert second.error_groups == first.error_groups
    fails = False
    third, n_done = again(retry_errors=True)
    assert (third.exit_code, n_done, third.stale) == (0, 1, 0)
    assert again(retry_errors=True)[1] == 0


def test_an_unknown_argument_is_refused(again: Again, out: Path) -> None:
    with pytest.raises(TypeError, match="'worker'"):
        again(worker=2)
    assert not out.exists()


def test_a_shard_whose_bytes_changed_is_encoded_again(again: Again, out: Path) -> None:
    again()
    before = tree(out)
    shard = sorted(out.glob("data/*.parquet"))[0]
    data = bytearray(shard.read_bytes())
    data[40] ^= 1
    shard.write_bytes(data)
    notes = Notes()
    run, done = again(watcher=notes)
    assert (run.resumed, done) == (run.shards - 1, 1)
    assert notes.warnings == [
        f"{shard}: its SHA-256 is not the one in dataset.json; it is encoded again"
    ]
    assert tree(out) == before


def test_a_damaged_shard_is_encoded_again(again: Again, out: Path) -> None:
    again()
    files = tree(out)
    path = min((out / "data").iterdir())
    path.write_bytes(path.read_bytes()[:-9])
    notes = Notes()
    _, n_done = again(watcher=notes)
    assert n_done == 1
    assert path.name in notes.warnings[0]
    assert tree(out) == files


def test_missing_mirrors_are_written_again(again: Again, out: Path) -> None:
    again(also=("npz", "fcs"))
    files = tree(out)
    assert {"npz/05.wav.npz", "fcs/05.wav.fcs"} <= set(files)
    (out / "npz/05.wav.npz").unlink()
    run, n_done = again(also=("npz", "fcs"))
    assert (run.exit_code, n_done) == (0, 0)
    assert tree(out) == files


def test_a_second_run_on_a_dataset_is_refused(again: Again, out: Path) -> None:
    with (
        open_storage(out, create=True).lock(),
        pytest.raises(CorpusError, match="another run"),
    ):
        again()
    again()


def test_a_run_whose_first_files_all_fail_ends_and_leaves_nothing(
    encode: Encode, tmp_path: Path
) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(50):
        (folder / f"{number}.wav").write_text("no sound")
    with pytest.raises(CorpusError, match="none of the first 50 files"):
        encode(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    # One that can be encoded is enough: the files are to blame.
    write_sound(folder / "25.wav", 1)
    run = encode(folder, tmp_path / "out")
    assert (run.exit_code, run.errors, run.files) == (1, 49, 50)


def test_a_run_that_cannot_begin_leaves_no_folder(encode: Encode, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="nowhere"):
        encode(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"engine": "threads"},
        {"shard_rows": 0},
        {"shard_hours": -1.0},
        {"file_timeout": 0.0},
        {"also": ["npy"]},
        {"channel": 0},
        {"window": 5.0},
    ],
)
def test_wrong_arguments_are_refused(again: Again, out: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        again(**wrong)
    assert not out.exists()
