"""Commands, C and JavaScript of the pages on exports run as they stand, one after the other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.errors import FcsError
from fcs_edge.export import libraries
from fcs_edge.kernels.isa import targets
from native_tools import lacking, needed

DOCS = Path(__file__).parent.parent.parent / "docs"
_FENCE = re.compile(r"^```(sh|c|js)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"(?:/\*|//) (\S+)")
"""The first line of a block of code names its file."""


def run_page(name: str, folder: Path) -> str:
    """Run a page's commands in a folder, with its code in files; return what they print."""
    programs = folder / "bin"
    programs.mkdir()
    command = programs / "fcs-edge"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fcs_edge.cli "$@"\n')
    command.chmod(0o755)
    script = ["set -eu"]
    for language, text in _FENCE.findall((DOCS / name).read_text()):
        if language == "sh":
            script.append(text)
            continue
        named = _NAME.match(text)
        assert named is not None, text
        (folder / named[1]).write_text(text)
    done = subprocess.run(
        ["sh", "-c", "\n".join(script)],
        cwd=folder,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    return done.stdout


def need_library(target: str | None) -> None:
    """Skip the test, or fail, where this installation cannot export for a target."""
    if target is None:
        pytest.skip("no target is for this CPU")
    try:
        libraries.find(target)
    except FcsError as error:
        lacking(str(error))


def test_embed(tmp_path: Path, speech: NDArray[np.float32]) -> None:
    needed("gcc")
    fitting = targets.fitting()
    need_library(fitting.name if fitting else None)
    run_page("embed.md", tmp_path)
    samples = speech[:20000]
    written = subprocess.run([tmp_path / "tokens"], input=samples.tobytes(), capture_output=True)
    assert not written.returncode
    expected = fcs_edge.load().encode(samples)
    assert np.frombuffer(written.stdout, np.uint16).tolist() == expected.tolist()
    assert (tmp_path / "fcs-c" / "example").exists()


def test_browser(tmp_path: Path) -> None:
    node = needed("node")
    need_library(libraries.MODULE)
    run_page("browser.md", tmp_path)
    command = [node, tmp_path / "own.mjs"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    lines = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert [sum(column) for column in zip(*lines, strict=True)] == [50, 24000]
