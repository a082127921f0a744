"""What ``help(fcs_edge)`` shows, and the names that it promises."""

from __future__ import annotations

import ast
import importlib
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import fcs_edge

PACKAGES = (
    "bench",
    "bitstream",
    "cli",
    "convert",
    "corpus",
    "export",
    "kernels",
    "link",
    "live",
    "model",
    "modelfile",
)


def exported() -> list[str]:
    """Return the names that the package imports as themselves."""
    tree = ast.parse(Path(fcs_edge.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return [a.name for node in imports for a in node.names if a.asname == a.name]


def test_help_fits_on_a_screen() -> None:
    for name in PACKAGES:
        importlib.import_module(f"fcs_edge.{name}")
    text = pydoc.plain(pydoc.render_doc(fcs_edge))
    # What follows are the names of the modules.
    above = text.split("PACKAGE CONTENTS")[0]
    assert len(above.splitlines()) <= 40
    assert len(text.splitlines()) <= 75
    assert "codec.encode(" in text


def test_help_names_all_that_is_exported() -> None:
    names = exported()
    assert len(names) == 24
    assert fcs_edge.__doc__ is not None
    for name in names:
        assert name in fcs_edge.__doc__, name
        assert hasattr(fcs_edge, name)


def test_corpora_are_there_without_an_import_of_their_own() -> None:
    for line in (fcs_edge.corpus.__doc__ or "").splitlines():
        for name in re.findall(r"^    ([\w, ]+?)(?:\(|  )", line):
            assert hasattr(fcs_edge.corpus, name), name
    assert "corpus" in dir(fcs_edge)
    script = "import fcs_edge.corpus, sys; assert not {'pyarrow', 'distributed'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
