"""What may import what, and what the package holds."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
from pathlib import Path

import pytest

import fcs_edge

ROOT = Path(__file__).parent.parent
FOLDERS = ("fcs_edge", "kernels", "convert", "export", "live", "link", "cli")
"""Folders that are installed."""
RUNTIME = {"fcs_edge", *(f"fcs_edge.{name}" for name in FOLDERS[1:])}
MAY_IMPORT = {
    "fcs_edge.kernels": {"fcs_edge.kernels"},
    "fcs_edge": {"fcs_edge", "fcs_edge.kernels"},
    "fcs_edge.convert": {"fcs_edge", "fcs_edge.convert", "fcs_edge.kernels"},
    "fcs_edge.export": {"fcs_edge", "fcs_edge.export", "fcs_edge.kernels"},
    "fcs_edge.live": {"fcs_edge", "fcs_edge.live"},
    "fcs_edge.link": {"fcs_edge", "fcs_edge.live", "fcs_edge.link"},
    "fcs_edge.cli": RUNTIME - {"fcs_edge.kernels"},
    "train": RUNTIME | {"train"},
    "scripts": RUNTIME | {"train", "scripts"},
}
"""Packages, lowest first, and the packages that their modules may import."""
ORDER = ("errors", "modelfile", "model", "stream", "codec", "bench")
"""Parts of `fcs_edge`: none imports a part to its right."""
STAGES = {
    *("encoder", "compressor", "quantizer", "code_search", "decompressor", "voice_rows", "decoder"),
}
"""Modules of `fcs_edge.model` that know nothing of one another."""


def module_name(path: Path) -> str:
    """Return the name that a file is imported by, `path` being relative to the checkout."""
    parts = path.with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return f"fcs_edge.{name}" if parts[0] in FOLDERS[1:] else name


def imports(path: Path) -> list[str]:
    """Return what a file imports: at its top, in a function or for types alone."""
    found = []
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        match node:
            case ast.Import(names=aliases):
                found += [alias.name for alias in aliases]
            case ast.ImportFrom(module=module, names=aliases):
                found += [f"{module}.{alias.name}" for alias in aliases]
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=arguments):
                if name == "import_module" and isinstance(arguments[0], ast.Constant):
                    found.append(arguments[0].value)
    return found


def resolve(imported: str, importer: str, modules: set[str]) -> str | None:
    """Return the module that an import leads to: itself, or the one that holds the name."""
    if importer.startswith("scripts.") and f"scripts.{imported.split('.')[0]}" in modules:
        imported = f"scripts.{imported}"
    while imported and imported not in modules:
        imported = imported.rpartition(".")[0]
    return imported or None


def import_graph(sources: dict[str, list[str]]) -> dict[str, set[str]]:
    """Return the modules that each module imports; `sources` has the names that each imports."""
    modules = set(sources)
    graph = {}
    for module, names in sources.items():
        resolved = {resolve(name, module, modules) for name in names}
        graph[module] = {name for name in resolved if name is not None}
    return graph


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return a shortest cycle through each module that lies on one, each cycle once."""
    found: dict[frozenset[str], list[str]] = {}
    for start in sorted(graph):
        paths, visited = [[start]], set()
        for path in paths:
            for following in sorted(graph[path[-1]]):
                if following == start:
                    found.setdefault(frozenset(path), [*path, start])
                    paths.clear()
                    break
                if following not in visited:
                    visited.add(following)
                    paths.append([*path, following])
    return list(found.values())


def package(module: str) -> str:
    """Return the package of `MAY_IMPORT` that a module belongs to."""
    fitting = (name for name in MAY_IMPORT if f"{module}.".startswith(f"{name}."))
    return max(fitting, key=len)


@pytest.fixture(scope="module")
def sources() -> dict[str, list[str]]:
    """The names that each module imports."""
    folders = [ROOT / name for name in (*FOLDERS, "train", "scripts")]
    paths = [path.relative_to(ROOT) for folder in folders for path in folder.rglob("*.py")]
    assert {path.parts[0] for path in paths} == {*FOLDERS, "train", "scripts"}
    return {module_name(path): imports(path) for path in sorted(paths)}


@pytest.fixture(scope="module")
def graph(sources: dict[str, list[str]]) -> dict[str, set[str]]:
    """The modules that each module imports."""
    return import_graph(sources)


def test_no_import_cycle(graph: dict[str, set[str]]) -> None:
    found = cycles(graph)
    assert not found, "\n".join(" -> ".join(cycle) for cycle in found)


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_imports_point_one_way(layer: str, graph: dict[str, set[str]]) -> None:
    modules = [module for module in graph if package(module) == layer]
    assert modules
    wrong = [
        f"{module} imports {name}"
        for module in modules
        for name in sorted(graph[module])
        if package(name) not in MAY_IMPORT[layer]
    ]
    assert not wrong, "\n".join(wrong)


