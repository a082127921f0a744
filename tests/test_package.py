"""What may import what, and what the package holds."""

from __future__ import annotations

import ast
import importlib.metadata
import re
from pathlib import Path

import pytest

import fcs_edge

ROOT = Path(__file__).parent.parent
FOLDERS = ("fcs_edge", "kernels", "convert", "live", "link", "cli")
MAY_IMPORT = {
    "kernels": {"fcs_edge.kernels"},
    "fcs_edge": {"fcs_edge", "fcs_edge.kernels"},
    "convert": {"fcs_edge", "fcs_edge.convert", "fcs_edge.kernels"},
    "live": {"fcs_edge", "fcs_edge.live"},
    "link": {"fcs_edge", "fcs_edge.live", "fcs_edge.link"},
    "cli": {"fcs_edge", "fcs_edge.convert", "fcs_edge.live", "fcs_edge.link", "fcs_edge.cli"},
}
SUBPACKAGES = tuple(f"fcs_edge.{name}" for name in ("kernels", "convert", "live", "link", "cli"))


def imports(path: Path) -> list[str]:
    """Return the modules a file imports, at its top or inside a function."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def package(module: str) -> str:
    return next((p for p in SUBPACKAGES if module == p or module.startswith(f"{p}.")), "fcs_edge")


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_point_one_way(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        for module in imports(path):
            top = module.split(".")[0]
            if top == "fcs_edge":
                assert package(module) in MAY_IMPORT[folder], f"{path} imports {module}"
            if top in ("torch", "huggingface_hub"):
                assert folder == "convert", f"{path} imports {module}"
            assert top != "pickle" or folder == "convert", f"{path} imports pickle"


def test_metadata() -> None:
    # tomllib came with Python 3.11.
    project = (ROOT / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    assert version is not None
    assert fcs_edge.__version__ == version[1]
    assert f"## {fcs_edge.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    packages = re.search(r"^packages = \[(.+?)\]$", project, re.MULTILINE | re.DOTALL)
    assert packages is not None
    folders = {p.parent for top in FOLDERS for p in (ROOT / top).rglob("*.py")}
    named = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    named = {n if n.split(".")[0] == "fcs_edge" else f"fcs_edge.{n}" for n in named}
    assert set(re.findall(r'"(.+?)"', packages[1])) == named
    scripts = importlib.metadata.entry_points(group="console_scripts", name="fcs-edge")
    assert [s.value for s in scripts] == ["fcs_edge.cli.main:main"]
