"""Check the wheels that `make wheel` wrote: their tags, their files, what their libraries need.

    python scripts/check_wheel.py [FOLDER]

FOLDER is dist by default. A library may need nothing but the C library, and no symbol of a glibc
newer than the wheel's manylinux tag says. It must come from the sources in this checkout, and fit
its record. pip must choose the wheel that fits each system. A library of C may need nothing but
`memcpy`, `memmove` and `memset`, and a WebAssembly module nothing at all.
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import tempfile
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Collection
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from fcs_edge.export import libraries, object_files
from fcs_edge.kernels.isa.targets import TARGETS
from fcs_edge.kernels.runtime import aot_library
from make_wheels import COMPILED, EXPORTED, LIBRARIES, MANYLINUX, platforms

ROOT = Path(__file__).resolve().parent.parent
MACHINES = {62: "x86_64", 183: "aarch64"}
"""Architectures by their number in an ELF header."""
_WAITING = {"sched_getcpu", "sched_yield", "usleep", "sem_init", "sem_post", "sem_wait"}
_MEMORY = {"memcpy", "memset", "memmove"}
FROM_LIBC = _MEMORY | _WAITING
"""Symbols that a library may leave to the process that loads it: any libc has them."""
_DYNAMIC, _DYNSYM, _VERNEED = 6, 11, 0x6FFFFFFE
_SYMTAB = 2
_NEEDED = 1
_IMPORTS = 2
"""The number of a WebAssembly module's section of imports."""


class Needs(NamedTuple):
    """What a shared library needs of others."""

    architecture: str
    libraries: list[str]
    symbols: set[str]
    versions: set[str]


class _Section(NamedTuple):
    kind: int
    data: bytes
    names: bytes


def _string(names: bytes, offset: int) -> str:
    return names[offset : names.index(b"\0", offset)].decode()


def _sections(data: bytes) -> list[_Section]:
    """Return the sections of a 64-bit little-endian ELF file, each with its table of strings."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    (at,) = struct.unpack_from("<Q", data, 0x28)
    size, n = struct.unpack_from("<HH", data, 0x3A)
    # name, type, flags, address, offset, size, link, info, alignment, size of an entry
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, at + i * size) for i in range(n)]
    parts = [b"" if h[1] == 8 else data[h[4] : h[4] + h[5]] for h in headers]
    return [_Section(h[1], part, parts[h[6]]) for h, part in zip(headers, parts, strict=True)]


def _versions(section: _Section) -> set[str]:
    """Return the versions of symbols that a library needs."""
    found, at = set(), 0
    while True:
        _, n, _, first, following = struct.unpack_from("<HHIII", section.data, at)
        entry = at + first
        for _ in range(n):
            _, _, _, name, step = struct.unpack_from("<IHHII", section.data, entry)
            found.add(_string(section.names, name))
            entry += step
        if not following:
            return found
        at += following


def needs(data: bytes) -> Needs:
    """Return what a shared library needs: libraries, symbols without a definition, versions.

    Raises
    ------
    ValueError
        It is not a 64-bit little-endian ELF file.
    """
    libraries, symbols, versions = [], set(), set()
    for section in _sections(data):
        if section.kind == _DYNAMIC:
            entries = struct.iter_unpack("<qQ", section.data)
            libraries += [_string(section.names, value) for t, value in entries if t == _NEEDED]
        elif section.kind == _DYNSYM:
            for name, _, _, index, _, _ in struct.iter_unpack("<IBBHQQ", section.data):
                if name and index == 0:
                    symbols.add(_string(section.names, name))
        elif section.kind == _VERNEED:
            versions |= _versions(section)
    (machine,) = struct.unpack_from("<H", data, 18)
    return Needs(MACHINES.get(machine, str(machine)), libraries, symbols, versions)


def _newer(version: str) -> bool:
    """Tell whether a version of a symbol is newer than the tag's glibc, or of something else."""
    match = re.fullmatch(r"GLIBC_(\d+)\.(\d+)(\.\d+)?", version)
    return match is None or (int(match[1]), int(match[2])) > tuple(map(int, MANYLINUX.split("_")))


def library_problems(
    name: str, data: bytes, architecture: str, allowed: Collection[str] = FROM_LIBC
) -> list[str]:
    """Return what keeps a library for an architecture out of a wheel; it may need `allowed`."""
    found = []
    needed = needs(data)
    if needed.architecture != architecture:
        found.append(f"{name} is for {needed.architecture}, not {architecture}")
    others = [n for n in needed.libraries if not n.startswith("libc.so")]
    if others:
        found.append(f"{name} needs {', '.join(others)}")
    if unknown := needed.symbols - set(allowed):
        found.append(f"{name} needs {', '.join(sorted(unknown))}")
    newer = sorted(version for version in needed.versions if _newer(version))
    if newer:
        found.append(f"{name} needs {', '.join(newer)}; its tag says glibc {MANYLINUX}")
    return found


def archive_problems(name: str, data: bytes, architecture: str) -> list[str]:
    """Return what is wrong with an archive of objects for an architecture."""
    members = object_files.members_of(data)
    built_for = object_files.architecture_of(members.values())
    found = [] if built_for == architecture else [f"{name} is for {built_for}, not {architecture}"]
    named, defined = set(), set[str]()
    for member in members.values():
        defined |= set(object_files.defined_symbols(member))
        for section in _sections(member):
            if section.kind == _SYMTAB:
                entries = struct.iter_unpack("<IBBHQQ", section.data)
                named |= {_string(section.names, entry[0]) for entry in entries if entry[3] == 0}
    if unknown := named - defined - _MEMORY - {""}:
        found.append(f"{name} needs {', '.join(sorted(unknown))}")
    return found


