"""Workers that die, hang or cannot go on: a row pays for it, or the run ends in a line."""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

import hostile_worker
from corpus_cases import children, tree, write_sound
from fcs_edge.corpus import worker_process
from fcs_edge.corpus.job import Report
from fcs_edge.corpus.run import Run
from fcs_edge.corpus.watcher import Watcher
from fcs_edge.corpus.worker_process import WorkerError
from fcs_edge.errors import CorpusError

Encode = Callable[..., Run]


def sounds_of(folder: Path, *names: str) -> Path:
    """Write short sounds of these names, and return their folder."""
    for seed, name in enumerate(names):
        write_sound(folder / name, seed)
    return folder


def rows_of(out: Path) -> dict[str, dict[str, Any]]:
    """Return all rows of a dataset by id."""
    tables = [pq.read_table(path) for path in sorted((out / "data").iterdir())]
    return {row["id"]: row for table in tables for row in table.to_pylist()}


class Files(Watcher):
    """Keeps the numbers of files as they begin."""

    def __init__(self) -> None:
        self.indices: list[int] = []

    def report(self, report: Report) -> None:
        if report.kind == "file":
            self.indices.append(report.index)


def test_a_worker_that_is_killed_once_leaves_no_trace(
    encode: Encode, hostile: Path, tmp_path: Path
) -> None:
    names = "a.wav", "b.kill-once.wav", "c.wav", "d.wav", "e.kill-once.wav"
    folder = sounds_of(tmp_path / "sounds", *names)
    (folder / "d.wav").write_text("no sound")
    files = Files()
    encode(folder, tmp_path / "out", engine="local", workers=1, shard_rows=100, watcher=files)
    # The next worker goes on where the one before it died.
    assert files.indices == [0, 1, 1, 2, 3, 4, 4]
    encode(folder, tmp_path / "serial", shard_rows=100)
    assert tree(tmp_path / "out") == tree(tmp_path / "serial")
    assert not children()


def test_time_in_which_the_machine_slept_does_not_count(
    encode: Encode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each look at the clock is an hour after the last one.
    clock = SimpleNamespace(monotonic=itertools.count(0.0, 3600.0).__next__)
    monkeypatch.setattr(worker_process, "time", clock)
    folder = sounds_of(tmp_path / "sounds", "a.wav", "b.wav", "c.wav")
    run = encode(folder, tmp_path / "out", engine="local", workers=1, file_timeout=120)
    assert run.totals.errors == 0


def test_a_file_that_ends_or_hangs_its_worker_is_a_row_with_an_error(
    encode: Encode, hostile: Path, tmp_path: Path
) -> None:
    names = "a.wav", "b.kill-always.wav", "c.wav", "d.hang.wav", "e.stop.wav", "f.memory.wav"
    folder = sounds_of(tmp_path / "sounds", *names, "g.wav")
    run = encode(
        folder, tmp_path / "out", engine="local", workers=2, shard_rows=2, file_timeout=0.7
    )
    rows = rows_of(tmp_path / "out")
    assert {name: row["error"] for name, row in rows.items()} == {
        "a.wav": None,
        "b.kill-always.wav": "killed its worker (signal 9)",
        "c.wav": None,
        "d.hang.wav": "took longer than 0.7 s",
        "e.stop.wav": "took longer than 0.7 s",
        "f.memory.wav": "not enough memory",
        "g.wav": None,
    }
    encode(folder, tmp_path / "serial")
    expected = rows_of(tmp_path / "serial")
    assert all(rows[name] == expected[name] for name in ("a.wav", "c.wav", "g.wav"))
    assert (run.exit_code, run.totals.errors) == (1, 4)
    assert not children()


def test_a_worker_that_cannot_start_ends_the_run_with_its_own_words(
    encode: Encode, hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(hostile_worker.START, "dies")
    folder = sounds_of(tmp_path / "sounds", "a.wav")
    with pytest.raises(CorpusError, match=r"exit code 3: no luck today$"):
        encode(folder, tmp_path / "out", engine="local", workers=1)


class _Encoding(Watcher):
    """Calls a function as the workers begin."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call

    def encoding(self, workers: int) -> None:
        self.call()


def test_a_model_that_disappears_ends_the_run_in_a_line(
    encode: Encode, model: Path, tmp_path: Path
) -> None:
    folder = sounds_of(tmp_path / "sounds", "a.wav")
    own = tmp_path / "own.safetensors"
    own.write_bytes(model.read_bytes())
    with pytest.raises(CorpusError, match=r"own.safetensors: no such model file"):
        encode(
            folder,
            tmp_path / "out",
            model=own,
            engine="local",
            workers=1,
            watcher=_Encoding(own.unlink),
        )


def test_a_fault_of_this_package_ends_the_run_and_shows_where_it_is(
    encode: Encode, hostile: Path, tmp_path: Path
) -> None:
    folder = sounds_of(tmp_path / "sounds", "a.wav", "b.bug.wav", "c.wav")
    with pytest.raises(WorkerError, match=r"KeyError: .* at b.bug.wav of shard") as caught:
        encode(folder, tmp_path / "out", engine="local", workers=2, shard_rows=100)
    assert "\n" not in str(caught.value)
    shown = "".join(traceback.format_exception(caught.value))
    assert "hostile_worker.py" in shown
    assert tree(tmp_path / "out") == {}
    assert not children()


@pytest.mark.parametrize(
    ("act", "problem"), [("limit", "File too large"), ("remove", "the folder is gone")]
)
def test_a_dataset_that_cannot_be_written_ends_the_run_in_a_line(
    encode: Encode,
    hostile: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    act: str,
    problem: str,
) -> None:
    out = tmp_path / "out"
    monkeypatch.setenv(hostile_worker.OUT, str(out))
    folder = sounds_of(tmp_path / "sounds", "a.wav", f"b.{act}.wav", "c.wav")
    with pytest.raises(CorpusError, match=problem) as caught:
        encode(folder, out, engine="local", workers=2, shard_rows=100)
    assert str(out) in str(caught.value)
    assert not out.exists()
    assert not children()
