"""Writes a ``.fcs`` bitstream; see docs/reference/bitstream.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fcs_edge.arguments import as_integer
from fcs_edge.bitstream.bitpack import check_tokens, pack_tokens
from fcs_edge.bitstream.blocks import U16, block_record, fitting
from fcs_edge.bitstream.crc import CRC_BYTES, continued_crc
from fcs_edge.bitstream.header import Header
from fcs_edge.bitstream.metadata import metadata_records
from fcs_edge.bitstream.records import (
    CLASS_TOKENS,
    MAX_COUNT,
    MAX_LENGTH,
    MAX_SAMPLES,
    STREAMED_TAG,
    WRITTEN_OVERHEAD,
    end_record,
    streamed_count,
    written_head,
)
from fcs_edge.entropy import TokenCoder, neutral_coder

__all__ = ["MAX_BLOCK_TOKENS", "BitstreamWriter", "Header"]

MAX_BLOCK_TOKENS = MAX_COUNT
"""Tokens of the largest block."""
MIN_BLOCK_BYTES, MAX_BLOCK_BYTES = WRITTEN_OVERHEAD + 2, WRITTEN_OVERHEAD + MAX_LENGTH
"""Limits of ``block_bytes``: one token of any bits fits, and the length byte suffices."""

_REPEAT_SECONDS, _LIVE_REPEAT_SECONDS = 64, 10
_REST_TOKENS = 100

Mask = NDArray[np.bool_]


class BitstreamWriter:
    """Writes a ``.fcs`` file token by token, in constant memory.

    The constructor writes the header. Each block is one ``file.write`` and a flush. With ``eager``
    each chunk goes out as soon as its tokens are there, raw. A file whose writer was never closed
    has all tokens except those of the last, incomplete block.

    Parameters
    ----------
    file : binary file
        The output. Each ``write`` must accept all of its bytes, as buffered files do. The writer
        flushes the file but never closes it.
    header : Header
        The header.
    block_tokens : int, optional
        Tokens of a block, 1 to 255. Blocks of 50, 100 and 200 tokens have the smallest heads. A
        block of another count whose payload might outgrow 255 bytes is shorter.
    coder : TokenCoder, optional
        The coder of the header's prior. Absent: the neutral coder.
    raw : bool, optional
        Whether no block is entropy-coded. A damaged byte of such a block can be played around.
    eager : bool, optional
        Write chunks as soon as they are complete. If the stream ends inside a block, zero tokens
        fill the rest of that block.
    chunk_tokens : int, optional
        Tokens of a chunk, 1 to 255, with ``eager`` or ``block_bytes``.
    block_bytes : int, optional
        Instead of ``block_tokens``: as many tokens as fit a block of so many bytes, 10 to 263.
    tags : mapping of str to str, optional
        Metadata, by key.

    Raises
    ------
    ValueError
        An argument is out of range, or the coder is not the one that the header names.
    """

    def __init__(
        self,
        file: BinaryIO,
        header: Header,
        *,
        block_tokens: int = 100,
        coder: TokenCoder | None = None,
        raw: bool = False,
        eager: bool = False,
        chunk_tokens: int = 4,
        block_bytes: int | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        _check_range("block_tokens", block_tokens, 1, MAX_BLOCK_TOKENS)
        _check_range("chunk_tokens", chunk_tokens, 1, MAX_COUNT)
        if block_bytes is not None:
            _check_range("block_bytes", block_bytes, MIN_BLOCK_BYTES, MAX_BLOCK_BYTES)
        self.header = header
        self._file = file
        self._coder = _coder(header, coder, raw or eager)
        self._eager, self._chunk_tokens = eager, chunk_tokens
        self._block_bytes = block_bytes
        self._block_tokens = _block_tokens(block_tokens, header.bits)
        if block_bytes is not None:
            self._block_tokens = MAX_COUNT // chunk_tokens * chunk_tokens
        self._closed = False
        self._n_tokens = 0
        self._position = 0
        self._held = np.zeros(max(MAX_COUNT, self._block_tokens), np.uint16)
        self._marked = np.zeros(self._held.size, bool)
        self._filled = 0
        self._stream_left = 0
        self._crc = 0
        period = _LIVE_REPEAT_SECONDS if eager else _REPEAT_SECONDS
        self._repeat_tokens = max(1, period * header.input_rate // header.samples_per_token)
        self._repeat_at = self._repeat_tokens
        self._file.write(header.to_bytes() + metadata_records(tags or {}))
        self._file.flush()

    @property
    def n_tokens(self) -> int:
        """Number of tokens passed to `write` so far."""
        return self._n_tokens

    def write(self, tokens: NDArray[np.integer[Any]], pauses: Mask | None = None) -> None:
        """Append tokens.

        Parameters
        ----------
        tokens : (n,) ndarray of uint16
            Any number of tokens, 0 included, each in 0..2**bits - 1. Other integer dtypes are
            accepted.
        pauses : (n,) ndarray of bool, optional
            Tokens that belong to a pause; they hold the comfort token. They are stored as their
            number where that is shorter. The tokens read back are the same.

        Raises
        ------
        ValueError
            If the writer is closed, or a token does not fit; then none of them is written.
        """
        self._check_open()
        array = check_tokens(tokens, self.header.bits)
        for data in self._added(array, _checked_mask(pauses, array)):
            self._file.write(data)
            self._file.flush()

    def close(
        self,
        n_samples: int,
        tokens: NDArray[np.integer[Any]] | None = None,
        pauses: Mask | None = None,
    ) -> None:
        """Write the last tokens, their block and the end record; the file stays open.

        Parameters
        ----------
        n_samples : int
            Exact number of input samples, at most what the tokens represent; of a non-causal
            model less than two tokens more.
        tokens : (n,) ndarray of uint16, optional
            The last tokens, as for `write`. The tokens of a partial last chunk belong here. With
            ``eager`` they go out in one write with the end record, so that a player knows their
            exact length.
        pauses : (n,) ndarray of bool, optional
            As for `write`.

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
        mask = _checked_mask(pauses, last)
        covered = (self._n_tokens + last.size) * self.header.samples_per_token
        covered = min(covered + self.header.slack, MAX_SAMPLES)
        if not 0 <= n_samples <= covered:
            raise ValueError(f"n_samples must be 0..{covered}, not {n_samples}")
        pieces = [*self._added(last, mask), *self._rest()]
        if self._eager:
            # In one write: a player must see the end record before it plays the filler.
            pieces = [b"".join([*pieces, end_record(n_samples)])]
        else:
            pieces.append(end_record(n_samples))
        for data in pieces:
            self._file.write(data)
            self._file.flush()
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the bitstream is closed")

    def _added(self, tokens: U16, marked: Mask) -> Iterator[bytes]:
        """Take tokens; yield the bytes to write now, block by block or chunk by chunk."""
        self._n_tokens += tokens.size
        limit = self._chunk_tokens if self._eager else self._block_tokens
        start = 0
        while start < tokens.size:
            n = min(tokens.size - start, limit - self._filled)
            place = slice(self._filled, self._filled + n)
            self._held[place] = tokens[start : start + n]
            self._marked[place] = marked[start : start + n]
            self._filled += n
            start += n
            if self._filled == limit:
                yield self._chunk() if self._eager else self._next_block()

    def _rest(self) -> Iterator[bytes]:
        """Yield what the end of the stream leaves: shorter blocks, or a streamed block's filler."""
        if self._eager:
            self._held[self._filled :] = 0
            while self._filled or self._stream_left:
                yield self._chunk()
            return
        while self._filled:
            yield self._next_block()

    def _next_block(self) -> bytes:
        """Return the next block of the tokens that are held, and a header where one is due."""
        count = self._filled
        tokens, marked = self._held[:count], self._marked[:count]
        compact = self._block_bytes is None
        if self._block_bytes is not None:
            count = fitting(tokens, self.header.bits, self._coder, marked, self._block_bytes)
            if self._chunk_tokens < count < self._filled:
                count -= count % self._chunk_tokens
        elif count < self._block_tokens:
            count = min(count, _REST_TOKENS)
        data = self._repeated_header() + block_record(
            tokens[:count],
            self._position,
            self.header.bits,
            self._coder,
            marked[:count],
            compact=compact,
        )
        rest = self._filled - count
        self._held[:rest] = self._held[count : self._filled]
        self._marked[:rest] = self._marked[count : self._filled]
        self._filled = rest
        self._position += count
        return data

    def _chunk(self) -> bytes:
        """Return the chunk that is held, and the block's head or its CRC where they are due."""
        data = head = b""
        if not self._stream_left:
            head = self._repeated_header()
            self._stream_left = streamed_count(self._position, self._chunk_tokens)
            count, chunk = self._stream_left, self._chunk_tokens
            data = written_head(STREAMED_TAG, self._position, count, chunk)
            self._crc = continued_crc(b"")
        data += pack_tokens(self._held[: self._chunk_tokens], self.header.bits)
        self._crc = continued_crc(data, self._crc)
        self._held[: self._chunk_tokens] = 0
        self._filled = 0
        self._position += self._chunk_tokens
        self._stream_left -= self._chunk_tokens
        if not self._stream_left:
            data += self._crc.to_bytes(CRC_BYTES, "little")
        return head + data

    def _repeated_header(self) -> bytes:
        """Return the header again before every so many tokens, for those who join."""
        if self._position < self._repeat_at:
            return b""
        self._repeat_at = self._position + self._repeat_tokens
        return self.header.to_bytes(repeated=True)


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= as_integer(value, name) <= high:
        raise ValueError(f"{name} must be {low}..{high}, not {value}")


def _checked_mask(pauses: Mask | None, tokens: U16) -> Mask:
    if pauses is None:
        return np.zeros(tokens.size, bool)
    mask = np.asarray(pauses)
    if mask.dtype != bool or mask.shape != tokens.shape:
        raise ValueError("pauses must be one bool for each token")
    return mask


def _coder(header: Header, coder: TokenCoder | None, raw: bool) -> TokenCoder | None:
    if raw:
        return None
    coder = coder or neutral_coder(header.bits)
    if coder.bits != header.bits or coder.check not in (0, header.prior):
        raise ValueError("the coder is not the one that the header names")
    return coder


def _block_tokens(block_tokens: int, bits: int) -> int:
    """Return the tokens that a block is made from; those of written counts fit as raw."""
    if block_tokens in CLASS_TOKENS:
        return block_tokens
    return min(block_tokens, MAX_LENGTH * 8 // bits)
