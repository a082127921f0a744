"""Commands, C and JavaScript of the pages on exports run as they stand, one after the other."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.cli.main import main
from fcs_edge.errors import FcsError
from fcs_edge.export import libraries
from native_tools import lacking, needed

DOCS = Path(__file__).parent.parent.parent / "docs"
_FENCE = re.compile(r"^```(sh|c|js)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"(?:/\*|//) (\S+)")
"""The first line of a block of code names its file."""


def run_page(name: str, folder: Path) -> None:
    """Write a page's code into files of a folder, and run its commands there."""
    commands: list[str] = []
    for language, text in _FENCE.findall((DOCS / name).read_text()):
        if language == "sh":
            commands += text.splitlines()
            continue
        named = _NAME.match(text)
        assert named is not None, text
        (folder / named[1]).write_text(text)
    for command in commands:
        run_command(shlex.split(command))


def run_command(words: list[str]) -> None:
    """Run a command, one of `fcs-edge` in this process."""
    if words[0] != "fcs-edge":
        subprocess.run(words, check=True)
        return
    with pytest.raises(SystemExit) as caught:
        main(words[1:])
    assert caught.value.code == 0


def test_embed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speech: NDArray[np.float32], machine: str
) -> None:
    needed("gcc")
    monkeypatch.chdir(tmp_path)
    run_page("embed.md", tmp_path)
    samples = speech[:20000]
    written = subprocess.run([tmp_path / "tokens"], input=samples.tobytes(), capture_output=True)
    assert not written.returncode
    expected = fcs_edge.load().encode(samples)
    assert np.frombuffer(written.stdout, np.uint16).tolist() == expected.tolist()
    assert (tmp_path / "example").exists()


def test_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = needed("node")
    try:
        libraries.find(libraries.MODULE)
    except FcsError as error:
        lacking(str(error))
    monkeypatch.chdir(tmp_path)
    run_page("browser.md", tmp_path)
    command = [node, tmp_path / "own.mjs"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    lines = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert [sum(column) for column in zip(*lines, strict=True)] == [50, 24000]
