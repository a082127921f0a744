"""Where an export may be written: a new folder, which appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from fcs_edge.errors import FcsError
from fcs_edge.export import exporter

FILES = {"fcs.h": b"header", "model.fcsm": b"model"}


def refused(out: Path, force: bool = False) -> str:
    """Return why a folder is refused."""
    with pytest.raises(FcsError) as error:
        exporter.check_folder(out, force)
    return str(error.value)


def test_what_cannot_be_a_new_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path)
    for force in (False, True):
        assert "is no folder" in refused(tmp_path / "file", force)
        assert "is no folder" in refused(tmp_path / "link", force)
        assert "no such folder" in refused(tmp_path / "none" / "out", force)
        assert "no such folder" in refused(tmp_path / "file" / "out", force)


def test_the_current_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be renamed, even where it is empty."""
    monkeypatch.chdir(tmp_path)
    for out in (Path(), tmp_path, Path("..") / tmp_path.name):
        for force in (False, True):
            assert "is the current folder" in refused(out, force)


def test_only_an_export_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "a name, ü"
    exporter.check_folder(out, False)
    exporter._write(out, FILES, False)
    assert "--force overwrites it" in refused(out)
    exporter.check_folder(out, True)
    exporter._write(out, {"fcs.h": b"other"}, True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {"fcs.h": b"other"}
    (out / "notes.txt").write_bytes(b"")
    assert "notes.txt, which is of no export" in refused(out, True)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize("name", ["no/folder", "x" * 300])
def test_nothing_is_left_where_a_file_fails(name: str, tmp_path: Path) -> None:
    for out, force in ((tmp_path / "new", False), (tmp_path / "former", True)):
        if force:
            exporter._write(out, FILES, False)
        with pytest.raises(OSError, match="No such file|too long"):
            exporter._write(out, {**FILES, name: b""}, force)
    assert [path.name for path in tmp_path.iterdir()] == ["former"]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == FILES
