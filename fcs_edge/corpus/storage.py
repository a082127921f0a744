"""Where a dataset lies: a folder, or a bucket of an object store."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import unquote, urlsplit

from fcs_edge.corpus.arrow import pyarrow
from fcs_edge.errors import CorpusError, parsing, reason, shown
from fcs_edge.files import creating, remains_in

DATA, STALE = "data", "stale"
"""Folders of the shards, and of those that a later run set aside."""

MIRRORS = ("npz", "fcs")
"""Folders of files that stand beside the table; each has the name of its suffix."""

LOCK = ".lock"
"""The file that a run on a folder holds locked."""

_SHARD = re.compile(r"([0-9a-f]{16})\.parquet")
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
    text = os.fspath(out)
    if not text or "\0" in text:
        raise CorpusError(f"{shown(text)!r} is no name of a folder")
    if not _URI.match(text):
        return Folder(Path(text), create=create)
    if text.lower().startswith("file://"):
        return Folder(Path(unquote(urlsplit(text).path)), create=create)
    fs = pyarrow("pyarrow.fs")
    with parsing(text, CorpusError, "not the URI of a folder that pyarrow can open"):
        files, root = fs.FileSystem.from_uri(text)
        if not root.strip("/"):
            raise ValueError("it names no bucket")
    return ObjectStore(files, root, text.rstrip("/"))


def data_name(shard: str) -> str:
    """Return the name of a shard's file in the dataset."""
    return f"{DATA}/{shard}.parquet"


def shard_names(storage: Storage, folder: str = DATA) -> list[str]:
    """Return the sorted names of the shards in a folder, 16 hexadecimal digits each."""
    names = (_SHARD.fullmatch(name) for name in storage.names(folder))
    return [name[1] for name in names if name]


class Folder:
    """A dataset in a folder of this machine, or of a file system that several machines share.

    Parameters
    ----------
    root : Path
        The folder.
    create : bool
        Whether it is created where it is missing.
    """

    def __init__(self, root: Path, *, create: bool = False) -> None:
        self.location = os.path.abspath(root)
        self._root = Path(self.location)
        with _refusing(self.location):
            if self._root.exists() and not self._root.is_dir():
                end = "; OUT, a new folder, comes last" if create else ""
                raise CorpusError(f"{self.location}: is a file; a dataset is a folder{end}")
            if create:
                self._root.mkdir(parents=True, exist_ok=True)
            if not self._root.is_dir():
                raise CorpusError(f"{self.location}: no such folder")

    def label(self, name: str) -> str:
        """Return a file's path, for messages."""
        return str(self._path(name))

    def names(self, folder: str = "") -> list[str]:
        """Return the sorted names of a folder's own files; hidden ones are left out."""
        path = self._path(folder) if folder else self._root
        if not path.is_dir():
            return []
        with _refusing(str(path)), os.scandir(path) as entries:
            return sorted(e.name for e in entries if e.name[0] != "." and e.is_file())

    def tree(self, folder: str) -> Iterator[str]:
        """Yield the names of all files below a folder, in the dataset."""
        for parent, folders, names in os.walk(self._path(folder)):
            folders.sort()
            below = Path(parent).relative_to(self._root)
            yield from (str(below / name) for name in sorted(names) if name[0] != ".")

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        return self._path(name).is_file()

    def read(self, name: str) -> bytes:
        """Return all bytes of a file."""
        with self.open(name) as file, _refusing(self.label(name)):
            return file.read()

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading; it can seek."""
        path = self._path(name)
        with _refusing(str(path)):
            if path.exists() and not path.is_file():
                raise CorpusError(f"{path}: not a regular file")
            return path.open("rb")

    @contextmanager
    def write(self, name: str) -> Iterator[BinaryIO]:
        """Yield a new file that gets its name, whole, if the block ends without an exception."""
        path = self._path(name)
        with _refusing(str(path)):
            self._create_folders(path.parent)
            with creating(path) as file:
                yield file
            # A mirror's file that the system forgets is missing, and so written again.
            if name.split("/")[0] not in MIRRORS:
                _sync(path.parent)

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        path = self._path(name)
        with _refusing(str(path)):
            path.unlink(missing_ok=True)
        self._remove_empty(name)

    def _remove_empty(self, name: str) -> None:
        """Remove the folder of shards that were set aside with the last of them."""
        if name.split("/")[0] == STALE:
            with suppress(OSError):
                self._path(name).parent.rmdir()

    def move(self, name: str, to: str) -> None:
        """Rename a file; one that is there is replaced."""
        path, target = self._path(name), self._path(to)
        with _refusing(str(path)):
            self._create_folders(target.parent)
            path.replace(target)
            _sync(target.parent)
            _sync(path.parent)
        self._remove_empty(name)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Refuse a second run on the folder while the block runs."""
        path = self._root / LOCK
        with _refusing(str(path)):
            descriptor = self._locked(path)
        try:
            yield
        finally:
            # Removed while it is locked: who opens it meanwhile sees that it has no name.
            with suppress(OSError):
                path.unlink()
            os.close(descriptor)

    def _locked(self, path: Path) -> int:
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                        return descriptor
            except BlockingIOError:
                os.close(descriptor)
                raise CorpusError(
                    f"{self.location}: another run writes to it; wait for its end"
                ) from None
            except OSError as error:
                if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                    return descriptor  # a file system without locks
                os.close(descriptor)
                raise
            os.close(descriptor)

    def clean(self) -> int:
        """Remove what killed writers left and no process holds; return the number of files."""
        count = 0
        for folder in ("", DATA, STALE, *MIRRORS):
            tree = os.walk(self._root / folder) if folder in MIRRORS else [(self._root / folder,)]
            for parent, *_ in tree:
                for path in remains_in(Path(parent)):
                    with _refusing(str(path)):
                        path.unlink(missing_ok=True)
                    count += 1
        return count

    def probe(self) -> None:
        """Write and remove a small hidden file, so that a place that refuses is known early."""
        _probe(self)

    def _path(self, name: str) -> Path:
        return self._root / checked_name(name)

    def _create_folders(self, folder: Path) -> None:
        """Create the folders of a file, but not the dataset's own: it may be a lost mount."""
        if folder.is_dir():
            return
        if not self._root.is_dir():
            raise CorpusError(f"{self.location}: the folder is gone")
        folder.mkdir(parents=True, exist_ok=True)


