"""Models by name: what a name finds, and what ``fcs-edge models`` lists."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import fcs_edge
from fcs_edge.errors import ModelFileError
from fcs_edge.modelfile import catalogue


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, golden: Callable) -> Path:
    """The user's folder of models, with the tiny one as `4k`; the current folder is empty."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    folder = tmp_path / "data" / "fcs-edge" / "models"
    folder.mkdir(parents=True)
    (folder / "4k.safetensors").symlink_to(golden("tiny").model)
    return folder


def test_a_name_finds_a_file_of_the_folder(folder: Path) -> None:
    assert fcs_edge.load("4k").name == "tiny"
    assert fcs_edge.load("edge-65k").name == "edge-65k"


def test_what_exists_as_a_path_is_a_path(folder: Path, golden: Callable) -> None:
    Path("4k").write_bytes(golden("options").model.read_bytes())
    assert fcs_edge.load("4k").name == "options"
    Path("edge-65k").write_bytes(golden("tiny").model.read_bytes())
    assert fcs_edge.load("edge-65k").name == "tiny"
    assert fcs_edge.load().name == "edge-65k"


def test_a_built_in_name_wins_over_the_folder(folder: Path) -> None:
    (folder / "edge-65k.safetensors").symlink_to(folder / "4k.safetensors")
    assert fcs_edge.load("edge-65k").name == "edge-65k"
    hidden = [named for named in catalogue.listed() if named.hidden]
    assert [named.path for named in hidden] == [folder / "edge-65k.safetensors"]
    # No name leads to a hidden model, so none is advised.
    (folder / "4k.safetensors").rename(folder.parent / "4k.safetensors")
    (folder / "edge-65k.safetensors").unlink()
    (folder / "edge-65k.safetensors").symlink_to(folder.parent / "4k.safetensors")
    fingerprint = fcs_edge.load(folder.parent / "4k.safetensors").fingerprint
    assert catalogue.by_fingerprint(fingerprint) is None


@pytest.mark.parametrize(
    "name", ["../x", "..", ".", "", ".x", "sub/x", "sub\\x", "/x", "x\0y", "\x1b[2Jx", "x" * 5000]
)
def test_no_name_leads_out_of_the_folder(name: str, folder: Path) -> None:
    (folder / "sub").mkdir()
    model = (folder / "4k.safetensors").readlink()
    for path in (folder.parent / "x", folder / ".x", folder / "sub" / "x"):
        path.with_name(f"{path.name}.safetensors").symlink_to(model)
    with pytest.raises(ModelFileError, match=r"no such model file|is a folder|convert") as caught:
        fcs_edge.load(name)
    assert str(caught.value).isprintable()


def test_a_path_is_never_a_name(folder: Path) -> None:
    with pytest.raises(ModelFileError, match="no such model file"):
        fcs_edge.load(Path("4k"))


def test_an_unknown_name_lists_what_there_is(folder: Path, run: Callable) -> None:
    line = run("info", "4K").failed()
    assert line.endswith("no model has this name; there are: edge-65k, 4k")
    for i in range(25):
        (folder / f"m{i:02}.safetensors").touch()
    assert run("info", "4K").failed().endswith("m17 and 7 more")


def test_the_environment_names_the_default(
    folder: Path, monkeypatch: pytest.MonkeyPatch, run: Callable
) -> None:
    for value, name in (("4k", "tiny"), ("", "edge-65k"), (str(folder / "4k.safetensors"), "tiny")):
        monkeypatch.setenv("FCS_EDGE_MODEL", value)
        assert fcs_edge.load().name == name
    monkeypatch.setenv("FCS_EDGE_MODEL", "nope")
    line = run("warmup").failed()
    assert "FCS_EDGE_MODEL in the environment: nope: no such model file" in line
    assert fcs_edge.load("edge-65k").name == "edge-65k"
    assert "warning: the default is nope, of FCS_EDGE_MODEL; there is no" in run("models").err


def test_a_fingerprint_finds_its_model(folder: Path) -> None:
    (folder / "0.safetensors").write_bytes(b"damaged")
    tiny = catalogue.by_fingerprint(fcs_edge.load("4k").fingerprint)
    assert tiny is not None
    assert tiny.name == "4k"
    assert catalogue.by_fingerprint(bytes(8)) is None


def test_models_lists_all_that_have_a_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, run: Callable
) -> None:
    monkeypatch.setenv("FCS_EDGE_MODEL", "4k")
    (folder / "bad[b]\x1b.safetensors").write_bytes(b"no model")
    (folder / "edge-65k.safetensors").write_bytes(b"no model")
    (folder / "notes.txt").touch()
    (folder / ".hidden.safetensors").touch()
    result = run("models")
    assert result.code == 0
    lines = [line.split() for line in result.out.splitlines()]
    assert lines[1] == ["edge-65k", "built", "in", "8.1", "MB", "0.80", "kbps", "int8"]
    assert [line[0] for line in lines[2:]] == ["4k", "bad[b]\\x1b", "edge-65k"]
    assert lines[2][-4:] == ["0.55", "kbps", "f32", "default"]
    assert "safetensors" in " ".join(lines[3])
    assert "hidden by the built-in model" in " ".join(lines[4])
    assert f"the folder of models is {folder}\n" in result.err
    listed = json.loads(run("models", "--json", "--quiet").out)
    assert (listed["default"], listed["folder"]) == ("4k", str(folder))
    first, second, third, fourth = listed["models"]
    assert (first["built_in"], first["bitrate"], first["default"]) == (True, 800, False)
    assert (second["stored_as"], second["default"], second["problem"]) == ("f32", True, None)
    assert second["fingerprint"] == fcs_edge.load("4k").fingerprint.hex()
    assert third["problem"]
    assert fourth["problem"]


def test_there_may_be_no_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, run: Callable
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(folder))
    expected = folder / ".local" / "share" / "fcs-edge" / "models"
    assert catalogue.models_folder() == expected
    assert "it does not exist yet" in run("models").err
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert catalogue.models_folder() is None
    assert "neither XDG_DATA_HOME nor HOME" in run("models").err
    assert [named.name for named in catalogue.listed()] == ["edge-65k"]
