"""``fcs-edge export``: what it writes, and one line for what it cannot write."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import traced_streams

from fcs_edge.cli import export as command
from fcs_edge.export import exporter, fcsm, libraries, page_files
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.runtime import aot_library

TARGET = "x86-64-v3"
FILES = {"libfcs.a": b"an archive", "libfcs.so": b"a library"}
MODULES = dict.fromkeys(page_files.MODULES, b"\0asm")


@pytest.fixture(scope="module")
def libraries_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Libraries of two targets that hold a list of kernels, and no machine code."""
    folder = tmp_path_factory.mktemp("compiled")
    for target, using, files in ((TARGET, "avx2", FILES), ("wasm", "wasm", MODULES)):
        kernels = traced_streams.kernels(using)
        path = folder / f"{target}.fcs"
        path.mkdir()
        for name, data in files.items():
            (path / name).write_bytes(data)
        (path / libraries.RECORD).write_bytes(libraries.record(target, b"8 bytes.", kernels, files))
    return folder


@pytest.fixture
def export(
    run: Callable[..., Any], libraries_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Export with these libraries."""
    monkeypatch.setenv(aot_library.VARIABLE, str(libraries_folder))

    def call(*arguments: object, target: str = TARGET) -> Any:
        return run("export", *arguments, "--target", target)

    return call


@pytest.fixture(scope="module")
def model(golden: Callable[[str], Any]) -> Path:
    path: Path = golden("nolookahead").model
    return path


def test_targets_of_the_command() -> None:
    assert set(command._TARGETS) == {*exporter.TARGETS, exporter.HOST}


def test_compiler_of_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    for system, machine, intel, arm in (
        ("Linux", "x86_64", "cc", "aarch64-linux-gnu-gcc"),
        ("Linux", "aarch64", "x86_64-linux-gnu-gcc", "cc"),
        ("Darwin", "arm64", "x86_64-linux-gnu-gcc", "aarch64-linux-gnu-gcc"),
    ):
        monkeypatch.setattr("platform.system", lambda system=system: system)
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        assert command._compiler("x86-64-v3") == intel
        assert command._compiler("cortex-a72") == arm


def test_folder_appears_whole(export: Callable[..., Any], model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = export(model, out)
    assert result.code == 0
    assert f"cc -O2 {out}/example.c {out}/libfcs.a -o example" in result.err
    names = "libfcs.a libfcs.so fcs.h fcs_file.h resample.h example.c fcs.pc model.fcsm"
    assert {path.name for path in out.iterdir()} == set(names.split())
    assert (out / "libfcs.so").read_bytes() == FILES["libfcs.so"]
    head, sections = fcsm.unpack((out / "model.fcsm").read_bytes())
    assert head.kernels == b"8 bytes."
    assert head.name == "nolookahead"
    kinds = [(section.kind, section.number) for section in sections]
    plans = [(kind, n) for kind in (fcsm.ENCODER, fcsm.DECODER) for n in (1, 8)]
    assert kinds[:6] == [(fcsm.WEIGHTS, 0), *plans, (fcsm.FACTS, 0)]
    assert out.stat().st_mode & 0o777 == 0o777 & ~umask()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]

    # The same again, byte for byte, in place of the first.
    before = (out / "model.fcsm").read_bytes()
    assert "--force" in export(model, out).failed()
    assert export("-f", model, out).code == 0
    assert (out / "model.fcsm").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_page(export: Callable[..., Any], model: Path, tmp_path: Path) -> None:
    assert export(model, tmp_path / "page", target="wasm").code == 0
    assert {path.name for path in (tmp_path / "page").iterdir()} == set(page_files.NAMES)
    single = export("--one-file", model, tmp_path / "single", target="wasm")
    assert "index.html" in single.err
    assert [path.name for path in (tmp_path / "single").iterdir()] == ["index.html"]


def test_what_cannot_be_written(export: Callable[..., Any], model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").touch()
    (tmp_path / "link").symlink_to(tmp_path / "notes")
    assert "no such folder" in export(model, tmp_path / "none" / "out").failed()
    for name in ("file", "link"):
        assert "is no folder" in export("-f", model, tmp_path / name).failed()
    for force in ((), ("-f",)):
        assert "todo.txt" in export(*force, model, tmp_path / "notes").failed()
    assert (tmp_path / "notes" / "todo.txt").exists()


def test_the_current_folder_is_refused(
    export: Callable[..., Any], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be renamed, even where it is empty."""
    monkeypatch.chdir(tmp_path)
    for out in (".", tmp_path, f"../{tmp_path.name}"):
        assert "is the current folder" in export(model, out).failed()
        assert "is the current folder" in export("-f", model, out).failed()


def test_nothing_remains_of_a_failure(
    export: Callable[..., Any], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporter, "model_bytes", lambda *arguments: b"a model")
    monkeypatch.setattr(exporter.os, "fsync", fail)
    line = export(model, tmp_path / "out").failed()
    assert f"{tmp_path / 'out'}" in line
    assert "No space left" in line
    assert not list(tmp_path.iterdir())


def test_an_earlier_export_outlives_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out, rename = tmp_path / "out", Path.rename
    exporter._write(out, {"fcs.h": b"1"}, force=False)

    def failing(path: Path, target: Path) -> Path:
        if target == out and (path / "fcs.h").read_bytes() == b"2":
            raise OSError("full")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="full"):
        exporter._write(out, {"fcs.h": b"2"}, force=True)
    assert (out / "fcs.h").read_bytes() == b"1"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_wrong_calls(export: Callable[..., Any], model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "--one-file" in export("--weights-inside", model, out, target="wasm").failed(2)
    assert "--target wasm" in export("--one-file", model, out).failed(2)
    assert "x86-64-v3" in export(model, out, target="x86-64-v1").failed(2)
    assert "no model" in export("a-model", out).failed()
    assert "cortex-a53" in export(model, out, target="cortex-a53").failed()
    assert not list(tmp_path.iterdir())


def test_models_that_need_the_whole_signal(
    export: Callable[..., Any], golden: Callable[[str], Any], tmp_path: Path
) -> None:
    line = export(golden("nc_tiny").model, tmp_path / "out").failed()
    assert "needs the whole signal" in line
    assert not list(tmp_path.iterdir())


def test_what_a_trace_cannot_do(
    export: Callable[..., Any], model: Path, tmp_path: Path, libraries_folder: Path
) -> None:
    """A library whose kernels lack one that the model calls."""
    path = libraries_folder / f"{TARGET}.fcs" / libraries.RECORD
    before = path.read_bytes()
    kernels = [k for k in traced_streams.kernels("avx2") if k[0] != "ops.binary.quantize"]
    path.write_bytes(libraries.record(TARGET, b"8 bytes.", kernels, FILES))
    try:
        line = export(model, tmp_path / "out").failed()
    finally:
        path.write_bytes(before)
    assert "ops.binary.quantize" in line
    assert not list(tmp_path.iterdir())


def test_host_is_the_best_target() -> None:
    targets = {"vnni": "x86-64-v4-vnni", "avx2": "x86-64-v3", "avx512": "x86-64-v3"}
    best = instructions.of_this_cpu()[0].name
    if best in targets:
        assert exporter.target_of("host") == targets[best]
    assert exporter.target_of("cortex-a72") == "cortex-a72"
