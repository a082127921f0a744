"""A model inside libfcs.a and libfcs.so, against the loader, linkers and binutils."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest

import fcs_edge.export
from fcs_edge.export import model_inside, object_files
from native_tools import compiled, needed

NATIVE = Path(fcs_edge.export.__file__).parent / "native"
MODEL = bytes(7 * i & 255 for i in range(70_001))
SOURCE = """#include "fcs_inside.h"
uint64_t model_bytes(void);
const char *model_start(void);
uint64_t model_bytes(void) { return fcs_inside.size; }
const char *model_start(void) { return (const char *)&fcs_inside + fcs_inside.offset; }
"""
PROGRAM = """#include <stdint.h>
#include <stdio.h>
uint64_t model_bytes(void);
const char *model_start(void);
int main(void) {
    return fwrite(model_start(), 1, (size_t)model_bytes(), stdout) != (size_t)model_bytes();
}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a program's object, libfcs.a and libfcs.so, all without a model."""
    folder = tmp_path_factory.mktemp("inside")
    for name, text in (("library.c", SOURCE), ("main.c", PROGRAM)):
        (folder / name).write_text(text)
    sources = {"fcs.o": folder / "library.c", model_inside.MEMBER: NATIVE / "fcs_inside.c"}
    for name, source in sources.items():
        compiled(folder / name, "-fPIC", f"-I{NATIVE}", "-c", source)
    compiled(folder / "main.o", "-c", folder / "main.c")
    objects = [folder / name for name in sources]
    compiled(folder / "libfcs.so", "-shared", "-s", "-Wl,--gc-sections", *objects)
    archive = object_files.archive({path.name: path.read_bytes() for path in objects})
    (folder / "libfcs.a").write_bytes(archive)
    return folder


def with_model(built: Path, folder: Path, name: str) -> Path:
    """Write one of the libraries with the model inside, and return its path."""
    put = {
        "libfcs.a": model_inside.archive_with_model,
        "libfcs.so": model_inside.library_with_model,
    }
    path = folder / name
    path.write_bytes(put[name]((built / name).read_bytes(), MODEL))
    return path


def output_of(built: Path, folder: Path, library: Path) -> bytes:
    """Link a program with a library, run it, and return what it writes."""
    path = f"-Wl,-rpath,{library.parent}"
    program = compiled(folder / "program", built / "main.o", library, path)
    return subprocess.run([program], check=True, capture_output=True).stdout


@pytest.mark.parametrize("name", ["libfcs.a", "libfcs.so"])
def test_a_program_finds_the_model_inside(built: Path, tmp_path: Path, name: str) -> None:
    assert output_of(built, tmp_path, built / name) == b""
    assert output_of(built, tmp_path, with_model(built, tmp_path, name)) == MODEL


def test_strip_leaves_the_model_inside(built: Path, tmp_path: Path) -> None:
    library = with_model(built, tmp_path, "libfcs.so")
    subprocess.run([needed("strip"), library], check=True)
    assert output_of(built, tmp_path, library) == MODEL


def test_two_libraries_in_a_process_hold_two_models(built: Path, tmp_path: Path) -> None:
    paths = []
    for i, model in enumerate((MODEL, MODEL[::-1])):
        paths.append(tmp_path / f"lib{i}.so")
        put = model_inside.library_with_model((built / "libfcs.so").read_bytes(), model)
        paths[-1].write_bytes(put)
    found = []
    for path in paths:
        library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        library.model_start.restype = ctypes.c_void_p
        library.model_bytes.restype = ctypes.c_uint64
        assert library.model_start() % 64 == 0
        found.append(ctypes.string_at(library.model_start(), library.model_bytes()))
    assert found == [MODEL, MODEL[::-1]]


def test_a_library_with_a_model_is_read_only_data_and_nothing_executable(
    built: Path, tmp_path: Path
) -> None:
    library = with_model(built, tmp_path, "libfcs.so")
    command = [needed("readelf"), "--segments", "--sections", "--wide", library]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not done.stderr
    loads = [line.split() for line in done.stdout.splitlines() if line.split()[:1] == ["LOAD"]]
    assert loads[-1][4:7] == [f"0x{len(MODEL):06x}"] * 2 + ["R"]
    (stack,) = (line for line in done.stdout.splitlines() if " GNU_STACK " in line)
    assert "E" not in stack.split("0x")[-2]
    assert " .fcs_model " in done.stdout


def test_an_archive_has_the_index_that_ar_writes(built: Path, tmp_path: Path) -> None:
    library = with_model(built, tmp_path, "libfcs.a")
    ours = subprocess.check_output([needed("nm"), "--print-armap", library], text=True)
    subprocess.run(["ar", "sD", library], check=True)
    assert subprocess.check_output(["nm", "--print-armap", library], text=True) == ours
    assert "fcs_inside in fcs_inside.o" in ours


def test_members_of_an_archive_come_back(built: Path) -> None:
    archive = (built / "libfcs.a").read_bytes()
    members = object_files.members_of(archive)
    assert list(members) == ["fcs.o", "fcs_inside.o"]
    assert object_files.archive(members) == archive
    assert object_files.architecture_of(members.values()) in object_files.MACHINES


def test_what_holds_no_place_for_a_model_is_refused(built: Path) -> None:
    library = (built / "libfcs.so").read_bytes()
    with pytest.raises(ValueError, match="without a place"):
        model_inside.library_with_model(library.replace(model_inside.MARK, bytes(16)), MODEL)
    with pytest.raises(ValueError, match="without fcs_inside"):
        model_inside.archive_with_model(object_files.archive({}), MODEL)
    with pytest.raises(ValueError, match="not a 64-bit"):
        model_inside.library_with_model(b"no library", MODEL)
    with pytest.raises(ValueError, match="not an archive"):
        object_files.members_of(library)
