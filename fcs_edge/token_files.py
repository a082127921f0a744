"""Tokens in files: the header of a bitstream, and bare ``.npy`` files in blocks."""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fcs_edge.bitstream.bitpack import MAX_BITS
from fcs_edge.bitstream.writer import MAX_BLOCK_TOKENS, Header
from fcs_edge.codec import Codec
from fcs_edge.errors import FcsError, parsing, shown
from fcs_edge.files import is_regular
from fcs_edge.model.layers import U16
from fcs_edge.stand_ins import HEAD_BYTES, stand_in

FILE_BLOCK_SECONDS = 12.0
"""Sound in a block of a file: a small loss, and an overhead of less than 2 %."""

LIVE_BLOCK_SECONDS = 1.0
"""Sound in a block of a live stream: a late listener waits for the next one."""

_BLOCK = 4096


def header_of(codec: Codec, block_seconds: float, *, live: bool = False) -> Header:
    """Return the header of a codec's bitstreams; a block holds full chunks.

    A live stream stores tokens in more bits where that ends each chunk on a byte: 12 for tokens
    of 11. Then no chunk waits for bits of the next one.
    """
    widths = range(codec.bits_per_token, MAX_BITS + 1)
    bits = next(w for w in widths if not live or w * codec.chunk_tokens % 8 == 0)
    chunks = round(block_seconds * codec.token_rate / codec.chunk_tokens)
    max_chunks = MAX_BLOCK_TOKENS // codec.chunk_tokens
    return Header(
        bits=bits,
        samples_per_token=codec.samples_per_token,
        input_rate=codec.sample_rate_in,
        output_rate=codec.sample_rate_out,
        fingerprint=codec.fingerprint,
        block_tokens=min(max(chunks, 1), max_chunks) * codec.chunk_tokens,
    )


class NpyWriter:
    """Writes an array whose length is unknown until the end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._n = 0
        file.write(_header(0))

    def write(self, tokens: U16) -> None:
        """Append tokens, (n,) uint16."""
        self._file.write(tokens.astype("<u2").tobytes())
        self._n += tokens.size

    def close(self, n_samples: int, tokens: U16 | None = None) -> None:
        """Write the last tokens, and the length into the header; the file stays open.

        `n_samples` is not stored.
        """
        if tokens is not None:
            self.write(tokens)
        self._file.seek(0)
        self._file.write(_header(self._n))
        self._file.seek(0, io.SEEK_END)
        self._file.flush()


def _header(n: int) -> bytes:
    """Return an .npy header; NumPy pads it to the same size for each length."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<u2", "fortran_order": False, "shape": (n,)}
    )
    return buffer.getvalue()


def read_npy(path: Path) -> Iterator[NDArray[np.integer]]:
    """Yield the tokens of an .npy file in blocks, (n,) integers each.

    The array has one long axis: shapes (n,), (1, n) and (n, 1) hold the same tokens. It may come
    from a pipe.

    Raises
    ------
    FcsError
        The file is no .npy file of integers along one axis, or it ends early. A file on disk is
        checked whole before the first block.
    """
    with parsing(path, FcsError, "not a readable .npy file"), path.open("rb") as file:
        n, dtype = _npy_header(path, file)
        if is_regular(file):
            _check_size(path, n, (os.fstat(file.fileno()).st_size - file.tell()) // dtype.itemsize)
        for start in range(0, n, _BLOCK):
            size = min(_BLOCK, n - start)
            data = file.read(size * dtype.itemsize)
            _check_size(path, n, start + len(data) // dtype.itemsize, start + size)
            yield np.frombuffer(data, dtype)


def _check_size(path: Path, n: int, present: int, least: int | None = None) -> None:
    if present < (n if least is None else least):
        raise FcsError(f"{path}: cut: its header states {n:,} tokens, and it holds {present:,}")


def _npy_header(path: Path, file: BinaryIO) -> tuple[int, np.dtype[Any]]:
    """Return the number of tokens and their dtype; the file is then at the first of them."""
    head = file.peek(HEAD_BYTES) if isinstance(file, io.BufferedReader) else b""
    if what := stand_in(head, "tokens"):
        raise FcsError(f"{path}: {what}")
    # NumPy warns about headers that it mends or that name a dtype in an outdated way.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise FcsError(f"{path}: .npy version {version[0]} is for named fields, not for tokens")
    n = max(shape, default=0)
    # A shape of True or of negative numbers passes NumPy's own check.
    row = shape and all(type(axis) is int and axis in (1, n) for axis in shape)
    if dtype.kind not in "iu" or not row or n < 0 or math.prod(shape) != n:
        raise FcsError(
            f"{path}: holds {shown(dtype, 60)} of shape {shown(shape, 60)}; "
            "tokens are integers along one axis"
        )
    return n, dtype
