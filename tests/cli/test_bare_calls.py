"""A call without arguments, and a key without a name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fcs_edge.cli import main


def test_no_arguments_print_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    main._run([])
    printed = "".join(capsys.readouterr())
    assert printed.startswith("Usage: fcs-edge")
    assert "\n  encode " in printed
    assert "\\x0a" not in printed
    assert printed.count("Usage:") == 1


def test_a_key_has_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main._run(["key", "-"]) == 2
    assert "a file's name" in capsys.readouterr().err
    assert os.listdir() == []
