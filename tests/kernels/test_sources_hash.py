"""A library fits its sources: those that decide what it holds, and no others."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

from fcs_edge.kernels.runtime import aot_library

SCRIPTS = Path(__file__).parents[2] / "scripts"
EMITTERS = {"kernel", "inline", "intrinsic", "factory"}
"""What marks a function that becomes machine code."""


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the kernels' sources that `sources_hash` reads."""
    copy = tmp_path / "kernels"
    ignored = shutil.ignore_patterns("compiled", "__pycache__")
    shutil.copytree(Path(aot_library.__file__).parents[1], copy, ignore=ignored)
    monkeypatch.setattr(aot_library, "_KERNELS", copy)
    monkeypatch.setattr(aot_library, "_RUNTIME", copy / "runtime")
    return copy


def uncounted(kernels: Path) -> list[Path]:
    """Return the modules that do not count."""
    paths = sorted((kernels / "runtime").glob("*.py"))
    return [p for p in paths if p.stem not in aot_library._BUILT_FROM]


def imported(path: Path) -> set[str]:
    """Return the last part of each name that a file imports, and of the modules they are from."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            names |= {(node.module or "").rpartition(".")[2], *(a.name for a in node.names)}
        elif isinstance(node, ast.Import):
            names |= {a.name.rpartition(".")[2] for a in node.names}
    return names


def test_what_a_library_holds_counts(kernels: Path) -> None:
    known = {aot_library.sources_hash()}
    counted = set(kernels.rglob("*.py")) - set(uncounted(kernels))
    for path in sorted(counted):
        path.write_text(path.read_text() + "# A change.\n")
        known.add(aot_library.sources_hash())
    assert len(known) == len(counted) + 1
    assert {kernels / "runtime" / f"{name}.py" for name in aot_library._BUILT_FROM} <= counted


def test_what_only_uses_a_library_does_not_count(kernels: Path) -> None:
    before, others = aot_library.sources_hash(), uncounted(kernels)
    assert {"memory", "numba_cache", "placement", "thread_team"} <= {p.stem for p in others}
    for path in others:
        path.write_text(path.read_text() + "# A change.\n")
    assert aot_library.sources_hash() == before


def test_no_machine_code_is_of_a_module_that_does_not_count() -> None:
    others = uncounted(Path(aot_library.__file__).parents[1])
    names = {p.stem for p in others} - {"__init__"}
    for path in others:
        assert not imported(path) & EMITTERS, path.name
    runtime = Path(aot_library.__file__).parent
    builders = [
        *(SCRIPTS / f"{name}.py" for name in ("compile_kernels", "native_library", "wasm_module")),
        *(runtime / f"{name}.py" for name in aot_library._BUILT_FROM if name != "_jit"),
    ]
    for path in builders:
        assert not imported(path) & names, path.name
