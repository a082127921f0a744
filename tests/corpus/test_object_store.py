"""Runs whose dataset is in an object store: pyarrow's mock of one, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fcs_edge.corpus
from fcs_edge.corpus import storage
from fcs_edge.corpus.arrow import pyarrow
from fcs_edge.corpus.run import Run
from fcs_edge.errors import CorpusError

fs = pytest.importorskip("pyarrow.fs")

URI = "mock://bucket/tokens"


@pytest.fixture(autouse=True)
def _store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all of this process open the same store: a URI of pyarrow's mock opens a new one."""
    from pyarrow._fs import _MockFileSystem

    files = _MockFileSystem()
    opened = SimpleNamespace(
        FileSystem=SimpleNamespace(from_uri=lambda uri: (files, uri.partition("://")[2])),
        FileSelector=fs.FileSelector,
        FileType=fs.FileType,
    )
    monkeypatch.setattr(
        storage, "pyarrow", lambda name="pyarrow": opened if name == "pyarrow.fs" else pyarrow(name)
    )


def files_in_store() -> dict[str, bytes]:
    store = storage.open_storage(URI)
    folders = ("data", "npz", "stale")
    names = [*store.names(), *(name for folder in folders for name in store.tree(folder))]
    return {name: store.read(name) for name in names}


def test_a_run_gives_what_it_gives_in_a_folder(
    encode: Callable[..., Run], sounds: Path, tmp_path: Path
) -> None:
    there = encode([sounds], URI, also=("npz",))
    here = encode([sounds], tmp_path / "out", also=("npz",))
    assert there.exit_code == here.exit_code == 0
    found = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert files_in_store() == found
    rows: dict[str, Any] = {row["id"]: row["tokens"] for row in fcs_edge.corpus.open(URI)}
    assert len(rows) == len(found) - 3 - there.shards
    for row in fcs_edge.corpus.open(tmp_path / "out"):
        np.testing.assert_array_equal(rows[row["id"]], row["tokens"])


def test_a_run_goes_on_where_the_last_one_ended(encode: Callable[..., Run], sounds: Path) -> None:
    encode([sounds], URI)
    before = files_in_store()
    again = encode([sounds], URI)
    assert again.resumed == again.shards
    assert files_in_store() == before
    (sounds / "a/one.wav").unlink()
    changed = encode([sounds], URI)
    assert changed.stale >= 1
    assert len([name for name in files_in_store() if name.startswith("stale/")]) == changed.stale
    encode([sounds], URI, prune=True)
    assert not [name for name in files_in_store() if name.startswith("stale/")]


def test_a_store_that_holds_no_dataset_is_one_line() -> None:
    with pytest.raises(CorpusError, match=f"^{URI}: holds no dataset of tokens$"):
        fcs_edge.corpus.open(URI)
