"""Programs that exports are built and run with. A test without one skips, and says what to install.

With FCS_EDGE_NEED_NATIVE=1, which CI sets, it fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

import toolchain

NEED = "FCS_EDGE_NEED_NATIVE"
STRICT = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
"""How each C file compiles without a warning."""
PACKAGES = {
    "gcc": "gcc",
    "g++": "g++",
    "node": "nodejs",
    "chromium": "chromium",
    "valgrind": "valgrind",
    "nm": "binutils",
    "readelf": "binutils",
    "pkg-config": "pkg-config",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "qemu-aarch64": "qemu-user",
}
"""Debian's package of each program, beside those of `toolchain.PACKAGES`."""


def lacking(what: str) -> NoReturn:
    """Skip the test, or fail where it must run; `what` names what is missing."""
    if os.environ.get(NEED):
        pytest.fail(f"{what} ({NEED} is set)")
    pytest.skip(what)


def needed(name: str) -> str:
    """Return the path of a program; skip the test, or fail, where it is missing."""
    path = str(toolchain.find(name) or "") if name in toolchain.PACKAGES else shutil.which(name)
    if not path:
        if name in toolchain.PACKAGES:
            lacking(toolchain.missing(name))
        lacking(f"no {name}: apt-get install {PACKAGES.get(name, name)}")
    return path


def compiled(output: Path, *arguments: str | Path, compiler: str = "gcc") -> Path:
    """Run a C compiler without warnings, and return its output."""
    command = [needed(compiler), *STRICT, *map(str, arguments), "-o", str(output)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, f"{' '.join(command)}\n{done.stderr}"
    return output
