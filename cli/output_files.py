"""Output files: checked before any work, complete or absent afterwards."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from fcs_edge.errors import AudioError
from fcs_edge.files import replacing


def check_output(path: str, force: bool) -> None:
    """Refuse an output that exists or whose folder does not, before any work.

    Parameters
    ----------
    path : str
        The output; ``-`` is standard output.
    force : bool
        Whether an existing file is overwritten.

    Raises
    ------
    click.UsageError
        The output is a terminal.
    AudioError
        The file exists, or its folder does not.
    """
    out = Path(path)
    if path == "-" and sys.stdout.isatty():
        raise click.UsageError("OUT is -, but standard output is a terminal; use a pipe or a file.")
    if path == "-" or is_special(out):
        return
    if out.is_dir():
        raise AudioError(f"{path}: is a folder; give a file name")
    if not out.parent.is_dir():
        raise AudioError(f"{out.parent}: no such folder")
    if out.exists() and not force:
        raise AudioError(f"{path}: exists already; --force overwrites it")


def check_distinct(outputs: Iterable[str | None], inputs: Iterable[str | None] = ()) -> None:
    """Refuse two outputs that are one file, and an output that is an input, before any work.

    Names are compared by the file that they lead to, so that links count too.

    Parameters
    ----------
    outputs, inputs : iterable of str or None
        Paths; ``-`` is standard output or input, and None is no file.

    Raises
    ------
    click.UsageError
        Two of them are one file.
    """
    used = {_identity(path, 0): path for path in inputs if path is not None}
    used.pop(None, None)
    for path in outputs:
        identity = None if path is None else _identity(path, 1)
        if identity is None:
            continue
        if identity in used:
            raise click.UsageError(
                f"{path} and {used[identity]} are the same file; give each its own."
            )
        used[identity] = str(path)


def _identity(path: str, standard: int) -> tuple[int, int, str] | None:
    """Return what is equal for names of one file; None for a device, which may be used twice."""
    try:
        found = os.fstat(standard) if path == "-" else os.stat(path)
        if stat.S_ISCHR(found.st_mode) or (path == "-" and not stat.S_ISREG(found.st_mode)):
            return None
        return found.st_dev, found.st_ino, ""
    except OSError:
        pass
    target = os.path.realpath(path)
    try:
        folder = os.stat(os.path.dirname(target))
    except OSError:
        return None
    return folder.st_dev, folder.st_ino, os.path.basename(target)


@contextmanager
def output_path(path: str) -> Iterator[Path]:
    """Yield the path to write to: a temporary file, renamed at the end, or a device itself."""
    out = Path(path)
    if is_special(out):
        yield out
        return
    with replacing(out) as temporary:
        yield temporary


@contextmanager
def output_file(path: str) -> Iterator[BinaryIO]:
    """Open an output for bytes; ``-`` is standard output."""
    if path == "-":
        standard = sys.stdout.buffer
        if not isinstance(standard, io.RawIOBase):
            yield standard
            return
        # With PYTHONUNBUFFERED it is raw, and a signal can shorten a raw write.
        with open(standard.fileno(), "wb", closefd=False) as file:
            yield file
        return
    with output_path(path) as temporary, temporary.open("wb") as file:
        yield file


def is_special(path: Path) -> bool:
    """Return whether a path is a device, pipe or socket, which is written to in place."""
    return path.exists() and not path.is_file() and not path.is_dir()
