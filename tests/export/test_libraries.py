"""The library of a target is found where it fits the sources; else one line says why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fcs_edge.errors import FcsError
from fcs_edge.export import libraries
from fcs_edge.kernels.runtime import aot_library

FILES = {"libfcs.a": b"archive", "libfcs.so": b"library"}
KERNELS = (("gemm.peak.read", "f1 int"), ("ops.gelu.gelu", "f2 f2w"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(aot_library.VARIABLE, str(tmp_path))
    folder = libraries.folder_of("cortex-a72")
    folder.mkdir()
    record = libraries.record("cortex-a72", bytes(range(8)), KERNELS, FILES)
    for name, data in {**FILES, libraries.RECORD: record}.items():
        (folder / name).write_bytes(data)
    return folder


def changed(folder: Path, **facts: object) -> None:
    """Replace facts of a record."""
    path = folder / libraries.RECORD
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


def test_a_library_is_found(folder: Path) -> None:
    found = libraries.find("cortex-a72")
    assert (found.folder, found.kernels_id, found.kernels) == (folder, bytes(range(8)), KERNELS)
    assert found.read("libfcs.so") == b"library"


def test_a_missing_library_is_one_line(folder: Path) -> None:
    with pytest.raises(FcsError, match=r"^no library for cortex-a53 in .*: install a wheel"):
        libraries.find("cortex-a53")


def test_what_does_not_fit_is_one_line(folder: Path) -> None:
    def refused() -> str:
        with pytest.raises(FcsError) as caught:
            libraries.find("cortex-a72")
        return str(caught.value)

    record = (folder / libraries.RECORD).read_bytes()
    for fact in ("sources", "native"):
        changed(folder, **{fact: "0" * 64})
        assert "built from other sources" in refused()
        (folder / libraries.RECORD).write_bytes(record)
    changed(folder, target="cortex-a53")
    assert "it is for cortex-a53" in refused()
    (folder / libraries.RECORD).write_bytes(record)
    (folder / "libfcs.a").write_bytes(b"archivf")
    assert "the SHA-256 of libfcs.a differs" in refused()
    (folder / "libfcs.a").unlink()
    assert "its files are kernels.json, libfcs.so" in refused()
    for damaged in (b"", b"{}", b"[" * 10**5, b"3"):
        (folder / libraries.RECORD).write_bytes(damaged)
        assert "is damaged or missing" in refused()


def test_a_library_of_c_does_not_depend_on_sources_of_the_module_alone() -> None:
    assert libraries.native_hash("wasm") != libraries.native_hash("x86-64-v3")
    assert libraries.native_hash("cortex-a53") == libraries.native_hash("x86-64-v3")
