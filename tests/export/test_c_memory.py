"""Memory of the C library: stack, what it needs of the platform, and each access under valgrind."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Golden

from fcs_edge.errors import FcsError
from fcs_edge.export import exporter, libraries, object_files
from fcs_edge.export.libraries import NATIVE
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.runtime import aot_library
from native_tools import compiled, lacking, needed

HERE = Path(__file__).parent
STACK = 16384
"""Bytes of the stack that a call may use."""
AVX2 = "x86-64-v3"
"""The target with the widest instructions that valgrind knows."""


@pytest.fixture(scope="module")
def program(
    golden: Callable[[str], Golden], tmp_path_factory: pytest.TempPathFactory
) -> list[str | Path]:
    """A program that runs a small model in tight memory, for processors with AVX2."""
    if "avx2" not in instructions.cpu_flags():
        pytest.skip("a test for x86-64 with AVX2")
    try:
        library = libraries.find(AVX2)
    except FcsError as error:
        lacking(str(error))
    folder = tmp_path_factory.mktemp("memory")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(aot_library.VARIABLE, str(aot_library.FOLDER))
        (folder / "model.fcsm").write_bytes(exporter.model_bytes(str(golden("tiny").model), AVX2))
    archive = library.folder / "libfcs.a"
    built = compiled(
        folder / "memory", f"-I{NATIVE}", HERE / "memory.c", archive, "-lpthread", "-g"
    )
    return [built, folder / "model.fcsm"]


def test_stack(program: list[str | Path]) -> None:
    done = subprocess.run(program, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    opening, running = map(int, done.stdout.split())
    assert 0 < opening <= STACK
    assert 0 < running <= STACK


def test_valgrind(program: list[str | Path]) -> None:
    flags = "-q", "--error-exitcode=9", "--leak-check=no"
    command = [needed("valgrind"), *flags, *program, "plain"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    assert not done.stderr


def test_needs_of_the_platform(machine: str) -> None:
    """Nothing allocates memory, reads a file, or takes the time."""
    data = libraries.find(machine).read("libfcs.a")
    members = object_files.members_of(data)
    needs = {name for member in members.values() for name in object_files.undefined_symbols(member)}
    own = {name for member in members.values() for name in object_files.defined_symbols(member)}
    assert needs - own == {"memcpy", "memset"}
