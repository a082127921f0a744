"""Wheels get the tags, the libraries and the RECORD that fit; what does not fit is found."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import check_wheel
import make_wheels
from fcs_edge.export import libraries, object_files
from fcs_edge.kernels.isa.targets import TARGETS
from fcs_edge.kernels.runtime import aot_library
from native_tools import compiled

SOURCES = "0123456789abcdef"
MODULE = b"\0asm\1\0\0\0"
MACHINES = {name: number for number, name in check_wheel.MACHINES.items()}


def write_record(path: Path) -> None:
    """Write the record of a library as it is."""
    aot_library.record_of(path).write_bytes(aot_library.record(path.read_bytes(), SOURCES))


def library(architecture: str) -> bytes:
    """Return an ELF file without sections, so that it needs nothing."""
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<H", header, 18, MACHINES[architecture])
    return bytes(header)


def exported(target: str) -> dict[str, bytes]:
    """Return the files of a target that need nothing, and the record that fits them."""
    architectures = {t.name: t.architecture for t in TARGETS}
    if target in architectures:
        built = architectures[target]
        member = object_files.data_object(built, "fcs_inside", b"none")
        archive = object_files.archive({"fcs_inside.o": member})
        files = {"libfcs.a": archive, "libfcs.so": library(built)}
    else:
        files = dict.fromkeys(("fcs-relaxed.wasm", "fcs.wasm"), MODULE)
    return {**files, libraries.RECORD: libraries.record(target, bytes(8), (), files)}


def write_exported(folder: Path, files: dict[str, bytes]) -> None:
    """Write what a wheel holds of a target."""
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """A package with all libraries and modules, as `wheel unpack` writes it."""
    folder = tmp_path / "fcs_edge-1.0"
    (folder / make_wheels.COMPILED).mkdir(parents=True)
    (folder / "fcs_edge" / "__init__.py").write_text("")
    for architecture, names in make_wheels.LIBRARIES.items():
        for name in names:
            path = folder / make_wheels.COMPILED / name
            path.write_bytes(library(architecture))
            write_record(path)
    for name in make_wheels.EXPORTED:
        write_exported(folder / make_wheels.COMPILED / name, exported(name.removesuffix(".fcs")))
    info = folder / "fcs_edge-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fcs-edge\nVersion: 1.0\n")
    (info / "WHEEL").write_text(
        "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n\n"
    )
    (info / "RECORD").write_text("")
    return folder


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64", ""])
def test_three_wheels(architecture: str, unpacked: Path, tmp_path: Path) -> None:
    pytest.importorskip("wheel")
    out = tmp_path / "out"
    out.mkdir()
    make_wheels.pack(unpacked, architecture, out)
    (path,) = out.iterdir()
    assert (path.name == "fcs_edge-1.0-py3-none-any.whl") == (not architecture)
    assert check_wheel.wheel_problems(path, architecture, SOURCES) == []
    others = [a for a in ("x86_64", "aarch64", "") if a != architecture]
    for other in others:
        assert len(check_wheel.wheel_problems(path, other, SOURCES)) >= 2
    if architecture:
        found = check_wheel.wheel_problems(path, architecture, "f" * 16)
        assert len(found) == len(make_wheels.LIBRARIES[architecture])
        assert "other sources" in found[0]


def test_a_wheel_that_a_library_does_not_fit(unpacked: Path, tmp_path: Path) -> None:
    pytest.importorskip("wheel")
    name = min(make_wheels.LIBRARIES["x86_64"])
    path = unpacked / make_wheels.COMPILED / name
    path.write_bytes(library("aarch64"))
    write_record(path)
    out = tmp_path / "out"
    out.mkdir()
    make_wheels.pack(unpacked, "x86_64", out)
    (path,) = out.iterdir()
    (found,) = check_wheel.wheel_problems(path, "x86_64", SOURCES)
    assert f"{name} is for aarch64, not x86_64" in found


@pytest.mark.parametrize(
    ("version", "newer"),
    [
        ("GLIBC_2.2.5", False),
        ("GLIBC_2.17", False),
        ("GLIBC_2.18", True),
        ("GLIBC_2.34", True),
        ("GLIBC_3.0", True),
        ("GLIBC_PRIVATE", True),
        ("GLIBCXX_3.4", True),
    ],
)
def test_versions_of_glibc(version: str, newer: bool) -> None:
    assert check_wheel._newer(version) == newer


def test_what_is_no_library_is_refused() -> None:
    with pytest.raises(ValueError, match="not a 64-bit"):
        check_wheel.needs(b"#!/bin/sh\n" + bytes(64))


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "it has 63 bytes, not 64"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), "its SHA-256 differs"),
        (lambda path: aot_library.record_of(path).write_bytes(b""), "its record is damaged"),
    ],
)
def test_a_library_that_differs_from_its_record(
    damage: Callable[[Path], object], text: str, unpacked: Path, tmp_path: Path
) -> None:
    pytest.importorskip("wheel")
    damage(unpacked / make_wheels.COMPILED / min(make_wheels.LIBRARIES["x86_64"]))
    (tmp_path / "out").mkdir()
    make_wheels.pack(unpacked, "x86_64", tmp_path / "out")
    (path,) = (tmp_path / "out").iterdir()
    (found,) = check_wheel.wheel_problems(path, "x86_64", SOURCES)
    assert text in found


@pytest.mark.parametrize(
    ("target", "name", "data", "text"),
    [
        ("cortex-a53", "libfcs.so", library("x86_64"), "libfcs.so is for x86_64, not aarch64"),
        ("cortex-a53", "libfcs.a", exported("x86-64-v3")["libfcs.a"], "libfcs.a is for x86_64"),
        ("wasm", "fcs.wasm", MODULE + bytes((0, 1, 0, 2, 129, 0, 1)), "fcs.wasm imports"),
        ("wasm", "fcs.wasm", b"<!doctype html>", "fcs.wasm is no WebAssembly module"),
        ("x86-64-v3", "more", b"", "x86-64-v3.fcs holds kernels.json, libfcs.a, libfcs.so, more"),
    ],
    ids=["library", "archive", "imports", "page", "more"],
)
def test_what_a_wheel_may_not_hold_for_exports(
    target: str, name: str, data: bytes, text: str, unpacked: Path
) -> None:
    files = {**exported(target), name: data}
    del files[libraries.RECORD]
    files[libraries.RECORD] = libraries.record(target, bytes(8), (), files)
    write_exported(unpacked / make_wheels.COMPILED / f"{target}.fcs", files)
    listed = {p.relative_to(unpacked).as_posix(): p for p in unpacked.rglob("*") if p.is_file()}
    found = check_wheel.exported_problems({n: p.read_bytes() for n, p in listed.items()})
    assert len(found) == 1
    assert text in found[0]


@pytest.mark.parametrize(("called", "wrong"), [("memset", []), ("malloc", ["a needs malloc"])])
def test_an_archive_may_need_functions_of_memory_alone(
    called: str, wrong: list[str], tmp_path: Path
) -> None:
    (tmp_path / "a.c").write_text(
        f"void {called}(void);\nvoid f(void);\nvoid f(void) {{ {called}(); }}"
    )
    member = compiled(tmp_path / "a.o", "-ffreestanding", "-c", tmp_path / "a.c").read_bytes()
    archive = object_files.archive({"a.o": member})
    built = object_files.architecture_of([member])
    assert check_wheel.archive_problems("a", archive, built) == wrong


def test_a_module_may_have_a_section_of_imports_that_is_empty() -> None:
    assert check_wheel.module_problems("m", MODULE + bytes((2, 1, 0, 1, 3, 0, 0, 0))) == []
