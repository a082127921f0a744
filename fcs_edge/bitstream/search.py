"""Finds valid records in bytes that arrive piece by piece."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import NamedTuple

from fcs_edge.bitstream.blocks import read_list
from fcs_edge.bitstream.crc import CRC_BYTES, crc_holds
from fcs_edge.bitstream.header import (
    MAGIC,
    MIN_HEADER_BYTES,
    VERSION,
    Header,
    NewerError,
    header_size,
    is_repeated,
)
from fcs_edge.bitstream.pauses import Pauses
from fcs_edge.bitstream.records import (
    END_BYTES,
    END_TAG,
    GENERAL_HEAD,
    GENERAL_TAGS,
    HEAD_SIZES,
    MAX_BODY,
    PAUSES,
    Block,
    block_at,
    place_matches,
)
from fcs_edge.errors import BitstreamError

NEAR_TOKENS, NEAR_TOKENS_A_BYTE = 3000, 64
"""A block is plausible so many tokens ahead, and so many more for each byte skipped."""
LATE_TOKENS = 256
"""An end record is plausible if its sample count leaves at most so many tokens unused."""

_TAGS = re.compile(
    b"["
    + b"".join(re.escape(bytes([tag])) for tag in range(256) if HEAD_SIZES[tag])
    + re.escape(bytes([END_TAG, MAGIC[0]]))
    + b"]"
)

Wait = Generator[None, None, bool]
"""Yields None for more bytes; returns a truth."""


class Found(NamedTuple):
    """A valid record."""

    size: int
    block: Block | None = None
    pauses: Pauses | None = None
    ahead: int = 0
    """Tokens from the expected position to the block's; negative behind it."""
    header: Header | None = None
    repeated: bool = False
    newer: bool = False
    """Whether only a later version can read what follows."""
    n_samples: int | None = None
    general: int | None = None
    """The tag of a general record."""


