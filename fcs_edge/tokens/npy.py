"""Tokens in files: what all writers have, and bare ``.npy`` files in blocks."""

from __future__ import annotations

import io
import math
import os
import shutil
import tempfile
import tokenize
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fcs_edge.errors import FcsError, parsing, shown
from fcs_edge.files import is_regular
from fcs_edge.model.layers import U16
from fcs_edge.stand_ins import HEAD_BYTES, stand_in

TOKEN_DTYPES: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "int64": np.dtype("<i8")}
"""How an array of tokens is written; int64 is what PyTorch computes with."""

_BLOCK = 4096
_EXPECTED = "not a readable .npy file"
_SPOOL_BYTES = 1 << 20


class TokenWriter(Protocol):
    """An output of tokens."""

    def write(self, tokens: U16) -> None:
        """Append tokens, (n,) uint16."""

    def close(self, n_samples: int, tokens: U16 | None = None) -> None:
        """Write the last tokens, and the number of input samples that all tokens represent."""


class TokenArray(NamedTuple):
    """An array of tokens that is being read."""

    n_tokens: int
    dtype: np.dtype[Any]
    """As stored: any integers."""
    blocks: Iterator[NDArray[np.integer]]
    """The tokens, (n,) at a time."""


class NpyWriter:
    """Writes an array whose length is unknown until the end, in constant memory.

    Parameters
    ----------
    file : binary file
        The output. Where it cannot seek, the tokens wait in a temporary file for their number.
    dtype : str
        One of `TOKEN_DTYPES`.
    """

    def __init__(self, file: BinaryIO, dtype: str = "uint16") -> None:
        self._file = file
        self._dtype = TOKEN_DTYPES[dtype]
        self._n = 0
        self._spool = None if file.seekable() else Spool()
        if self._spool is None:
            file.write(npy_header(self._dtype, 0))

    def write(self, tokens: U16) -> None:
        """Append tokens, (n,) uint16."""
        (self._spool or self._file).write(tokens.astype(self._dtype).tobytes())
        self._n += tokens.size

    def close(self, n_samples: int, tokens: U16 | None = None) -> None:
        """Write the last tokens, and the length into the header; the file stays open.

        `n_samples` is not stored.
        """
        if tokens is not None:
            self.write(tokens)
        header = npy_header(self._dtype, self._n)
        if self._spool is None:
            self._file.seek(0)
            self._file.write(header)
            self._file.seek(0, io.SEEK_END)
        else:
            self._file.write(header)
            self._spool.copy_to(self._file)
        self._file.flush()


class Spool:
    """Bytes that wait for their number: small ones in memory, others in a temporary file.

    The file has no name, so nothing remains of it however the process ends.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_SPOOL_BYTES)  # noqa: SIM115

    def __del__(self) -> None:
        """Remove the file, also where its writer ended by an error."""
        with suppress(OSError):
            self._file.close()

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises
        ------
        FcsError
            The folder of temporary files is full or read-only.
        """
        try:
            self._file.write(data)
        except OSError as error:
            folder = os.environ.get("TMPDIR", "/tmp")
            raise FcsError(
                f"{folder}: {error.strerror}; TMPDIR names another folder of temporary files"
            ) from error

    def copy_to(self, file: IO[bytes]) -> None:
        """Write all bytes to an output."""
        self._file.seek(0)
        shutil.copyfileobj(self._file, file)


