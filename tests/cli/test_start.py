"""What the shortest commands import: each module of these takes longer than the command."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from fcs_edge.cli.main import COMMANDS, cli

SLOW = {"numba", "numpy", "soundfile", "sounddevice", "soxr", "nacl", "scipy", "rich"}
IMPORTED = """
import sys
from fcs_edge.cli import main
try:
    main.main(sys.argv[1:])
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def imported(*arguments: str) -> set[str]:
    """Return the packages that a command imports."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *arguments], capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)], ids=" ".join)
def test_help_and_version_import_nothing_slow(arguments: tuple[str, ...]) -> None:
    found = imported(*arguments)
    assert "click" in found
    assert not found & SLOW


def test_info_of_a_model_imports_no_sound_and_no_keys() -> None:
    found = imported("info", "edge-65k")
    assert "numpy" in found
    # Numba, where there is no compiled library, imports SciPy.
    assert not found & {"soundfile", "sounddevice", "soxr", "nacl", "rich"}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_lists_each_command_with_the_first_line_of_its_help(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert COMMANDS[name] == command.get_short_help_str(1000)