class RecordSearch:
    """Bytes in a buffer, and what is expected of the records in them.

    Each method that is a generator yields None where it needs more bytes, until `closed` is set.
    """

    def __init__(self) -> None:
        self.buf = bytearray()
        self.pos = 0
        self.base = 0
        self.closed = False
        self.header: Header | None = None
        self.expected: int | None = None
        """Position of the next block; None where the part is joined in its middle."""

    @property
    def offset(self) -> int:
        """The current position in the input, in bytes."""
        return self.base + self.pos

    def release(self) -> None:
        """Forget the bytes before the current position."""
        del self.buf[: self.pos]
        self.base += self.pos
        self.pos = 0

    def need(self, size: int) -> Wait:
        """Wait until ``size`` bytes are there; return False if the input ends before."""
        while len(self.buf) - self.pos < size:
            if self.closed:
                return False
            yield None
        return True

    def find(self, start: int, limit: int | None = None) -> Generator[None, None, Found | None]:
        """Move to the next valid record and return it; None if there is none before ``limit``."""
        while limit is None or self.offset < limit:
            match = _TAGS.search(self.buf, self.pos)
            self.pos = match.start() if match else len(self.buf)
            if match is None:
                if not (yield from self.need(1)):
                    return None
                continue
            if limit is not None and self.offset >= limit:
                return None
            found = yield from self.record_here(start)
            if found is not None:
                return found
            self.pos += 1
        return None

    def record_here(self, start: int) -> Generator[None, None, Found | None]:
        """Return the valid record at the current position, of a search that began at ``start``."""
        if not (yield from self.need(1)):
            return None
        tag = self.buf[self.pos]
        if tag == MAGIC[0]:
            return (yield from self._header_here())
        if self.header is None:
            return None
        if HEAD_SIZES[tag]:
            return (yield from self._block_here(self.header, start))
        if tag == END_TAG:
            return (yield from self._end_here(self.header, start))
        if tag in GENERAL_TAGS and self.offset == start:
            return (yield from self._general_here())
        return None

    def _header_here(self) -> Generator[None, None, Found | None]:
        if not (yield from self.need(MIN_HEADER_BYTES)):
            return None
        version_at = self.pos + len(MAGIC)
        if self.buf[self.pos : version_at] != MAGIC or self.buf[version_at] != VERSION:
            return None
        size = header_size(self.buf, self.pos)
        if not (yield from self._whole(size)):
            return None
        repeated = is_repeated(self.buf, self.pos)
        try:
            header = Header.from_record(bytes(self.buf[self.pos : self.pos + size]))
        except NewerError:
            return Found(size, newer=True)
        except BitstreamError:
            return None
        return Found(size, header=header, repeated=repeated)

    def _block_here(self, header: Header, start: int) -> Generator[None, None, Found | None]:
        if not (yield from self.need(HEAD_SIZES[self.buf[self.pos]])):
            return None
        block = block_at(self.buf, self.pos, header.bits)
        if block is None or not (yield from self._whole(block.size)):
            return None
        pauses = None
        if block.tag & PAUSES:
            payload = self.pos + block.head
            data = bytes(self.buf[payload : payload + block.length])
            pauses = read_list(block, data, header.bits)
            if pauses is None:
                return None
        skipped = self.offset - start
        ahead = self._ahead(block)
        if ahead is None:
            near = False
        elif ahead < 0:
            near = not skipped
        else:
            near = ahead <= NEAR_TOKENS + NEAR_TOKENS_A_BYTE * skipped
        end = block.place + block.n_tokens
        if not near and not (yield from self._confirmed(block.size, end)):
            return None
        return Found(block.size, block, pauses, ahead or 0)

    def _ahead(self, block: Block) -> int | None:
        """Return the distance of a block from the expected one, in tokens."""
        if self.expected is None:
            return None
        ahead = (block.place - self.expected) % block.modulus
        return ahead if ahead <= block.modulus // 2 else ahead - block.modulus

    def _end_here(self, header: Header, start: int) -> Generator[None, None, Found | None]:
        if not (yield from self._whole(END_BYTES)):
            return None
        n_samples = int.from_bytes(self.buf[self.pos + 1 : self.pos + 6], "little")
        near = False
        if self.expected is not None:
            missing = -(-n_samples // header.samples_per_token) - self.expected
            skipped = self.offset - start
            near = -LATE_TOKENS <= missing <= NEAR_TOKENS + NEAR_TOKENS_A_BYTE * skipped
        if not near and not (yield from self._confirmed(END_BYTES, None)):
            return None
        return Found(END_BYTES, n_samples=n_samples)

    def _general_here(self) -> Generator[None, None, Found | None]:
        if not (yield from self.need(GENERAL_HEAD)):
            return None
        body = self.buf[self.pos + 1] | self.buf[self.pos + 2] << 8
        size = GENERAL_HEAD + body + CRC_BYTES
        if body > MAX_BODY or not (yield from self._whole(size)):
            return None
        return Found(size, general=self.buf[self.pos])

    def _whole(self, size: int) -> Wait:
        """Return whether all of a record is there, and its CRC holds."""
        if not (yield from self.need(size)):
            return False
        return crc_holds(self.buf, self.pos, size)

    def _confirmed(self, size: int, position: int | None) -> Wait:
        """Return whether a record of ``size`` bytes is followed by what fits it.

        That is the end of the input, a header, an end record, or the block of ``position``.
        """
        if not (yield from self.need(size + 1)):
            return True
        tag = self.buf[self.pos + size]
        if HEAD_SIZES[tag] and position is not None:
            there = yield from self.need(size + 4)
            return there and place_matches(self.buf, self.pos + size, position)
        if tag == MAGIC[0]:
            there = yield from self.need(size + len(MAGIC))
            return there and self.buf.startswith(MAGIC, self.pos + size)
        if tag == END_TAG and position is not None:
            there = yield from self.need(size + END_BYTES)
            return there and crc_holds(self.buf, self.pos + size, END_BYTES)
        return False
