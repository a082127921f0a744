"""Where a dataset lies: a folder, or a bucket of an object store."""

from __future__ import annotations

import fcntl
import io
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import unquote, urlsplit

from fcs_edge.corpus.arrow import pyarrow
from fcs_edge.errors import CorpusError, reason, shown
from fcs_edge.files import abandoned, creating

LOCK = ".lock"
"""The file that a run on a folder holds locked."""

_URI = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


class Storage(Protocol):
    """The files of a dataset, by their names in it: ``data/0123456789abcdef.parquet``.

    All methods raise a CorpusError that names the file where the system refuses.
    """

    location: str
    """The folder's absolute path, or the URI."""

    def label(self, name: str) -> str:
        """Return a file's path or URI, for messages."""

    def names(self, folder: str = "") -> list[str]:
        """Return the sorted names of a folder's own files; hidden ones are left out."""

    def tree(self, folder: str) -> Iterator[str]:
        """Yield the names of all files below a folder, in the dataset."""

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""

    def read(self, name: str) -> bytes:
        """Return all bytes of a file."""

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading; it can seek."""

    def write(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Yield a new file that gets its name, whole, if the block ends without an exception."""

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""

    def move(self, name: str, to: str) -> None:
        """Rename a file; one that is there is replaced."""

    def lock(self) -> AbstractContextManager[None]:
        """Refuse a second run on a folder while the block runs; object stores have no locks."""

    def clean(self) -> int:
        """Remove what killed writers left and no process holds; return the number of files."""

    def probe(self) -> None:
        """Write and remove a small hidden file, so that a place that refuses is known early."""


def open_storage(out: str | os.PathLike[str], *, create: bool = False) -> Storage:
    """Open the place of a dataset.

    Parameters
    ----------
    out : str or path
        A folder, or a URI of an object store: ``s3://bucket/tokens``.
    create : bool
        Whether a folder that is missing is created.

    Raises
    ------
    CorpusError
        There is no such folder, it is a file, or the URI is not valid.
    """
    raise NotImplementedError


def data_name(shard: str) -> str:
    """Return the name of a shard's file in the dataset."""
    return f"data/{shard}.parquet"


def shard_names(storage: Storage, folder: str = "data") -> list[str]:
    """Return the sorted names of the shards in a folder, 16 hexadecimal digits each."""
    raise NotImplementedError
