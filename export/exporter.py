"""Writes an export of a model: a folder that appears whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from fcs_edge.errors import FcsError
from fcs_edge.export import libraries, page_files
from fcs_edge.export.libraries import Library
from fcs_edge.export.model_inside import archive_with_model, library_with_model
from fcs_edge.files import naming
from fcs_edge.kernels.isa import instructions, targets
from fcs_edge.modelfile import catalogue
from fcs_edge.modelfile.config import STREAMING
from fcs_edge.modelfile.model_file import ModelFile

HOST = "host"
"""The target that is the best one for this machine."""
WASM = libraries.MODULE
TARGETS = (*(target.name for target in targets.TARGETS), WASM)
"""Targets of exports."""

MODEL = "model.fcsm"
_LIBRARIES = "libfcs.a", "libfcs.so"
_SOURCES = "fcs.h", "fcs_file.h", "resample.h", "example.c", "fcs.pc"
_PAGE = "index.html"
_NAMES = {MODEL, *_LIBRARIES, *_SOURCES, *page_files.NAMES}
"""All files of exports: a folder with others is never replaced."""


class Export(NamedTuple):
    """What was written."""

    target: str
    sizes: dict[str, int]
    """Bytes of each file."""


def target_of(name: str) -> str:
    """Return the name of a target, that of this machine for ``host``.

    Raises
    ------
    FcsError
        No target fits this machine.
    """
    if name != HOST:
        return name
    flags, part = instructions.cpu_flags(), instructions.cpu_part()
    for using in instructions.of_this_cpu():
        for target in targets.TARGETS:
            is_part = not target.parts or part in target.parts
            if target.using is using and flags >= target.flags and is_part:
                return target.name
    raise FcsError(f"no target fits this machine; --target names one of {', '.join(TARGETS)}")


def check_model(model: ModelFile) -> None:
    """Refuse a model that does not stream.

    Raises
    ------
    FcsError
        A stage that the file holds needs the whole signal.
    """
    config = model.config
    streams = {"encoder": config.encodes_streams, "decoder": config.decodes_streams}
    if not streams.get(model.part or "", config.is_causal):
        raise FcsError(f"{model.name} cannot be exported: it needs the whole signal; {STREAMING}")


def model_bytes(model: ModelFile | str | None, target: str) -> bytes:
    """Return a model's file of C for a target of `TARGETS`.

    Another process traces the model, with the kernels of the target.

    Parameters
    ----------
    model : ModelFile or str, optional
        The model, or what names it; see `fcs_edge.load`.
    target : str
        The target.

    Raises
    ------
    FcsError
        The model does not stream, or this installation has no library for the target.
    """
    found = model if isinstance(model, ModelFile) else catalogue.find(model)
    check_model(found)
    library = libraries.find(target)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / MODEL
        record = library.folder / libraries.RECORD
        _trace(found, targets.named(target).using.name, record, out)
        return out.read_bytes()


def export(
    model: ModelFile,
    out: Path,
    target: str,
    *,
    weights_inside: bool = False,
    single: bool = False,
    force: bool = False,
) -> Export:
    """Write an export.

    Parameters
    ----------
    model : ModelFile
        The model.
    out : Path
        The folder to write, which appears whole.
    target : str
        One of `TARGETS`.
    weights_inside : bool
        Put the model inside the libraries.
    single : bool
        Of ``wasm``: write one HTML file.
    force : bool
        Whether an earlier export is replaced.

    Raises
    ------
    FcsError
        The model or the target cannot be exported, or the folder cannot be written.
    """
    check_model(model)
    check_folder(out, force)
    library = libraries.find(target)
    data = model_bytes(model, target)
    if target == WASM:
        files = _page(library, data, single)
    else:
        files = _library(library, data, weights_inside)
    with naming(out, always=True):
        _write(out, files, force)
    return Export(target, {name: len(content) for name, content in files.items()})


def check_folder(out: Path, force: bool) -> None:
    """Refuse a folder that cannot be written or replaced.

    Raises
    ------
    FcsError
        It exists, or holds other files than an export has, or its parent does not exist.
    """
    if not out.absolute().parent.is_dir():
        raise FcsError(f"{out.parent}: no such folder")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise FcsError(f"{out}: is no folder; give the name of a new one")
    if not out.exists():
        return
    if out.samefile(Path.cwd()):
        raise FcsError(f"{out}: is the current folder; give the name of a new one")
    names = {path.name for path in out.iterdir()}
    if others := sorted(names - _NAMES):
        raise FcsError(f"{out}: has {others[0]}, which is of no export; give another folder")
    if names and not force:
        raise FcsError(f"{out}: exists already; --force overwrites it")


def _library(library: Library, model: bytes, inside: bool) -> dict[str, bytes]:
    """Return the files of a C library by name."""
    files = {name: library.read(name) for name in _LIBRARIES}
    files |= {name: (libraries.NATIVE / name).read_bytes() for name in _SOURCES}
    if inside:
        files["libfcs.a"] = archive_with_model(files["libfcs.a"], model)
        files["libfcs.so"] = library_with_model(files["libfcs.so"], model)
    else:
        files[MODEL] = model
    return files


def _page(library: Library, model: bytes, single: bool) -> dict[str, bytes]:
    """Return the files of a page by name."""
    module, relaxed = (library.read(name) for name in page_files.MODULES)
    if single:
        return {_PAGE: page_files.one_file(module, relaxed, model)}
    return page_files.folder(module, relaxed, model)


def _write(out: Path, files: dict[str, bytes], force: bool) -> None:
    """Write a folder of files under a hidden name, then give it its own."""
    parent = out.absolute().parent
    with _hidden_folder(parent, out.name) as created:
        for name, content in files.items():
            with open(created / name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if force and out.exists():
            with _hidden_folder(parent, out.name) as former:
                former.rmdir()
                out.rename(former)
                try:
                    created.rename(out)
                except BaseException:
                    former.rename(out)
                    raise
        else:
            created.rename(out)


@contextmanager
def _hidden_folder(parent: Path, name: str) -> Iterator[Path]:
    """Yield a new folder of a hidden name; it is removed at the end, where it still is there."""
    folder = parent / f".{name[:40]}-{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _trace(model: ModelFile, using: str, record: Path, out: Path) -> None:
    """Trace a model in a process of its own, whose kernels are those of a record."""
    # The current folder takes no part: a file random.py in it would be imported.
    code = (
        "import sys; sys.path[:] = [path for path in sys.path if path]; "
        "from fcs_edge.export.trace import main; main(sys.argv[1:])"
    )
    arguments = catalogue.reference(model), str(model.activation_bits), str(record), str(out)
    environment = {**os.environ, instructions.TRACE: str(record), instructions.VARIABLE: using}
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    if ended.returncode:
        lines = ended.stderr.decode(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else f"the process ended with {ended.returncode}"
        raise FcsError(f"{model.name} cannot be traced: {reason}")
