"""A small corpus of sounds, a small model, and runs over both in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

import hostile_worker
from corpus_cases import SOUNDS, SerialEngine, write_sound
from fcs_edge.corpus import child_python, run


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Return a folder of twelve sounds of many formats and rates."""
    folder = tmp_path / "sounds"
    for seed, (name, facts) in enumerate(SOUNDS.items()):
        write_sound(folder / name, seed, *facts)
    return folder


@pytest.fixture(scope="session")
def model(golden: Callable[[str], Any]) -> Path:
    """Return the file of a tiny model of random weights."""
    path: Path = golden("tiny").model
    return path


@pytest.fixture
def encode(model: Path) -> Callable[..., run.Run]:
    """Return `corpus.encode` with the tiny model, in this process, in shards of about 5 rows."""

    def call(inputs: Any, out: Path, **options: Any) -> run.Run:
        options = {"model": model, "engine": SerialEngine(), "shard_rows": 5, **options}
        return run.encode(inputs, out, **options)

    return call


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Start workers that do what names of items say; return the folder of their marks."""
    marks = tmp_path / "marks"
    marks.mkdir()
    monkeypatch.setenv(hostile_worker.MARKS, str(marks))
    monkeypatch.setattr(child_python, "command", hostile_worker.command)
    return marks
