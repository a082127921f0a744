"""Files as items of a corpus: their paths, ids, sizes and faults."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, BinaryIO

from fcs_edge.audio import regular_files
from fcs_edge.corpus.items import Item
from fcs_edge.errors import CorpusError, reason
from fcs_edge.text import printable

SOUND_SUFFIXES = frozenset(
    [
        *("wav", "wave", "flac", "mp3", "mp2", "ogg", "oga", "opus", "spx", "aiff", "aif", "aifc"),
        *("au", "snd", "w64", "rf64", "caf", "sph", "nist", "voc", "avr", "svx"),
        # These are not read. Each such file is a row whose error names its format.
        *("m4a", "aac", "wma", "amr", "awb", "ac3", "ape", "wv", "tta", "mpc", "dsf", "dff"),
    ]
)
"""Suffixes of sound, without the dot."""


def is_sound(name: str) -> bool:
    """Return whether a name has a suffix of sound, in upper or lower case."""
    return name.rpartition(".")[2].lower() in SOUND_SUFFIXES and "." in name


def is_address(path: str) -> bool:
    """Return whether a path is an address, as of an object store: it stays as it is."""
    return "://" in path and not path.startswith("/")


def absolute(path: str, folder: str | None = None) -> str:
    """Return an absolute path, of a path relative to a folder or to the current one.

    Links stay in it, except where ``..`` follows: there only the real folder leads to the file.
    """
    if is_address(path):
        return path
    joined = os.path.join(folder or os.getcwd(), path)
    if ".." not in joined:
        return os.path.normpath(joined)
    parent, name = os.path.split(joined)
    if name in ("", ".", ".."):
        return os.path.realpath(joined)
    return os.path.join(_real(parent), name) if "/../" in f"{parent}/" else os.path.normpath(joined)


@lru_cache(maxsize=1024)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


class Naming:
    """The ids of files: their paths below a folder.

    Parameters
    ----------
    base : str
        The absolute path of the folder that an input has its ids from.
    root : str or None
        The absolute path of the folder that the user gave instead.
    """

    def __init__(self, base: str, root: str | None = None) -> None:
        self.base, self.root = root or base, root

    def id(self, path: str) -> str:
        """Return the id of an absolute path: a file beside the base has no ``..`` in its id.

        Raises
        ------
        CorpusError
            The path does not lie below the root that the user gave.
        """
        below = self.base if self.base.endswith("/") else f"{self.base}/"
        if path.startswith(below):
            return printable(path[len(below) :])
        if is_address(path):
            return printable(path)
        if self.root is not None:
            raise CorpusError(
                f"{printable(path)}: is not below {printable(self.root)}, which --root names"
            )
        parts = os.path.relpath(path, self.base).split("/")
        return printable("/".join(part for part in parts if part != "..") or path)


def file_item(path: str, id: str, error: str | None = None, **fields: Any) -> Item:
    """Return the item of a file, with its size and time, or with why it cannot be read."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as cause:
        return Item(id, path, error=error or _missing(path, cause), **fields)
    if kind := regular_files.other_kind(status.st_mode):
        return Item(id, path, error=error or kind, **fields)
    return Item(id, path, size=status.st_size, mtime_ns=status.st_mtime_ns, error=error, **fields)


def _missing(path: str, cause: OSError | ValueError) -> str:
    """Return why a file has no status."""
    if not isinstance(cause, OSError):
        return "no file can have this name"
    if not isinstance(cause, FileNotFoundError):
        return fault(cause)
    if os.path.islink(path):
        return "is a link that leads nowhere"
    return "is an address; only files are read" if is_address(path) else "no such file"


def fault(cause: OSError) -> str:
    """Return what the system says of a file, without its name."""
    return cause.strerror.lower() if cause.strerror else reason(cause)


@contextmanager
def open_regular(path: str) -> Iterator[BinaryIO]:
    """Open a file for reading; a pipe or device is refused, and never waited for.

    Raises
    ------
    OSError
        The file cannot be opened, or is none.
    """
    with open(regular_files.open_regular(path), "rb") as file:
        yield file