def test_parts_of_the_codec_are_in_order(graph: dict[str, set[str]]) -> None:
    def part(module: str) -> int | None:
        name = module.split(".")[1] if module.startswith("fcs_edge.") else ""
        return ORDER.index(name) if name in ORDER else None

    for module, imported in graph.items():
        own = part(module)
        for name in imported:
            other = part(name)
            assert own is None or other is None or other <= own, f"{module} imports {name}"


def test_stages_know_nothing_of_one_another(graph: dict[str, set[str]]) -> None:
    stages = {f"fcs_edge.model.{stage}" for stage in STAGES}
    assert stages <= set(graph)
    for stage in stages:
        assert not graph[stage] & stages, stage


def test_imports_are_absolute() -> None:
    for folder in (*FOLDERS, "train", "scripts", "examples", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                relative = isinstance(node, ast.ImportFrom) and node.level > 0
                assert not relative, f"{path}:{node.lineno}: relative import"


def test_who_may_import_torch_and_pickle(sources: dict[str, list[str]]) -> None:
    for module, imported in sources.items():
        if package(module) in RUNTIME - {"fcs_edge.convert"}:
            tops = {name.split(".")[0] for name in imported}
            # Numba's own cache files are pickles.
            allowed = {"pickle"} if module == "fcs_edge.kernels.runtime.numba_cache" else set()
            assert not tops & {"torch", "huggingface_hub", "pickle", "train"} - allowed, module


def test_who_imports_corpora_and_their_libraries(
    sources: dict[str, list[str]], graph: dict[str, set[str]]
) -> None:
    def inside(module: str) -> bool:
        return f"{module}.".startswith("fcs_edge.corpus.")

    libraries = {"pyarrow", "distributed", "dask"}
    for module, imported in graph.items():
        if inside(module):
            continue
        if any(map(inside, imported)):
            assert package(module) in ("fcs_edge.cli", "scripts"), module
        if package(module) in RUNTIME:
            assert not {name.split(".")[0] for name in sources[module]} & libraries, module


def test_every_kind_of_cycle_is_found() -> None:
    """Three modules in a ring, two of a package, and one that imports its own package."""
    ring = {"a": ["b.f"], "b": ["c"], "c": ["a"], "d": ["a"]}
    assert cycles(import_graph(ring)) == [["a", "b", "c", "a"]]
    inside = {"p": [], "p.a": ["p.b"], "p.b": ["p.a.f"], "p.c": ["p.b"]}
    assert cycles(import_graph(inside)) == [["p.a", "p.b", "p.a"]]
    itself = {"p": ["p.a.f"], "p.a": ["p.g"]}
    assert cycles(import_graph(itself)) == [["p", "p.a", "p"]]
    assert not cycles(import_graph({"a": ["b"], "b": ["numpy"], "c": ["a", "b"]}))


def test_imports_in_functions_and_for_types_are_read(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import importlib\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from fcs_edge import a\n"
        "def f():\n    from fcs_edge.b import c as d\n    importlib.import_module('fcs_edge.e')\n"
    )
    expected = {"importlib", "typing.TYPE_CHECKING", "fcs_edge.a", "fcs_edge.b.c", "fcs_edge.e"}
    assert set(imports(program)) == expected


def test_metadata() -> None:
    # tomllib came with Python 3.11.
    project = (ROOT / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    assert version is not None
    assert fcs_edge.__version__ == version[1]
    assert f"## {fcs_edge.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    native = ROOT / "export" / "native"
    assert f'#define FCS_VERSION "{version[1]}"' in (native / "fcs.h").read_text()
    assert f"\nVersion: {version[1]}\n" in (native / "fcs.pc").read_text()
    package = json.loads((ROOT / "export" / "web" / "package.json").read_text())
    assert package["version"] == version[1]
    assert package["type"] == "module", "Node 18 would read fcs.js as CommonJS"
    packages = re.search(r"^packages = \[(.+?)\]$", project, re.MULTILINE | re.DOTALL)
    assert packages is not None
    folders = {p.parent for top in FOLDERS for p in (ROOT / top).rglob("*.py")}
    named = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    named = {n if n.split(".")[0] == "fcs_edge" else f"fcs_edge.{n}" for n in named}
    assert set(re.findall(r'"(.+?)"', packages[1])) == named
    scripts = importlib.metadata.entry_points(group="console_scripts", name="fcs-edge")
    assert [s.value for s in scripts] == ["fcs_edge.cli.main:main"]