def npy_header(dtype: np.dtype[Any], n: int) -> bytes:
    """Return the header of an (n,) .npy file; NumPy pads it to the same size for each n."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": dtype.str, "fortran_order": False, "shape": (n,)}
    )
    return buffer.getvalue()


@contextmanager
def open_npy(path: Path) -> Iterator[TokenArray]:
    """Open an .npy file of tokens; it may come from a pipe.

    The array has one long axis: shapes (n,), (1, n) and (n, 1) hold the same tokens.

    Raises
    ------
    FcsError
        The file is no .npy file of integers along one axis, or it ends early. A file on disk is
        checked whole before the first block.
    """
    with ExitStack() as stack:
        with parsing(path, FcsError, _EXPECTED):
            file = stack.enter_context(path.open("rb"))
            n_bytes = os.fstat(file.fileno()).st_size if is_regular(file) else None
        yield read_array(path, file, n_bytes)


def read_array(path: Path, file: IO[bytes], n_bytes: int | None) -> TokenArray:
    """Read the header of an array in .npy format; its tokens are read block by block.

    Parameters
    ----------
    path : Path
        The name for messages.
    file : binary file
        The array, from its first byte on.
    n_bytes : int or None
        Size of the array with its header, where it is known.
    """
    with parsing(path, FcsError, _EXPECTED):
        n, dtype = _token_header(path, file)
        if n_bytes is not None:
            _check_size(path, n, (n_bytes - file.tell()) // dtype.itemsize)
    return TokenArray(n, dtype, _blocks(path, file, n, dtype))


def _blocks(
    path: Path, file: IO[bytes], n: int, dtype: np.dtype[Any]
) -> Iterator[NDArray[np.integer]]:
    with parsing(path, FcsError, _EXPECTED):
        for start in range(0, n, _BLOCK):
            size = min(_BLOCK, n - start)
            data = file.read(size * dtype.itemsize)
            _check_size(path, n, start + len(data) // dtype.itemsize, start + size)
            yield np.frombuffer(data, dtype)


def tokens_of(array: TokenArray, bits: int, label: str) -> Iterator[U16]:
    """Yield the tokens of an array, (n,) uint16 at a time, each checked.

    Parameters
    ----------
    array : TokenArray
        The array.
    bits : int
        Bits per token of the model; 16 where it is not known.
    label : str
        The array's name, for messages.

    Raises
    ------
    FcsError
        The model does not have a token.
    """
    highest = (1 << bits) - 1
    for tokens in array.blocks:
        wrong = tokens[(tokens < 0) | (tokens > highest)]
        if wrong.size:
            raise FcsError(f"{label}: holds the token {wrong[0]}; the model's are 0 to {highest}")
        yield tokens.astype(np.uint16)


def _check_size(path: Path, n: int, present: int, least: int | None = None) -> None:
    if present < (n if least is None else least):
        raise FcsError(f"{path}: cut: its header states {n:,} tokens, and it holds {present:,}")


def _token_header(path: Path, file: IO[bytes]) -> tuple[int, np.dtype[Any]]:
    """Return the number of tokens and their dtype; the file is then at the first of them."""
    head = file.peek(HEAD_BYTES) if isinstance(file, io.BufferedReader) else b""
    if what := stand_in(head, "tokens"):
        raise FcsError(f"{path}: {what}")
    shape, dtype = array_header(path, file)
    n = max(shape, default=0)
    # A shape of True or of negative numbers passes NumPy's own check.
    row = shape and all(type(axis) is int and axis in (1, n) for axis in shape)
    if dtype.kind not in "iu" or not row or n < 0 or math.prod(shape) != n:
        raise FcsError(
            f"{path}: holds {shown(dtype, 60)} of shape {shown(shape, 60)}; "
            "tokens are integers along one axis"
        )
    return n, dtype


@contextmanager
def _readable_error(path: Path) -> Iterator[None]:
    """Replace an error whose text is a tuple of the tokenizer's."""
    try:
        yield
    except tokenize.TokenError as error:
        raise FcsError(f"{path}: {_EXPECTED} (its header is damaged)") from error


def array_header(path: Path, file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return what the header of an array states, unchecked: its shape and its dtype."""
    # NumPy warns about headers that it mends or that name a dtype in an outdated way.
    with warnings.catch_warnings(), _readable_error(path):
        warnings.simplefilter("ignore")
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise FcsError(f"{path}: .npy version {version[0]} is for named fields, not for tokens")
    return shape, dtype
