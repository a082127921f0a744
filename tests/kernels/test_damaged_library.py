"""A library is mapped only if it fits its record: a cut one would end the process."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import llvmlite.binding as llvm
import pytest

import fcs_edge
from fcs_edge.kernels.isa import targets
from fcs_edge.kernels.runtime import _jit, aot_library

SOURCES = "0123456789abcdef"

pytestmark = [
    pytest.mark.skipif(aot_library.target() is None, reason="no kernels are built for this CPU"),
    pytest.mark.skipif(shutil.which("ld") is None, reason="no linker"),
]


def write_record(path: Path) -> None:
    """Write the record of a library as it is."""
    aot_library.record_of(path).write_bytes(aot_library.record(path.read_bytes(), SOURCES))


def build(path: Path, manifest: bytes, triple: str = "") -> Path:
    """Write a library that holds nothing but a manifest, and its record."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    triple = triple or llvm.get_process_triple()
    machine = llvm.Target.from_triple(triple).create_target_machine(reloc="pic")
    data = "".join(f"\\{byte:02x}" for byte in manifest + b"\0")
    text = f'@{aot_library.MANIFEST} = constant [{len(manifest) + 1} x i8] c"{data}"'
    part = path.with_suffix(".o")
    part.write_bytes(machine.emit_object(llvm.parse_assembly(text)))
    subprocess.run(["ld", "-shared", "-o", path, part], check=True)
    write_record(path)
    return path


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This CPU's library, with no kernel."""
    monkeypatch.setenv(aot_library.VARIABLE, str(tmp_path))
    monkeypatch.setattr(aot_library, "sources_hash", lambda: SOURCES)
    return build(tmp_path / f"{aot_library.target()}.so", b'{"kernels": {}}')


def fault() -> str:
    """Return what is wrong with the library, as a new process finds it."""
    opened = aot_library._open()
    assert isinstance(opened, str)
    assert "\n" not in opened
    return opened


def test_an_intact_library_is_used(library: Path) -> None:
    opened = aot_library._open()
    assert isinstance(opened, tuple)
    assert opened[1] == {}


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda data: b"",
    "cut": lambda data: data[: len(data) * 6 // 10],
    "one byte short": lambda data: data[:-1],
    "zeros": lambda data: bytes(len(data)),
    "noise": lambda data: bytes((7 * i * i + 3) % 256 for i in range(len(data))),
    "one bit": lambda data: bytes([data[0] ^ 1]) + data[1:],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("part", ["library", "record"])
def test_damage(part: str, damage: str, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mapped(path: str) -> None:
        raise AssertionError(f"{path} is mapped")

    monkeypatch.setattr(aot_library.ctypes, "CDLL", mapped)
    path = library if part == "library" else aot_library.record_of(library)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert f"{library}: these compiled kernels are not used (" in fault()


@pytest.mark.parametrize("part", ["library", "record"])
def test_what_cannot_be_read(part: str, library: Path) -> None:
    path = library if part == "library" else aot_library.record_of(library)
    path.unlink()
    assert f"{path.name}: No such file or directory" in fault()
    path.mkdir()
    assert f"{path.name}: Is a directory" in fault()


def test_other_sources(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aot_library, "sources_hash", lambda: "f" * 64)
    assert "it was built from other sources" in fault()


@pytest.mark.parametrize("manifest", [b"", b"{", b"[]", b"{}", b"\xff", b'{"kernels": 1}'])
def test_a_broken_manifest(manifest: bytes, library: Path) -> None:
    other = build(library.with_name("other.so"), manifest)
    other.replace(library)
    aot_library.record_of(other).replace(aot_library.record_of(library))
    assert "it holds no kernels" in fault()


def test_a_library_of_another_architecture(library: Path) -> None:
    """The record fits, but the system refuses to map it."""
    data = bytearray(library.read_bytes())
    data[18:20] = (0xF3).to_bytes(2, "little")
    library.write_bytes(data)
    write_record(library)
    assert str(library) in fault()


def test_no_library_is_no_fault_but_in_a_named_folder(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(aot_library.VARIABLE)
    monkeypatch.setattr(aot_library, "FOLDER", tmp_path / "absent")
    assert aot_library._open() is None
    monkeypatch.setenv(aot_library.VARIABLE, str(tmp_path / "absent"))
    assert "No such file or directory" in fault()
    monkeypatch.setattr(targets, "fitting", lambda: None)
    assert aot_library._open() is None


def test_a_fault_is_one_warning_when_a_model_is_loaded(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.write_bytes(b"")
    for cached in (aot_library.library, aot_library.fault, _jit.warn_of_library):
        cached.cache_clear()
    try:
        with pytest.warns(aot_library.KernelWarning, match="it has 0 bytes, not") as caught:
            fcs_edge.load()
        assert len(caught) == 1
        fcs_edge.load()
    finally:
        monkeypatch.undo()
        for cached in (aot_library.library, aot_library.fault, _jit.warn_of_library):
            cached.cache_clear()


def test_a_record_is_read_as_it_was_written(library: Path) -> None:
    record = aot_library.record_of(library)
    facts = json.loads(record.read_bytes())
    assert facts["bytes"] == library.stat().st_size
    assert aot_library.difference(library.read_bytes(), record.read_bytes(), SOURCES) == ""