def module_problems(name: str, data: bytes) -> list[str]:
    """Return what is wrong with a WebAssembly module: it may import nothing."""
    if data[:8] != b"\0asm\1\0\0\0":
        return [f"{name} is no WebAssembly module"]
    at = 8
    while at < len(data):
        kind, size, shift = data[at], 0, 0
        more = True
        while more:
            at += 1
            size, more = size | (data[at] & 127) << shift, data[at] > 127
            shift += 7
        if kind == _IMPORTS and data[at + 1] != 0:
            return [f"{name} imports what only some hosts have"]
        at += 1 + size
    return []


def exported_problems(files: dict[str, bytes]) -> list[str]:
    """Return what is wrong with what a wheel holds for `fcs-edge export`."""
    found = []
    architectures = {f"{target.name}.fcs": target.architecture for target in TARGETS}
    for folder, names in EXPORTED.items():
        prefix = f"{COMPILED.as_posix()}/{folder}/"
        held = {name[len(prefix) :]: data for name, data in files.items() if prefix in name}
        if set(held) != set(names):
            found.append(f"{folder} holds {', '.join(sorted(held)) or 'nothing'}")
            continue
        if wrong := libraries.difference(folder.removesuffix(".fcs"), held):
            found.append(f"{folder}: {wrong}; no export would use it")
        for name, data in held.items():
            if name.endswith(".wasm"):
                found += module_problems(f"{folder}/{name}", data)
            elif name.endswith(".a"):
                found += archive_problems(f"{folder}/{name}", data, architectures[folder])
            elif name.endswith(".so"):
                found += library_problems(f"{folder}/{name}", data, architectures[folder], _MEMORY)
    return found


def wheel_problems(path: Path, architecture: str, sources: str) -> list[str]:
    """Return what is wrong with a wheel; `sources` is the hash that its libraries must hold."""
    found = []
    with zipfile.ZipFile(path) as wheel:
        files = {name: wheel.read(name) for name in wheel.namelist() if not name.endswith("/")}
    (info,) = {name.split("/")[0] for name in files if ".dist-info/" in name}
    described = files[f"{info}/WHEEL"].decode().splitlines()
    tags = {line.partition(": ")[2] for line in described if line.startswith("Tag:")}
    if tags != {f"py3-none-{platform}" for platform in platforms(architecture)}:
        found.append(f"its tags are {', '.join(sorted(tags))}")
    if f"Root-Is-Purelib: {'false' if architecture else 'true'}" not in described:
        found.append("Root-Is-Purelib is wrong")
    rows = [row.rsplit(",", 2) for row in files[f"{info}/RECORD"].decode().splitlines()]
    record = {name.strip('"'): digest for name, digest, _ in rows}
    for name, data in files.items():
        digest = urlsafe_b64encode(sha256(data).digest()).rstrip(b"=").decode()
        if name != f"{info}/RECORD" and record.get(name) != f"sha256={digest}":
            found.append(f"RECORD does not fit {name}")
    kernels = {
        name: data
        for name, data in files.items()
        if name.endswith(".so") and Path(name).parent == COMPILED
    }
    expected = {f"{COMPILED.as_posix()}/{n}" for n in LIBRARIES.get(architecture, ())}
    if set(kernels) != expected:
        found.append(f"its libraries are {', '.join(sorted(kernels)) or 'none'}")
    found += exported_problems(files)
    for name, data in kernels.items():
        found += library_problems(name, data, architecture)
        described_by = files.get(aot_library.record_of(Path(name)).as_posix(), b"")
        if wrong := aot_library.difference(data, described_by, sources):
            found.append(f"{name}: {wrong}; no installation would load it")
    return found


def chosen(folder: Path, platform: str) -> str:
    """Return the wheel that pip takes from a folder for a platform."""
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-index"]
        command += ["--disable-pip-version-check", "--find-links", str(folder), "--dest", work]
        command += ["--platform", platform, "--only-binary=:all:", "fcs-edge"]
        subprocess.run(command, check=True)
        (path,) = Path(work).iterdir()
        return path.name


SYSTEMS = {
    "manylinux_2_17_x86_64": "x86_64",
    "manylinux_2_17_aarch64": "aarch64",
    "manylinux2014_x86_64": "x86_64",
    "manylinux2014_aarch64": "aarch64",
    "musllinux_1_2_x86_64": "",
    "macosx_11_0_arm64": "",
    "manylinux_2_17_ppc64le": "",
}
"""Platforms that pip knows, and the architecture of the wheel that fits."""


def main(folder: Path) -> None:
    """Check the wheels in a folder."""
    found, wheels, sources = [], {}, aot_library.sources_hash()
    for architecture in (*LIBRARIES, ""):
        paths = list(folder.glob(f"*-py3-none-{'.'.join(sorted(platforms(architecture)))}.whl"))
        if len(paths) != 1:
            sys.exit(f"check_wheel: {len(paths)} wheels in {folder} for {architecture or 'any'}")
        wheels[architecture] = paths[0].name
        found += [f"{paths[0].name}: {p}" for p in wheel_problems(paths[0], architecture, sources)]
    for platform, architecture in SYSTEMS.items():
        wheel = chosen(folder, platform)
        if wheel != wheels[architecture]:
            found.append(f"pip takes {wheel} for {platform}")
    print("\n".join(found) or f"{len(wheels)} wheels hold; pip finds the right one")
    sys.exit(bool(found))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "dist"))
