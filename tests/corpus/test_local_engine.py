"""Worker processes of one machine: the same bytes for any number, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import fcs_edge
from corpus_cases import children, tree, write_sound
from fcs_edge.corpus.local_engine import LocalEngine
from fcs_edge.corpus.run import Run

Encode = Callable[..., Run]


def rows_of(out: Path) -> dict[str, dict[str, Any]]:
    """Return all rows of a dataset by id."""
    tables = [pq.read_table(path) for path in sorted((out / "data").iterdir())]
    return {row["id"]: row for table in tables for row in table.to_pylist()}


def test_any_number_of_workers_gives_the_same_bytes(
    encode: Encode, sounds: Path, model: Path, tmp_path: Path
) -> None:
    encode(sounds, tmp_path / "serial")
    expected = tree(tmp_path / "serial")
    for workers in (1, 2, 4):
        run = encode(sounds, tmp_path / "out", engine="local", workers=workers)
        assert tree(tmp_path / "out") == expected
        assert (run.exit_code, run.workers, run.totals.files) == (0, workers, 12)
        assert not children()
        for path in (tmp_path / "out" / "data").iterdir():
            path.unlink()
    codec = fcs_edge.load(model)
    for name, row in rows_of(tmp_path / "serial").items():
        encoded = fcs_edge.encode_file(sounds / name, None, codec)
        np.testing.assert_array_equal(row["tokens"], encoded.tokens)


def test_what_a_worker_prints_or_reads_is_no_answer(
    encode: Encode, hostile: Path, tmp_path: Path
) -> None:
    write_sound(tmp_path / "sounds" / "one.print.wav", 1)
    # Of two workers one has nothing to do.
    run = encode(tmp_path / "sounds", tmp_path / "out", engine="local", workers=2)
    assert run.totals.tokens == 5


def test_the_current_folder_is_no_place_of_modules(
    encode: Encode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sound(tmp_path / "sounds" / "one.wav", 1)
    (tmp_path / "json.py").write_text("raise SystemExit('a module of the current folder')\n")
    monkeypatch.chdir(tmp_path)
    assert encode("sounds", "out", engine="local", workers=1).exit_code == 0


def test_a_duration_of_a_manifest_may_be_any_number(encode: Encode, tmp_path: Path) -> None:
    write_sound(tmp_path / "one.wav", 1)
    manifest = tmp_path / "list.jsonl"
    manifest.write_text('{"audio_filepath": "one.wav", "offset": 0.02, "duration": 1e8}\n')
    run = encode(manifest, tmp_path / "out", engine="local", workers=1)
    assert (run.exit_code, run.tokens) == (0, 4)


@pytest.mark.parametrize(("workers", "error"), [(0, ValueError), (1.5, TypeError)])
def test_a_wrong_number_of_workers_is_refused(workers: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="workers"):
        LocalEngine(workers)