class ObjectStore:
    """A dataset behind a file system of pyarrow: S3, Google Cloud Storage, HDFS.

    Parameters
    ----------
    files : pyarrow.fs.FileSystem
        The file system.
    root : str
        The dataset's path in it.
    location : str
        The URI.
    """

    def __init__(self, files: Any, root: str, location: str) -> None:
        self.location = location
        self._files, self._root = files, root.rstrip("/")

    def label(self, name: str) -> str:
        """Return a file's URI, for messages."""
        return f"{self.location.partition('?')[0]}/{name}"

    def names(self, folder: str = "") -> list[str]:
        """Return the sorted names of a folder's own files; hidden ones are left out."""
        files = self._listed(folder, recursive=False)
        return sorted(PurePosixPath(name).name for name in files)

    def tree(self, folder: str) -> Iterator[str]:
        """Yield the names of all files below a folder, in the dataset."""
        yield from sorted(self._listed(folder, recursive=True))

    def _listed(self, folder: str, *, recursive: bool) -> Iterator[str]:
        fs = pyarrow("pyarrow.fs")
        path = self._path(folder) if folder else self._root
        with _refusing(self.label(folder)):
            selector = fs.FileSelector(path, allow_not_found=True, recursive=recursive)
            found = self._files.get_file_info(selector)
        for info in found:
            if info.type == fs.FileType.File and not info.base_name.startswith("."):
                yield str(PurePosixPath(info.path).relative_to(self._root))

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        with _refusing(self.label(name)):
            info = self._files.get_file_info(self._path(name))
        return bool(info.type == pyarrow("pyarrow.fs").FileType.File)

    def read(self, name: str) -> bytes:
        """Return all bytes of a file."""
        with self.open(name) as file, _refusing(self.label(name)):
            return file.read()

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading; it can seek."""
        with _refusing(self.label(name)):
            return cast(BinaryIO, self._files.open_input_file(self._path(name)))

    @contextmanager
    def write(self, name: str) -> Iterator[BinaryIO]:
        """Yield a new file; all of it is put at once if the block ends without an exception."""
        path = self._path(name)
        buffer = io.BytesIO()
        yield buffer
        with _refusing(self.label(name)):
            # Object stores have no folders; the others need them.
            self._files.create_dir(str(PurePosixPath(path).parent), recursive=True)
            with self._files.open_output_stream(path) as file:
                file.write(buffer.getbuffer())

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        if self.exists(name):
            with _refusing(self.label(name)):
                self._files.delete_file(self._path(name))

    def move(self, name: str, to: str) -> None:
        """Rename a file; one that is there is replaced."""
        target = self._path(to)
        with _refusing(self.label(name)):
            self._files.create_dir(str(PurePosixPath(target).parent), recursive=True)
            self._files.move(self._path(name), target)

    def lock(self) -> AbstractContextManager[None]:
        """Do nothing: object stores have no locks."""
        return nullcontext()

    def clean(self) -> int:
        """Do nothing: what is not put whole has no name."""
        return 0

    def probe(self) -> None:
        """Write and remove a small hidden file, so that a place that refuses is known early."""
        _probe(self)

    def _path(self, name: str) -> str:
        return f"{self._root}/{checked_name(name)}"


def checked_name(name: str) -> str:
    """Return a file's name in a dataset if it is below its folder.

    Raises
    ------
    CorpusError
        It is absolute, leads elsewhere, or holds a character that no name has.
    """
    parts = name.split("/")
    if "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise CorpusError(f"{shown(name)!r} is no name of a dataset's file")
    return name


def _probe(storage: Storage) -> None:
    name = f"{DATA}/.probe-{secrets.token_hex(4)}"
    try:
        with storage.write(name) as file:
            file.write(b"fcs-edge\n")
    except BaseException:
        # A signal may come as soon as the file has its name.
        with suppress(CorpusError):
            storage.delete(name)
        raise
    storage.delete(name)


@contextmanager
def _refusing(label: str) -> Iterator[None]:
    """Turn what the system refuses into one line that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise CorpusError(f"{label}: no such file") from error
    except OSError as error:
        raise CorpusError(f"{label}: {error.strerror or reason(error)}") from error


def _sync(folder: Path) -> None:
    """Write a folder's names to disk."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
