"""The records of bytes that are all there: no search, no damage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from fcs_edge.bitstream.crc import CRC_BYTES, crc_holds
from fcs_edge.bitstream.header import (
    MAX_HEADER_BYTES,
    MIN_HEADER_BYTES,
    Header,
    header_size,
    is_copy,
    is_magic,
    refuse_version,
)
from fcs_edge.bitstream.protected_reader import Readable
from fcs_edge.bitstream.records import (
    END_BYTES,
    END_TAG,
    GENERAL_HEAD,
    GENERAL_TAGS,
    HEAD_SIZES,
    MAX_BODY,
    Block,
    block_at,
)
from fcs_edge.errors import BitstreamError

_LONGEST = GENERAL_HEAD + MAX_BODY + CRC_BYTES
_READ_BYTES = 1 << 16


class Record(NamedTuple):
    """A record, its CRC included."""

    data: bytes
    block: Block | None = None
    header: Header | None = None
    is_copy: bool = False
    """Whether it is a copy of an earlier header."""

    @property
    def is_end(self) -> bool:
        """Whether it ends the bitstream."""
        return self.data[0] == END_TAG


def record_at(data: bytes | bytearray, at: int, bits: int) -> Record | None:
    """Return the record at an offset; None if it is not valid, or not all of it is there.

    Parameters
    ----------
    data : bytes
        The bytes.
    at : int
        The offset.
    bits : int
        Bits per token of the bitstream.

    Raises
    ------
    BitstreamError
        It is a header that only a later version can read.
    """
    left, block = len(data) - at, None
    is_header = left >= MIN_HEADER_BYTES and is_magic(data, at)
    if left < END_BYTES:
        return None
    tag = data[at]
    if is_header:
        size = header_size(data, at)
    elif tag == END_TAG:
        size = END_BYTES
    elif tag in GENERAL_TAGS:
        size = GENERAL_HEAD + int.from_bytes(data[at + 1 : at + GENERAL_HEAD], "little") + CRC_BYTES
    else:
        block = block_at(data, at, bits) if left >= HEAD_SIZES[tag] > 0 else None
        size = block.size if block else 0
    if not 0 < size <= min(left, _LONGEST) or not crc_holds(data, at, size):
        return None
    own = bytes(data[at : at + size])
    if is_header:
        refuse_version(own)
        return Record(own, None, Header.from_record(own), is_copy(own))
    return Record(own, block)


def whole_records(file: Readable) -> Iterator[Record]:
    """Yield the records of one whole bitstream, from its header to its end record.

    Raises
    ------
    BitstreamError
        It is damaged, holds several parts, or is none.
    """
    buffer, at, offset = bytearray(), 0, 0
    header: Header | None = None
    ended = False
    while True:
        if len(buffer) - at < _LONGEST:
            del buffer[:at]
            at = 0
            while len(buffer) < _READ_BYTES and (data := file.read(_READ_BYTES)):
                buffer += data
        if at == len(buffer):
            break
        if header is None:
            Header.from_bytes(bytes(buffer[:MAX_HEADER_BYTES]))
        record = record_at(buffer, at, header.bits if header else 1)
        if record is None:
            raise BitstreamError(f"is damaged at byte {offset}; give a whole file")
        if ended or (header is not None and record.header is not None and not record.is_copy):
            raise BitstreamError(
                f"holds several bitstreams, the second one from byte {offset}; give a file of one"
            )
        header = record.header or header
        ended = record.is_end
        at += len(record.data)
        offset += len(record.data)
        yield record
    if not ended:
        raise BitstreamError("ends without an end record; give a whole file")
