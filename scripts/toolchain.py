"""Find the tools that C and WebAssembly are built with: clang, and wasm-ld of LLVM's linker.

    python scripts/toolchain.py [TOOL ...]

It prints where each is, `clang` and `wasm-ld` by default, and fails where one is missing. Each
version from 14 on will do. The newest of several is taken: Debian names them `clang-22`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

PACKAGES = {"clang": "clang", "wasm-ld": "lld"}
"""Debian's package of each tool."""
OLDEST = 14


def _candidates(name: str) -> list[Path]:
    """Return the files on the path that may be a tool, under its name or with a version."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    named = re.compile(rf"{name}(-\d+)?")
    return [
        path
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if named.fullmatch(path.name) and shutil.which(path)
    ]


def version(path: Path) -> int:
    """Return the major version of a tool, 0 where it does not run."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return 0
    found = re.search(r"(?:version|LLD) (\d+)\.", done.stdout)
    return int(found[1]) if found else 0


@cache
def find(name: str) -> Path | None:
    """Return the newest tool of a name, None where there is none."""
    found = [(version(path), path) for path in _candidates(name)]
    usable = [(number, path) for number, path in found if number >= OLDEST]
    return max(usable, key=lambda each: each[0])[1] if usable else None


def missing(name: str) -> str:
    """Return one line that says what to install for a tool."""
    install = f"apt-get install {PACKAGES[name]}"
    return f"no {name} of version {OLDEST} or newer; on Debian: {install}"


def tool(name: str) -> Path:
    """Return the path of a tool; end the program where it is missing."""
    path = find(name)
    if path is None:
        sys.exit(f"{Path(sys.argv[0]).stem}: {missing(name)}")
    return path


if __name__ == "__main__":
    for name in sys.argv[1:] or PACKAGES:
        print(tool(name))
