"""Build the C library of a CPU from its kernels and from `export/native`.

    python scripts/native_library.py [--target NAME ...] [FOLDER]

`scripts/compile_kernels.py` calls it. On its own it compiles the C sources anew and takes the
kernels from the libraries in FOLDER, kernels/compiled by default. Clang compiles without a C
library, so one compiler serves all CPUs. GNU ld links the shared library.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import toolchain
from fcs_edge.export import libraries, object_files
from fcs_edge.files import creating
from fcs_edge.kernels.isa.targets import TARGETS, Target
from fcs_edge.kernels.runtime import aot_library

ARCHIVE, SHARED = "libfcs.a", "libfcs.so"
KERNELS = "kernels.o"
PLATFORM = {"memcpy", "memset", "memmove"}
"""What a library calls of the platform."""

_SOURCES = ("fcs", "fcs_inside")
_COMPILE = (
    *("-std=c99", "-O2", "-fPIC", "-ffreestanding", "-fno-ident"),
    *("-fno-asynchronous-unwind-tables", "-ffunction-sections", "-fdata-sections"),
    *("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"),
)
_LINK = (
    *("-shared", "-s", "--gc-sections", "-z", "noexecstack", "--build-id=none"),
    *("--hash-style=gnu", "-soname", SHARED),
)


def linker(target: Target) -> str:
    """Return the path of GNU ld for a target."""
    native = platform.machine() == target.architecture
    name = "ld" if native else f"{target.architecture}-linux-gnu-ld"
    path = shutil.which(name)
    if path is None:
        package = "binutils" if native else f"binutils-{target.architecture}-linux-gnu"
        sys.exit(f"{Path(sys.argv[0]).stem}: no {name}: install {package.replace('_', '-')}")
    return path


def compiled(triple: str, source: Path, options: Iterable[str] = _COMPILE) -> bytes:
    """Compile a C source for a target, and return the object file."""
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "out.o"
        clang = toolchain.tool("clang")
        command = [str(clang), f"--target={triple}", *options, "-c", str(source), "-o", str(out)]
        subprocess.run(command, check=True)
        return out.read_bytes()


def undefined(objects: Iterable[bytes]) -> set[str]:
    """Return the names that object files need and none of them defines."""
    needed: set[str] = set()
    defined: set[str] = set()
    for data in objects:
        needed |= set(object_files.undefined_symbols(data))
        defined |= set(object_files.defined_symbols(data))
    return needed - defined


def build(
    target: Target,
    kernels: bytes,
    listed: list[tuple[str, str]],
    identity: bytes,
    folder: Path,
) -> Path:
    """Write the library of a CPU, as an archive and as a shared one, and its record.

    Parameters
    ----------
    target : Target
        The CPU.
    kernels : bytes
        The object file of its kernels.
    listed : list of (str, str)
        Name and types of each kernel, in the order of the table.
    identity : bytes
        Eight bytes that name the kernels.
    folder : Path
        Where the folder of the library goes.
    """
    objects = {f"{s}.o": compiled(target.triple, libraries.NATIVE / f"{s}.c") for s in _SOURCES}
    objects[KERNELS] = kernels
    if others := undefined(objects.values()) - PLATFORM:
        sys.exit(f"native_library: the C library needs {', '.join(sorted(others))}")
    files = {ARCHIVE: object_files.archive(objects), SHARED: _shared(linker(target), objects)}
    return write(target.name, files, listed, identity, folder)


def write(
    target: str,
    files: dict[str, bytes],
    listed: list[tuple[str, str]],
    identity: bytes,
    folder: Path,
) -> Path:
    """Write the files of a library, and its record last."""
    place = folder / f"{target}.fcs"
    place.mkdir(parents=True, exist_ok=True)
    for path in place.iterdir():
        path.unlink()
    files = files | {libraries.RECORD: libraries.record(target, identity, listed, files)}
    for name, data in files.items():
        with creating(place / name) as out:
            out.write(data)
    return place


def _shared(linker: str, objects: dict[str, bytes]) -> bytes:
    with tempfile.TemporaryDirectory() as work:
        for name, data in objects.items():
            (Path(work) / name).write_bytes(data)
        command = [linker, *_LINK, "-o", SHARED, *objects]
        subprocess.run(command, check=True, cwd=work)
        return (Path(work) / SHARED).read_bytes()


def renew(target: Target, folder: Path) -> Path:
    """Compile the C sources of a library anew; its kernels stay, and must fit their sources."""
    place = folder / f"{target.name}.fcs"
    facts = json.loads((place / libraries.RECORD).read_text())
    if facts["sources"] != aot_library.sources_hash():
        sys.exit(f"native_library: the kernels of {place} are of other sources: compile them")
    kernels = object_files.members_of((place / ARCHIVE).read_bytes())[KERNELS]
    listed = [(name, types_) for name, types_ in facts["kernels"]]
    return build(target, kernels, listed, bytes.fromhex(facts["id"]), folder)


def main() -> None:
    """Renew the requested libraries."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    names = [target.name for target in TARGETS]
    parser.add_argument("--target", action="append", choices=names, help="default: all")
    parser.add_argument("folder", nargs="?", type=Path, default=aot_library.FOLDER)
    options = parser.parse_args()
    for target in TARGETS:
        if target.name in (options.target or names):
            print(renew(target, options.folder))


if __name__ == "__main__":
    main()
