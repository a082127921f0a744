"""16-bit mono WAV files that are written before their length is known; RF64 beyond 4 GB."""

from __future__ import annotations

import io
import struct
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fcs_edge.model.layers import F32

MAX_SIZE = 0xFFFFFFFF
"""The largest size that a WAV header can state; it stands for an unknown length."""

_FILE_HEADER_BYTES = 80
"""Of a file: the 44 bytes of any WAV, and a chunk of 36 that holds the sizes of an RF64."""


def header(rate: int, riff_bytes: int, data_bytes: int) -> bytes:
    """Return the 44 bytes before the samples; each size counts the bytes after its own field."""
    return _riff(b"RIFF", riff_bytes) + _format_and_data(rate, data_bytes)


def file_header(rate: int, data_bytes: int, limit: int = MAX_SIZE) -> bytes:
    """Return the 80 bytes before the samples of a file: WAV, or RF64 where WAV cannot count them.

    A chunk named JUNK, which readers skip, holds the place of the long sizes (EBU Tech 3306).

    Parameters
    ----------
    rate : int
        Hz.
    data_bytes : int
        Size of the samples.
    limit : int
        The largest size that a WAV may state, for tests.
    """
    riff_bytes = _FILE_HEADER_BYTES - 8 + data_bytes
    if riff_bytes < limit:
        reserved = struct.pack("<4sI28x", b"JUNK", 28)
        return _riff(b"RIFF", riff_bytes) + reserved + _format_and_data(rate, data_bytes)
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, riff_bytes, data_bytes, data_bytes // 2, 0)
    return _riff(b"RF64", MAX_SIZE) + sizes + _format_and_data(rate, MAX_SIZE)


class WavWriter:
    """A 16-bit mono WAV file of any length.

    Parameters
    ----------
    file : binary file
        The output: it can seek, and stays open.
    rate : int
        Hz.
    limit : int
        See `file_header`.
    """

    def __init__(self, file: BinaryIO, rate: int, *, limit: int = MAX_SIZE) -> None:
        self._file, self._rate, self._limit = file, rate, limit
        self._start = file.tell()
        self._data_bytes = 0
        file.write(file_header(rate, 0, limit))

    def write(self, pcm: NDArray[Any]) -> None:
        """Append samples, (n,) int16."""
        data = pcm.astype("<i2").tobytes()
        self._file.write(data)
        self._data_bytes += len(data)

    def finish(self) -> None:
        """Write the header that counts all samples so far, and flush.

        More samples may follow. Where this is called after each of them, the file is intact
        however the program ends.
        """
        self._file.flush()
        self._file.seek(self._start)
        self._file.write(file_header(self._rate, self._data_bytes, self._limit))
        self._file.seek(0, io.SEEK_END)
        self._file.flush()


def to_pcm16(samples: F32) -> F32:
    """Return (n,) float32 in [-1, 1] as integers from -32767 to 32767, in float32."""
    rounded: F32 = np.rint(np.clip(samples, -1, 1) * np.float32(32767))
    return rounded


def to_file_pcm16(samples: F32) -> NDArray[np.int16]:
    """Return (n,) float32 as int16, as libsndfile stores them: 16 upper bits of the 32-bit value.

    A sound has the same samples in each lossless format of a file.
    """
    scaled = np.rint(samples.astype(np.float64) * 2.0**31)
    limited = np.clip(scaled, -(2.0**31), 2.0**31 - 1).astype(np.int32)
    return (limited >> 16).astype(np.int16)


def _riff(kind: bytes, size: int) -> bytes:
    return struct.pack("<4sI4s", kind, size, b"WAVE")


def _format_and_data(rate: int, data_bytes: int) -> bytes:
    return struct.pack(
        "<4sIHHIIHH4sI", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", data_bytes
    )
