"""Files that appear complete or not at all."""

from __future__ import annotations

import fcntl
import io
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from fcs_edge.errors import FcsError

_NAME_CHARACTERS = 40


@contextmanager
def creating(path: Path, *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Yield a file for bytes that becomes `path` if the block ends without an exception.

    Until then it has no name, where the file system allows that: nothing remains of it, however
    the process ends. Elsewhere it has a hidden name; a killed process leaves it, and `remains`
    finds it. After any exception, interrupts included, it is removed, and `path` is unchanged.

    Parameters
    ----------
    path : Path
        The file to replace or create. A symbolic link is followed.
    overwrite : bool
        Whether a file that exists is replaced. If not, and one appears while the block runs, the
        result gets another name, and nothing is lost.

    Yields
    ------
    binary file
        Open for reading and writing; it can seek. Its errors name `path`.

    Raises
    ------
    FcsError
        A file appeared at `path` meanwhile; the message names where the result is. Or `path` is a
        device or pipe, which renaming would replace.
    OSError
        The file cannot be written: its folder is missing or read-only, the disk is full.
    """
    with _opened(path, overwrite) as (file, _):
        yield file


@contextmanager
def replacing(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a path to write to, for writers that open a file themselves; see `creating`.

    Yields
    ------
    Path
        Leads to an empty file. It may lie in ``/proc``: nothing can be renamed to it, and no other
        process can open it.
    """
    with _opened(path, overwrite) as (_, temporary):
        yield temporary


@contextmanager
def _opened(path: Path, overwrite: bool) -> Iterator[tuple[BinaryIO, Path]]:
    """Open a new file; at the end of the block, write it to disk and give it its name."""
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file() and not target.is_dir():
        raise FcsError(f"{path}: is a device or pipe, and this output needs a file")
    descriptor = _unnamed(target)
    hidden = _hidden(target) if descriptor is None else None
    try:
        if descriptor is None:
            assert hidden is not None
            with naming(path, always=True):
                descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        # An unnamed one may get a hidden name, too, before it replaces a file.
        _lock(descriptor)
        mode = _mode_of(target, descriptor)
        with io.BufferedRandom(_NamedFile(descriptor, "w+", path)) as file:
            yield file, hidden or Path(f"/proc/self/fd/{descriptor}")
            with naming(path, always=True):
                file.flush()
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
                if hidden is None:
                    _name(descriptor, target, overwrite)
                else:
                    _rename(hidden, target, overwrite)
    finally:
        if hidden is not None:
            hidden.unlink(missing_ok=True)


def remains(path: Path) -> list[Path]:
    """Return the hidden files that killed processes left of an output; no process writes them."""
    target = Path(os.path.realpath(path))
    stem, suffix = re.escape(target.stem[:_NAME_CHARACTERS]), re.escape(target.suffix)
    return _remains(target.parent, re.compile(rf"\.{stem}-[0-9a-f]{{8}}{suffix}"))


def remains_in(folder: Path) -> list[Path]:
    """Return the hidden files that killed processes left in a folder; no process writes them."""
    return _remains(folder, re.compile(r"\..+-[0-9a-f]{8}(\.[^.]*)?", re.DOTALL))


def _remains(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    try:
        names = sorted(name for name in os.listdir(folder) if pattern.fullmatch(name))
    except OSError:
        return []
    return [folder / name for name in names if _is_abandoned(folder / name)]


def _is_abandoned(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return path.is_file()


@contextmanager
def naming(path: str | os.PathLike[str], *, always: bool = False) -> Iterator[None]:
    """Name a file in the errors of the block that name none.

    Parameters
    ----------
    path : str or path-like
        The name that a user knows the file by.
    always : bool
        Whether it takes the place of another name, that of a temporary file.

    Raises
    ------
    OSError
        As the block raises it, with a file name.
    FcsError
        For an error that is not specific to files: memory, nesting, an early end.
    """
    label = os.fspath(path)
    try:
        yield
    except OSError as error:
        if error.strerror is None:
            raise FcsError(f"{label}: {error}") from error
        if error.filename is None or always:
            error.filename = label
        raise
    except MemoryError as error:
        raise FcsError(f"{label}: out of memory") from error
    except EOFError as error:
        raise FcsError(f"{label}: ends too early") from error
    except RecursionError as error:
        raise FcsError(f"{label}: is nested too deeply") from error


def named(descriptor: int, path: str | os.PathLike[str], *, close: bool = True) -> BinaryIO:
    """Return a buffered file for writing whose errors name the path that a user gave.

    Parameters
    ----------
    descriptor : int
        The open file.
    path : str or path-like
        The name that a user knows it by.
    close : bool
        Whether closing the file closes the descriptor.
    """
    return io.BufferedWriter(_NamedFile(descriptor, "w", path, close))


def label_of(file: BinaryIO) -> str:
    """Return the name that a user knows a file by."""
    raw = getattr(file, "raw", None)
    return os.fspath(raw.path) if isinstance(raw, _NamedFile) else "the output"


class _NamedFile(io.FileIO):
    """A file whose errors name the path that a user gave."""

    def __init__(
        self, descriptor: int, mode: str, path: str | os.PathLike[str], close: bool = True
    ) -> None:
        super().__init__(descriptor, mode, closefd=close)
        self.path = path

    def write(self, data: Any) -> int:
        """Write bytes."""
        with naming(self.path):
            return super().write(data)

    def close(self) -> None:
        """Close the descriptor."""
        with naming(self.path):
            super().close()


class DiscardingFile(io.FileIO):
    """A file that takes what it cannot write, as on a full disk or a closed terminal."""

    def write(self, data: Any) -> int:
        """Write bytes, or discard them; return their number."""
        try:
            return super().write(data) or 0
        except OSError:
            return memoryview(data).nbytes


def _hidden(path: Path) -> Path:
    name = f".{path.stem[:_NAME_CHARACTERS]}-{secrets.token_hex(4)}{path.suffix}"
    return path.with_name(name)


def _unnamed(path: Path) -> int | None:
    """Open a file without a name beside a path; None where there are no such files."""
    if not hasattr(os, "O_TMPFILE"):
        return None
    try:
        descriptor = os.open(path.parent, os.O_TMPFILE | os.O_RDWR, 0o666)
    except OSError:
        return None
    # A name is later linked to its entry in /proc.
    if os.path.exists(f"/proc/self/fd/{descriptor}"):
        return descriptor
    os.close(descriptor)
    return None


def _lock(descriptor: int) -> None:
    """Mark a file as being written; the system removes the mark with the process."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _mode_of(path: Path, descriptor: int) -> int:
    """Return the access of a file that is to be replaced; of a new one where there is none."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)


def _name(descriptor: int, path: Path, overwrite: bool) -> None:
    """Give an unnamed file its name."""
    source = f"/proc/self/fd/{descriptor}"
    with ExitStack() as stack:
        try:
            if not overwrite:
                _link_free(source, path)
                return
            if not path.exists():
                # Another process may create it now: that is replaced.
                with suppress(FileExistsError):
                    _link(source, path)
                    return
            hidden = _hidden(path)
            _link(source, hidden)
        except OSError:
            # The file system has files without a name, and cannot link them.
            hidden = stack.enter_context(_copied(source, path))
        # Only renaming replaces a file.
        try:
            _rename(hidden, path, overwrite)
        finally:
            hidden.unlink(missing_ok=True)


@contextmanager
def _copied(source: str, path: Path) -> Iterator[Path]:
    """Copy a file without a name to a hidden one beside a path, locked while the block runs."""
    hidden = _hidden(path)
    try:
        with open(source, "rb") as file, hidden.open("xb") as copied:
            _lock(copied.fileno())
            shutil.copyfileobj(file, copied)
            copied.flush()
            os.fchmod(copied.fileno(), stat.S_IMODE(os.fstat(file.fileno()).st_mode))
            os.fsync(copied.fileno())
            yield hidden
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise


def _rename(hidden: Path, path: Path, overwrite: bool) -> None:
    """Give a hidden file its final name."""
    if overwrite:
        hidden.replace(path)
        return
    try:
        _link_free(str(hidden), path)
    except OSError:
        # The file system has no hard links.
        _rename_free(hidden, path)


def _link_free(source: str, path: Path) -> None:
    """Link a file to a name that is free: `path`, or else one like it."""
    for name in _names(path):
        with suppress(FileExistsError):
            _link(source, name)
            break
    _report_name(path, name)


def _rename_free(hidden: Path, path: Path) -> None:
    for name in _names(path):
        try:
            # An empty file reserves the name: renaming alone would overwrite.
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            continue
        try:
            hidden.replace(name)
        except BaseException:
            name.unlink()
            raise
        break
    _report_name(path, name)


def _names(path: Path) -> Iterator[Path]:
    yield path
    for number in count(1):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def _report_name(path: Path, name: Path) -> None:
    if name != path:
        raise FcsError(f"{path}: another program created it meanwhile; the result is in {name}")


def _link(source: str, path: Path) -> None:
    """Link a file, named or not, to a name; an existing name is refused."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        # With a folder, Python calls linkat, which follows the link of an unnamed file in /proc.
        os.link(source, path.name, dst_dir_fd=folder)
    finally:
        os.close(folder)


def is_regular(file: BinaryIO) -> bool:
    """Return whether a file is on disk, not a pipe, terminal or device."""
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except OSError:
        return False
