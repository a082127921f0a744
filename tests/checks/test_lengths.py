"""Functions have at most 60 lines, test files at most 600."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (
    *("fcs_edge", "kernels", "convert", "export", "live", "link", "cli"),
    *("train", "scripts", "tests"),
)
FUNCTION_LINES = 60
FILE_LINES = 600
"""Lines that a test file may have."""


def emits_machine_code(path: Path) -> bool:
    """Tell whether a file emits a micro-kernel: one long list of instructions."""
    return path.stem.endswith("_microkernel")


def long_functions(path: Path) -> list[str]:
    """Return a line for each function that is too long."""
    nodes = ast.walk(ast.parse(path.read_text()))
    functions = [n for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    lines = {f: (f.end_lineno or 0) - f.lineno + 1 for f in functions}
    return [
        f"{path.relative_to(ROOT)}:{f.lineno}: {f.name} has {n} lines, over {FUNCTION_LINES}"
        for f, n in lines.items()
        if n > FUNCTION_LINES
    ]


@pytest.mark.parametrize("folder", FOLDERS)
def test_functions(folder: str) -> None:
    paths = [p for p in sorted((ROOT / folder).rglob("*.py")) if not emits_machine_code(p)]
    assert paths
    found = [line for path in paths for line in long_functions(path)]
    assert not found, "\n".join(found)


def test_test_files() -> None:
    paths = sorted((ROOT / "tests").rglob("*.py"))
    lines = {p.relative_to(ROOT).as_posix(): len(p.read_text().splitlines()) for p in paths}
    assert not {path: n for path, n in lines.items() if n > FILE_LINES}
