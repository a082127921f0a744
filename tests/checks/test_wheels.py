"""Wheels get the tags, the libraries and the RECORD that fit; what does not fit is found."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import check_wheel
import make_wheels
from fcs_edge.kernels.runtime import aot_library

SOURCES = "0123456789abcdef"
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


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """A package with all five libraries, as `wheel unpack` writes it."""
    folder = tmp_path / "fcs_edge-1.0"
    (folder / make_wheels.COMPILED).mkdir(parents=True)
    (folder / "fcs_edge" / "__init__.py").write_text("")
    for architecture, names in make_wheels.LIBRARIES.items():
        for name in names:
            path = folder / make_wheels.COMPILED / name
            path.write_bytes(library(architecture))
            write_record(path)
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
