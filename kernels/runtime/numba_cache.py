"""Numba's files of compiled kernels: any may be damaged, any folder full or read-only.

Numba writes an index (``.nbi``) for each kernel and a data file (``.nbc``) for each type of
arguments. Here a checksum ends each file. A file that does not verify is removed, and its kernel is
compiled again. Kernels are read from each folder that may have them, and written to the first that
takes them. One warning says what is wrong.
"""

from __future__ import annotations

import inspect
import io
import os
import pickle
import sys
import tempfile
import uuid
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from numba.core import config
from numba.core.caching import FunctionCache, IndexDataCacheFile, UserProvidedCacheLocator
from numba.core.compiler import CompileResult
from numba.misc.appdirs import AppDirs

from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.runtime.aot_library import KernelWarning

VARIABLE = "NUMBA_CACHE_DIR"
"""Environment variable: the first folder to use."""
_CRC_BYTES = 4
_PROBE_BYTES = 1 << 20
"""Bytes that a folder must take; the kernels of a model have some more."""


class _DamageError(Exception):
    """A file does not end with its checksum."""


class _State:
    """What this process has found so far."""

    damage_reported = False
    loss_reported = False


class _Files(IndexDataCacheFile):  # type: ignore[misc]
    """The files of a kernel in one folder."""

    def __init__(self, folder: str, base: str, stamp: bytes | None) -> None:
        super().__init__(folder, base, stamp)
        self.folder = folder
        self._stamp = stamp

    def load(self, key: Any) -> Any:
        """Return what was saved for a key, None where there is nothing.

        Raises
        ------
        Exception
            A file is damaged, or cannot be read.
        """
        name = self._load_index().get(key)
        if name is None:
            return None
        try:
            stamp, saved_key, data = self._load_data(name)
        except FileNotFoundError:
            return None
        # Another process may have saved kernels of other sources.
        return data if (stamp, saved_key) == (self._stamp, key) else None

    def save(self, key: Any, data: Any) -> None:
        """Save data for a key."""
        os.makedirs(self.folder, exist_ok=True)
        try:
            names = self._load_index()
        except Exception:
            names = {}
        # Two processes never write different kernels to one file.
        names[key] = self._name(key)
        self._save_data(names[key], (self._stamp, key, data))
        self._save_index(names)

    def discard(self, key: Any) -> None:
        """Remove a key's data, and the index where it is damaged."""
        damaged = [self._data_path(self._name(key))]
        try:
            self._load_index()
        except Exception:
            damaged.append(self._index_path)
        for path in damaged:
            with suppress(OSError):
                os.unlink(path)

    def _name(self, key: Any) -> str:
        return str(self._data_name(int(sha256(str(key).encode()).hexdigest()[:12], 16)))

    def _load_index(self) -> dict[Any, str]:
        try:
            content = io.BytesIO(_read(self._index_path))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        if pickle.load(content) != self._version:
            return {}
        stamp, names = pickle.load(content)
        return names if stamp == self._stamp else {}

    def _load_data(self, name: str) -> Any:
        return pickle.loads(_read(self._data_path(name)))

    @contextmanager
    def _open_for_write(self, path: str) -> Iterator[io.BytesIO]:
        content = io.BytesIO()
        yield content
        data = content.getvalue()
        temporary = f"{path}.tmp.{uuid.uuid4().hex[:16]}"
        try:
            with open(temporary, "xb") as file:
                file.write(data + _checksum(data))
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise


