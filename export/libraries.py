"""The C libraries and WebAssembly modules that an installation holds, one folder for each target.

`scripts/compile_kernels.py` builds them into ``kernels/compiled/TARGET.fcs``. ``kernels.json``
there names the kernels, the sources that they were built from, and the SHA-256 of each file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcs_edge.errors import FcsError
from fcs_edge.kernels.runtime import aot_library

NATIVE = Path(__file__).parent / "native"
"""The folder of the C sources."""
RECORD = "kernels.json"
MODULE = "wasm"
"""The target of the WebAssembly modules."""

_IN_LIBRARY = ("fcs.c", "fcs.h", "fcs_inside.c", "fcs_inside.h")
_NOT_BUILT = ("example.c",)


@dataclass(frozen=True)
class Library:
    """A library that fits these sources.

    Parameters
    ----------
    folder : Path
        Where it is.
    kernels_id : bytes
        Eight bytes that name its kernels; a model file repeats them.
    kernels : tuple of (str, str)
        Name and types of each kernel, in the order of the table.
    """

    folder: Path
    kernels_id: bytes
    kernels: tuple[tuple[str, str], ...]

    def read(self, name: str) -> bytes:
        """Return one of its files."""
        return (self.folder / name).read_bytes()


def folder_of(target: str) -> Path:
    """Return the folder of a target's library."""
    chosen = os.environ.get(aot_library.VARIABLE, "off")
    parent = aot_library.FOLDER if chosen in ("", "off") else Path(chosen)
    return parent / f"{target}.fcs"


def native_hash(target: str) -> str:
    """Return the SHA-256 of the C sources that go into a target's library."""
    digest = hashlib.sha256()
    for path in sorted(NATIVE.glob("*.[ch]")):
        used = path.name not in _NOT_BUILT if target == MODULE else path.name in _IN_LIBRARY
        if used:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def record(
    target: str,
    kernels_id: bytes,
    kernels: Sequence[tuple[str, str]],
    files: Mapping[str, bytes],
) -> bytes:
    """Return what ``kernels.json`` of a library holds.

    Parameters
    ----------
    target : str
        The target's name.
    kernels_id : bytes
        Eight bytes that name the kernels.
    kernels : sequence of (str, str)
        Name and types of each kernel, in the order of the table.
    files : mapping of str to bytes
        The files beside it.
    """
    facts = {
        "target": target,
        "id": kernels_id.hex(),
        "sources": aot_library.sources_hash(),
        "native": native_hash(target),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "kernels": [list(kernel) for kernel in kernels],
    }
    return (json.dumps(facts, indent=0) + "\n").encode()


def difference(target: str, files: Mapping[str, bytes]) -> str:
    """Return how a target's files differ from their record or these sources; empty where they fit.

    Parameters
    ----------
    target : str
        The target's name.
    files : mapping of str to bytes
        All files of its folder, the record among them.
    """
    try:
        facts = _facts(files.get(RECORD, b""))
    except ValueError:
        return f"{RECORD} is damaged or missing"
    if facts["target"] != target:
        return f"it is for {facts['target']}"
    if facts["sources"] != aot_library.sources_hash() or facts["native"] != native_hash(target):
        return "it was built from other sources"
    if set(files) != {*facts["files"], RECORD}:
        return f"its files are {', '.join(sorted(files))}"
    for name, expected in facts["files"].items():
        if hashlib.sha256(files[name]).hexdigest() != expected:
            return f"the SHA-256 of {name} differs from its record"
    return ""


def _facts(data: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(data)
        names = "target", "id", "sources", "native", "files", "kernels"
        found: dict[str, Any] = {name: facts[name] for name in names}
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return found


def find(target: str) -> Library:
    """Return the library of a target.

    Raises
    ------
    FcsError
        This installation has none, or it does not fit the sources.
    """
    folder = folder_of(target)
    remedy = "install a wheel of fcs-edge, which `make wheel` builds in a checkout"
    if not folder.is_dir():
        raise FcsError(f"no library for {target} in {folder.parent}: {remedy}")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    if wrong := difference(target, files):
        raise FcsError(f"{folder} is not usable ({wrong}): {remedy}")
    facts = _facts(files[RECORD])
    kernels = tuple((str(name), str(types)) for name, types in facts["kernels"])
    return Library(folder, bytes.fromhex(facts["id"]), kernels)
