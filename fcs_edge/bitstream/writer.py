"""The ``.fcs`` bitstream: header, records and writer; see docs/reference/bitstream.md."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fcs_edge.arguments import as_integer
from fcs_edge.bitstream.bitpack import (
    MAX_BITS,
    check_tokens,
    pack_tokens,
    packed_size,
    token_bits,
)
from fcs_edge.bitstream.crc import CRC, crc_holds, with_crc
from fcs_edge.errors import BitstreamError

MAGIC = b"FCS\x1a"
VERSION = 1
HEADER_BYTES = 28

BLOCK_SYNC = 0xB1
BLOCK_HEAD = struct.Struct("<BBH")
"""Sync, sequence and count: the fields before the payload of a block."""
BLOCK_OVERHEAD = 8
"""Bytes of a block besides its payload."""
MAX_BLOCK_TOKENS = 4096

END_SYNC = 0xE5
END_BYTES = 12
MAX_SAMPLES = (1 << 48) - 1

_HEADER = struct.Struct("<4sBBH3s3s8sH")


@dataclass(frozen=True)
class Header:
    """What a decoder must know before the first token.

    Attributes
    ----------
    bits : int
        Bits per token, 1..16.
    samples_per_token : int
        Input samples one token stands for, 1..65535.
    input_rate, output_rate : int
        Sample rates in Hz, 1..2**24 - 1.
    fingerprint : bytes
        8 bytes that identify the tokens' model.
    block_tokens : int
        Tokens in every block but the last, 1..4096.

    Raises
    ------
    TypeError
        If a number is no integer, or the fingerprint not bytes.
    ValueError
        If a field is out of range.
    """

    bits: int
    samples_per_token: int
    input_rate: int
    output_rate: int
    fingerprint: bytes
    block_tokens: int

    def __post_init__(self) -> None:
        """Check the range of every field."""
        limits = {
            "bits": MAX_BITS,
            "samples_per_token": (1 << 16) - 1,
            "input_rate": (1 << 24) - 1,
            "output_rate": (1 << 24) - 1,
            "block_tokens": MAX_BLOCK_TOKENS,
        }
        for name, limit in limits.items():
            value = as_integer(getattr(self, name), name)
            object.__setattr__(self, name, value)
            if not 1 <= value <= limit:
                raise ValueError(f"{name} must be 1..{limit}, not {value}")
        if not isinstance(self.fingerprint, bytes):
            raise TypeError(f"fingerprint must be bytes, not {type(self.fingerprint).__name__}")
        if len(self.fingerprint) != 8:
            raise ValueError(f"fingerprint must be 8 bytes, not {len(self.fingerprint)}")

    def to_bytes(self) -> bytes:
        """Return the header as the 28 bytes that open a file."""
        fields = _HEADER.pack(
            MAGIC,
            VERSION,
            self.bits,
            self.samples_per_token,
            self.input_rate.to_bytes(3, "little"),
            self.output_rate.to_bytes(3, "little"),
            self.fingerprint,
            self.block_tokens,
        )
        return with_crc(fields)

    @classmethod
    def from_bytes(cls, data: bytes) -> Header:
        """Read a header.

        Parameters
        ----------
        data : bytes
            The first 28 bytes of a file; fewer where the file is shorter.

        Returns
        -------
        Header
            The fields.

        Raises
        ------
        BitstreamError
            If this is not the start of a ``.fcs`` file, or of one that cannot be read.
        """
        if not data:
            raise BitstreamError("the input is empty, not an .fcs file")
        if not is_magic(data):
            raise BitstreamError("not an .fcs file: it does not start with 'FCS'")
        if len(data) > len(MAGIC) and data[len(MAGIC)] != VERSION:
            raise BitstreamError(
                f".fcs version {data[len(MAGIC)]} is not supported by this release: update fcs-edge"
            )
        if len(data) < HEADER_BYTES:
            raise BitstreamError(
                f"the .fcs header is cut: {len(data)} bytes where {HEADER_BYTES} are needed"
            )
        if not crc_holds(data[:HEADER_BYTES]):
            raise BitstreamError("the .fcs header is damaged: its CRC does not match")
        return cls._from_fields(*_HEADER.unpack_from(data)[2:])

    @classmethod
    def _from_fields(
        cls, bits: int, samples: int, rate_in: bytes, rate_out: bytes, model: bytes, block: int
    ) -> Header:
        input_rate = int.from_bytes(rate_in, "little")
        output_rate = int.from_bytes(rate_out, "little")
        try:
            return cls(bits, samples, input_rate, output_rate, model, block)
        except ValueError as error:
            raise BitstreamError(f"the .fcs header is not valid: {error}") from error


class BitstreamWriter:
    """Writes a ``.fcs`` file token by token, in constant memory.

    The constructor writes the header. Each block is one ``file.write`` and a flush. With ``eager``
    the head of a block goes out with its first token, and its payload byte by byte. The reader of a
    pipe then need not wait for the end of the block. A file whose writer was never closed
    has all tokens except those of the last, incomplete block.

    Parameters
    ----------
    file : binary file
        The output. Each ``write`` must accept all of its bytes, as buffered files do. The writer
        flushes the file but never closes it.
    header : Header
        The header.
    eager : bool, optional
        Write payload bytes as soon as they are complete. If the stream ends inside a block, zero
        tokens fill the rest of that block.
    """

    def __init__(self, file: BinaryIO, header: Header, *, eager: bool = False) -> None:
        self.header = header
        self._file = file
        self._eager = eager
        self._closed = False
        self._sequence = 0
        self._n_tokens = 0
        self._filled = 0
        self._block = np.zeros(0 if eager else header.block_tokens, np.uint16)
        self._crc = 0
        self._pending = np.zeros(0, np.uint8)
        self._file.write(header.to_bytes())
        self._file.flush()

    @property
    def n_tokens(self) -> int:
        """Number of tokens passed to `write` so far."""
        return self._n_tokens

    def write(self, tokens: NDArray[np.integer[Any]]) -> None:
        """Append tokens.

        Parameters
        ----------
        tokens : (n,) ndarray of uint16
            Any number of tokens, 0 included, each in 0..2**bits - 1. Other integer dtypes are
            accepted.

        Raises
        ------
        ValueError
            If the writer is closed, or a token does not fit; then none of them is written.
        """
        self._check_open()
        array = check_tokens(tokens, self.header.bits)
        for data in self._added(array):
            self._file.write(data)
        if self._eager and array.size:
            self._file.flush()

    def close(self, n_samples: int, tokens: NDArray[np.integer[Any]] | None = None) -> None:
        """Write the last tokens, their block and the end record; the file stays open.

        Parameters
        ----------
        n_samples : int
            Exact number of input samples, at most what the tokens stand for.
        tokens : (n,) ndarray of uint16, optional
            The last tokens, as for `write`. The tokens of a partial last chunk belong here. With
            ``eager`` they go out in one write with the end record, so that a player knows their
            exact length.

        Raises
        ------
        TypeError
            If ``n_samples`` is no integer; then nothing is written.
        ValueError
            If the writer is closed, ``n_samples`` is out of range, or a token does not fit; then
            nothing is written.
        """
        self._check_open()
        n_samples = as_integer(n_samples, "n_samples")
        last = check_tokens(np.zeros(0, np.uint16) if tokens is None else tokens, self.header.bits)
        covered = min((self._n_tokens + last.size) * self.header.samples_per_token, MAX_SAMPLES)
        if not 0 <= n_samples <= covered:
            raise ValueError(f"n_samples must be 0..{covered}, not {n_samples}")
        data = b"".join(self._added(last))
        if self._filled and self._eager:
            # In one write: a player must see the end record before it plays the filler.
            data += self._streamed(np.zeros(self.header.block_tokens - self._filled, np.uint16))
        elif self._filled:
            self._write_block()
        self._file.write(data + with_crc(bytes([END_SYNC, 0]) + n_samples.to_bytes(6, "little")))
        self._file.flush()
        self._closed = True

    def _added(self, tokens: NDArray[np.uint16]) -> Iterator[bytes]:
        """Take tokens; yield the bytes to write now, block by block, if ``eager``."""
        start = 0
        while start < tokens.size:
            stop = start + self.header.block_tokens - self._filled
            if self._eager:
                yield self._streamed(tokens[start:stop])
            else:
                self._buffer(tokens[start:stop])
            start = stop
        self._n_tokens += tokens.size

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the bitstream is closed")

    def _buffer(self, tokens: NDArray[np.uint16]) -> None:
        self._block[self._filled : self._filled + tokens.size] = tokens
        self._filled += tokens.size
        if self._filled == self.header.block_tokens:
            self._write_block()

    def _write_block(self) -> None:
        payload = pack_tokens(self._block[: self._filled], self.header.bits)
        self._file.write(with_crc(self._block_head(self._filled) + payload))
        self._file.flush()
        self._next_block()

    def _streamed(self, tokens: NDArray[np.uint16]) -> bytes:
        """Add tokens to the block at hand; return the bytes that are complete now."""
        data = b"" if self._filled else self._block_head(self.header.block_tokens)
        self._filled += tokens.size
        full = self._filled == self.header.block_tokens
        ones = np.concatenate((self._pending, token_bits(tokens, self.header.bits)))
        n_bits = ones.size if full else ones.size // 8 * 8
        self._pending = ones[n_bits:].copy()
        data += np.packbits(ones[:n_bits]).tobytes()
        self._crc = zlib.crc32(data, self._crc)
        if full:
            data += CRC.pack(self._crc)
            self._next_block()
        return data

    def _block_head(self, count: int) -> bytes:
        return BLOCK_HEAD.pack(BLOCK_SYNC, self._sequence, count)

    def _next_block(self) -> None:
        self._sequence = (self._sequence + 1) % 256
        self._filled = 0
        self._crc = 0


def is_magic(data: bytes | bytearray) -> bool:
    """Return whether ``data`` matches the start of a ``.fcs`` file, as far as it goes."""
    return data[: len(MAGIC)] == MAGIC[: len(data)]


def block_size(count: int, bits: int) -> int:
    """Return the bytes of a block of ``count`` tokens of ``bits`` bits, its CRC included."""
    return BLOCK_OVERHEAD + packed_size(count, bits)


def record_size(header: Header, sync: int, second: int, count: int) -> int:
    """Return the size of the record with these first fields, or 0 if they are invalid."""
    if sync == END_SYNC:
        return END_BYTES if second == 0 else 0
    if sync != BLOCK_SYNC or not 1 <= count <= header.block_tokens:
        return 0
    return block_size(count, header.bits)


def tokens_in(header: Header, n_bytes: int) -> int:
    """Return the tokens in ``n_bytes``: full blocks, and a shorter one in the rest."""
    blocks, rest = divmod(n_bytes, block_size(header.block_tokens, header.bits))
    return blocks * header.block_tokens + max(0, rest - BLOCK_OVERHEAD) * 8 // header.bits
