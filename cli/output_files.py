"""Output files: checked before any work, complete or absent afterwards."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

import click

from fcs_edge.cli.descriptors import is_readable
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.errors import AudioError, FcsError
from fcs_edge.files import creating, named, remains


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
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise AudioError(f"{path}: is a symbolic link that leads to itself; remove it")
    if not target.parent.is_dir():
        raise AudioError(f"{target.parent if out.is_symlink() else out.parent}: no such folder")
    if out.exists() and not force:
        raise AudioError(f"{path}: exists already; --force overwrites it")
    for left in remains(out):
        size = left.stat().st_size
        Messages().warn(f"{left}: {size:,} bytes that a killed run left; delete it")


def check_files(source: str, out: str, force: bool) -> None:
    """Refuse an input that is closed, an output that `check_output` refuses, or one file for both.

    `source` is empty where there is no input file.
    """
    check_input(source)
    check_output(out, force)
    check_distinct([out], [source] if source else [])


def check_input(path: str) -> None:
    """Refuse standard input where it is closed.

    Raises
    ------
    AudioError
        It is closed, or open for writing only.
    """
    if path == "-" and not is_readable(0):
        raise AudioError("standard input: is closed; give a file, or a pipe")


def check_results(json_out: str | None, plot_out: str | None, force: bool) -> None:
    """Refuse the outputs of --json and --plot that cannot be written.

    Raises
    ------
    click.UsageError
        The picture is no PNG, or both are one file.
    FcsError
        Matplotlib is missing, or as in `check_output`.
    """
    if plot_out is not None:
        if Path(plot_out).suffix.lower() != ".png":
            raise click.UsageError("--plot draws a PNG file; its name must end in .png.")
        if find_spec("matplotlib") is None:
            raise FcsError("--plot needs Matplotlib: pip install matplotlib")
        check_output(plot_out, force)
    if json_out is not None and json_out != "-":
        check_output(json_out, force)
    check_distinct([json_out, plot_out])


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
    used = {
        _identity(path, 0): "standard input" if path == "-" else path
        for path in inputs
        if path is not None
    }
    used.pop(None, None)
    for path in outputs:
        identity = None if path is None else _identity(path, 1)
        if path is None or identity is None:
            continue
        name = "standard output" if path == "-" else path
        if identity in used:
            raise click.UsageError(
                f"{name} and {used[identity]} are the same file; give each its own."
            )
        used[identity] = name


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
def output_file(path: str, force: bool = False) -> Iterator[BinaryIO]:
    """Open an output for bytes; it appears complete when the block ends, or not at all.

    ``-`` is standard output. It, a device and a pipe are written to in place.

    Parameters
    ----------
    path : str
        The output.
    force : bool
        Whether an existing file is overwritten. If not, and one appears while the block runs, the
        result gets another name, which the error names.
    """
    if path == "-":
        with _standard_output() as file:
            yield file
    elif is_special(Path(path)):
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
        with named(descriptor, path) as file:
            yield file
    else:
        with creating(Path(path), overwrite=force) as file:
            yield file


class CountedOutput:
    """An output that counts the bytes written to it; it is the file while the block runs.

    Parameters
    ----------
    output : context manager of a binary file
        What `output_file` returns.

    Attributes
    ----------
    n_bytes : int
        Bytes written so far.
    """

    def __init__(self, output: AbstractContextManager[BinaryIO]) -> None:
        self._output = output
        self.n_bytes = 0

    def __enter__(self) -> BinaryIO:
        """Open the output."""
        self._file = self._output.__enter__()
        return cast(BinaryIO, self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """Close the output, which then appears complete or not at all."""
        return self._output.__exit__(kind, error, trace)

    def write(self, data: bytes) -> int:
        """Write all of `data`; return its size."""
        self.n_bytes += memoryview(data).nbytes
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        """Return the file's own attribute."""
        return getattr(self._file, name)


@contextmanager
def _standard_output() -> Iterator[BinaryIO]:
    standard = sys.stdout
    try:
        descriptor = standard.fileno()
    except (OSError, ValueError):
        # A test's object, without a descriptor.
        yield standard.buffer
        return
    standard.flush()
    # With PYTHONUNBUFFERED Python's own is raw, and a signal can shorten a raw write.
    with named(descriptor, "standard output", close=False) as file:
        yield file


def standard(path: str) -> str:
    """Return ``-`` for the names of standard output, and any other path unchanged."""
    names = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
    return "-" if os.path.normpath(path) in names else path


def is_special(path: Path) -> bool:
    """Return whether a path is a device, pipe, socket or descriptor, written to in place."""
    if os.path.normpath(path.parent) in ("/dev/fd", "/proc/self/fd"):
        return path.exists()
    return path.exists() and not path.is_file() and not path.is_dir()
