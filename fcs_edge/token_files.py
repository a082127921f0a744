"""Tokens in files: the header of a bitstream, and bare ``.npy`` files in blocks."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fcs_edge.bitstream.bitpack import MAX_BITS
from fcs_edge.bitstream.writer import MAX_BLOCK_TOKENS, Header
from fcs_edge.codec import Codec
from fcs_edge.errors import FcsError
from fcs_edge.model.layers import U16

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
    """Yield the tokens of an .npy file in blocks.

    Raises
    ------
    FcsError
        The file is no .npy file of integers in one dimension.
    """
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise FcsError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError) as error:
        raise FcsError(f"{path}: not a readable .npy file ({error})") from None
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise FcsError(f"{path}: does not hold integer tokens in one dimension")
    for start in range(0, array.size, _BLOCK):
        yield array[start : start + _BLOCK]
