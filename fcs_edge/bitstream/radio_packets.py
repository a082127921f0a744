"""Packets of a radio, which may be lost and come in any order; see docs/reference/bitstream.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from fcs_edge.bitstream.cell_layout import MAGIC as PROTECTED_MAGIC
from fcs_edge.bitstream.crc import continued_crc
from fcs_edge.bitstream.header import is_magic
from fcs_edge.bitstream.protected_reader import ProtectedReader
from fcs_edge.bitstream.whole_records import Record, whole_records
from fcs_edge.errors import BitstreamError

RECORDS_TAG, CELLS_TAG = 0xFC, 0xFD
HEAD_BYTES = 3
"""Tag and number of the message."""
CELLS_HEAD_BYTES = 5
"""Tag, number of the message, and index of the packet."""
MIN_PACKET_BYTES, MAX_PACKET_BYTES = 40, 255
MAX_CELL_PACKETS = 1 << 16

_READ_BYTES = 1 << 16


def message_number(pieces: Iterable[bytes]) -> int:
    """Return the number of a message: the CRC-16 of its bytes."""
    crc = continued_crc(b"")
    for piece in pieces:
        crc = continued_crc(piece, crc)
    return crc


def split_packets(file: BinaryIO, packet_bytes: int | None = None) -> Iterator[bytes]:
    """Yield the packets of a ``.fcs`` file, protected or not.

    Parameters
    ----------
    file : binary file
        A whole file, open for reading. It is read twice.
    packet_bytes : int, optional
        Most bytes of a packet; by default, what the longest record or one cell needs.

    Raises
    ------
    BitstreamError
        The file is damaged, or has a record that is longer than a packet.
    """
    start = file.read(len(PROTECTED_MAGIC))
    file.seek(0)
    if start == PROTECTED_MAGIC:
        yield from _split_cells(file, packet_bytes)
    else:
        yield from _split_records(file, packet_bytes)


def _split_records(file: BinaryIO, packet_bytes: int | None) -> Iterator[bytes]:
    longest = 0

    def pieces() -> Iterator[bytes]:
        nonlocal longest
        for record in _lasting(file):
            longest = max(longest, len(record.data))
            yield record.data

    number = message_number(pieces())
    room = (packet_bytes or longest + HEAD_BYTES) - HEAD_BYTES
    if longest > room:
        raise BitstreamError(
            f"has a record of {longest} bytes, which no packet of {room + HEAD_BYTES} bytes holds; "
            f"encode with --block-bytes {room + HEAD_BYTES}"
        )
    head = bytes([RECORDS_TAG]) + number.to_bytes(2, "little")
    file.seek(0)
    packet, copy = b"", b""
    for record in _lasting(file):
        if record.header is not None:
            copy = record.header.to_bytes(repeated=True)
        if len(packet) + len(record.data) > room:
            yield head + packet
            packet = b""
        packet += record.data
    has_room = not is_magic(packet) and len(packet) + len(copy) <= room
    yield head + packet + (copy if has_room else b"")


def _lasting(file: BinaryIO) -> Iterator[Record]:
    """Yield the records that go into packets: all but the copies of the header."""
    return (record for record in whole_records(file) if not record.is_copy)


def _split_cells(file: BinaryIO, packet_bytes: int | None) -> Iterator[bytes]:
    reader = ProtectedReader(file, seekable=True, strict=True)
    while reader.read(_READ_BYTES):
        pass
    size = file.tell() - len(PROTECTED_MAGIC)
    repairs = reader.repairs
    if repairs is None or repairs.corrected or repairs.lost_cells or size != repairs.n_bytes:
        raise BitstreamError("is damaged; give a whole file")
    cell = repairs.cell_bytes
    room = (packet_bytes or cell + CELLS_HEAD_BYTES) - CELLS_HEAD_BYTES
    if cell > room:
        raise BitstreamError(
            f"has cells of {cell} bytes, which no packet of {room + CELLS_HEAD_BYTES} bytes holds; "
            f"encode with --block-bytes {room + CELLS_HEAD_BYTES}"
        )
    step = room // cell * cell
    if size > MAX_CELL_PACKETS * step:
        raise BitstreamError(f"needs more than {MAX_CELL_PACKETS} packets")
    file.seek(0)
    number = message_number(iter(lambda: file.read(_READ_BYTES), b""))
    head = bytes([CELLS_TAG]) + number.to_bytes(2, "little")
    file.seek(len(PROTECTED_MAGIC))
    for index in range(-(-size // step)):
        yield head + index.to_bytes(2, "little") + file.read(step)