class KernelCache(FunctionCache):  # type: ignore[misc]
    """The compiled kernels of a function, in all folders.

    Parameters
    ----------
    function : callable
        The function that Numba compiles.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        # The class of Numba refuses a function without a writable folder.
        self._name, self._py_func = repr(function), function
        source = inspect.getfile(function)
        stamp = _stamp(source)
        line = function.__code__.co_firstlineno
        name = f"{Path(source).stem}.{function.__qualname__}".replace("<", "").replace(">", "")
        # Numba's own files have no checksum: the suffix tells them apart.
        base = f"{name}-{line}.py{sys.version_info[0]}{sys.version_info[1]}{sys.abiflags}-checked"
        folders = _folders(source) if stamp is not None else []
        self._files = [_Files(folder, base, stamp) for folder in folders]

    @property
    def cache_path(self) -> str | None:
        """The folder that new kernels go to; None where no folder takes them."""
        if _State.loss_reported:
            return None
        return next((files.folder for files in self._files if _takes_files(files.folder)), None)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return a compiled kernel for types of arguments, None where it must be compiled."""
        target_context.refresh()
        key = self._index_key(sig, target_context.codegen())
        for files in self._files:
            try:
                data = files.load(key)
                if data is not None:
                    return CompileResult._rebuild(target_context, *data)
            except MemoryError:
                raise
            except Exception as error:
                files.discard(key)
                _report_damage(files.folder, error)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled kernel in the first folder that takes it."""
        if data.library.has_dynamic_globals:
            return _report_loss(f"{self._py_func.__qualname__} holds an address of this process")
        key = self._index_key(sig, data.codegen)
        reduced = data._reduce()
        errors = []
        for files in self._files:
            try:
                return files.save(key, reduced)
            except OSError as error:
                errors.append(f"{files.folder}: {error.strerror or error}")
        return _report_loss(errors[0] if errors else "their sources are not readable")

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        """Tell kernels whose products and sums are rounded twice from the others."""
        key = super()._index_key(sig, codegen)
        return key if instructions.fuses() else (key, "rounded twice")

    def flush(self) -> None:
        """Do nothing: `make clean-cache` removes the files."""


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(_CRC_BYTES, "little")


def _read(path: str) -> bytes:
    content = Path(path).read_bytes()
    data, checksum = content[:-_CRC_BYTES], content[-_CRC_BYTES:]
    if not data or checksum != _checksum(data):
        raise _DamageError(f"{os.path.basename(path)} does not match its checksum")
    return data


@cache
def _stamp(source: str) -> bytes | None:
    """Return what tells sources from others; None where they are not readable."""
    try:
        return sha256(Path(source).read_bytes()).digest()
    except OSError:
        return None


@cache
def _folders(source: str) -> list[str]:
    """Return where kernels of a source file may be.

    These are the package's folder and the home folder's. The folder that the environment names
    comes first; it is the only one where it can be written.
    """
    subfolder = UserProvidedCacheLocator.get_suitable_cache_subpath(source)
    home = AppDirs(appname="numba", appauthor=False).user_cache_dir
    folders = [os.path.join(os.path.dirname(source), "__pycache__"), os.path.join(home, subfolder)]
    if not config.CACHE_DIR:
        return folders
    named = os.path.join(config.CACHE_DIR, subfolder)
    return [named] if _writable(named) else [named, *folders]


def _writable(folder: str) -> bool:
    """Return whether permissions let a folder be written, or created."""
    path = os.path.abspath(folder)
    # A folder that may not be searched seems to lack what is in it.
    while not os.path.exists(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)


def _takes_files(folder: str) -> bool:
    """Return whether a folder, created where it is missing, takes a file."""
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE_BYTES))
    except OSError:
        return False
    return True


def _report_damage(folder: str, error: Exception) -> None:
    if _State.damage_reported:
        return
    _State.damage_reported = True
    wrong = f"is damaged ({error})"
    if isinstance(error, OSError):
        wrong = f"cannot be read ({error.strerror or error})"
    warnings.warn(
        f"{folder}: the cache of compiled kernels {wrong}; what is missing is compiled again",
        KernelWarning,
        stacklevel=1,
    )


def _report_loss(cause: str) -> None:
    if _State.loss_reported:
        return
    _State.loss_reported = True
    warnings.warn(
        f"compiled kernels cannot be kept ({cause}), so that each start compiles them; set "
        f"{VARIABLE} to a writable folder with some megabytes of room",
        KernelWarning,
        stacklevel=1,
    )
