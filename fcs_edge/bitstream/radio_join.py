"""Puts the packets of a radio together again, in any order and with any of them missing."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, NamedTuple

from fcs_edge.bitstream.bitpack import MAX_BITS
from fcs_edge.bitstream.cell_layout import MAGIC as PROTECTED_MAGIC
from fcs_edge.bitstream.header import Header
from fcs_edge.bitstream.protected_reader import ProtectedReader, Repairs
from fcs_edge.bitstream.radio_packets import (
    CELLS_HEAD_BYTES,
    CELLS_TAG,
    HEAD_BYTES,
    RECORDS_TAG,
    message_number,
)
from fcs_edge.bitstream.whole_records import Record, record_at
from fcs_edge.errors import BitstreamError
from fcs_edge.text import counted

Report = Callable[[str], None]
"""Takes one line about what is missing or unusable."""

_READ_BYTES = 1 << 16
_FIRST, _SECOND, _LAST = -2, -1, 1 << 62
"""Places of the header, of records between it and the blocks, and of the end record."""


class Packet(NamedTuple):
    """The bytes of a packet, and a name for messages."""

    label: str
    data: bytes


class Joined(NamedTuple):
    """What a bitstream was joined from."""

    n_packets: int
    n_restored: int = 0
    """Missing packets that the protection makes up for."""


def join_packets(
    packets: Iterable[Packet], file: BinaryIO, report: Report, number: int | None = None
) -> Joined:
    """Write the bitstream of which packets are there; return what it was made from.

    What is missing is reported. A bitstream without its header or with missing blocks decodes as
    far as it goes; in a protected one, zeros replace missing packets.

    Parameters
    ----------
    packets : iterable of Packet
        In any order; repeated ones are used once.
    file : binary file
        The output.
    report : callable
        Takes one line for each thing that is missing or unusable.
    number : int, optional
        The number of the message, where packets of others are among them.

    Raises
    ------
    BitstreamError
        The packets belong to several messages, or none of them is usable.
    """
    messages: dict[tuple[int, int], list[Packet]] = defaultdict(list)
    for packet in packets:
        tag = packet.data[0] if packet.data else 0
        least = {RECORDS_TAG: HEAD_BYTES, CELLS_TAG: CELLS_HEAD_BYTES}.get(tag, len(packet.data))
        if len(packet.data) <= least:
            report(f"{packet.label}: not a packet of fcs-edge split; ignored")
        else:
            messages[tag, int.from_bytes(packet.data[1:HEAD_BYTES], "little")].append(packet)
    tag, chosen = _chosen(messages, number)
    own = messages[tag, chosen]
    if tag == CELLS_TAG:
        return _join_cells(own, file, report)
    return _join_records(own, chosen, file, report)


def _chosen(messages: dict[tuple[int, int], list[Packet]], number: int | None) -> tuple[int, int]:
    """Return the only message, or the one with a number."""
    fitting = [key for key in messages if number in (None, key[1])]
    if not fitting:
        which = "" if number is None else f" of message {number:04x}"
        raise BitstreamError(f"no packet{which} is there")
    if len(fitting) > 1:
        listed = ", ".join(
            f"{key[1]:04x} ({counted(len(messages[key]), 'packet')}, {messages[key][0].label})"
            for key in sorted(fitting)[:4]
        )
        raise BitstreamError(
            f"packets of {len(fitting)} messages: {listed}; choose one with --message"
        )
    return fitting[0]


def _join_records(packets: list[Packet], number: int, file: BinaryIO, report: Report) -> Joined:
    """Write the records of packets in the order of their positions."""
    bits = _bits(packets)
    places: dict[int, tuple[Packet, list[Record]]] = {}
    for packet in packets:
        records = _records(packet.data, bits)
        if not records:
            report(f"{packet.label}: damaged; ignored")
        elif places.setdefault(_place(records), (packet, records))[0].data != packet.data:
            report(f"{packet.label}: differs from a packet of the same place; ignored")
    if not places:
        raise BitstreamError("no packet is intact")
    ordered = [records for _, (_, records) in sorted(places.items())]
    crc = message_number(_written(ordered, file, report))
    file.flush()
    if crc != number and not _lacks(ordered):
        report(f"the message number is {number:04x}, but that of the joined packets {crc:04x}")
    return Joined(len(ordered))


def _written(ordered: list[list[Record]], file: BinaryIO, report: Report) -> Iterator[bytes]:
    """Write records, report gaps, and yield what is written."""
    headers = [record.header for records in ordered for record in records if record.header]
    if headers:
        data = headers[0].to_bytes()
        file.write(data)
        yield data
    else:
        report("the header is missing; decode takes the model that it is given")
    expected, ended = 0, False
    for record in (record for records in ordered for record in records if not record.header):
        if record.block is not None:
            missing = record.block.place - expected
            if missing > 0:
                report(f"{counted(missing, 'token')} missing from token {expected} on")
            expected = record.block.place + record.block.n_tokens
        elif record.is_end:
            ended = True
            n_samples = int.from_bytes(record.data[1:6], "little")
            missing = -(-n_samples // headers[0].samples_per_token) - expected if headers else 0
            if missing > 0:
                report(f"{counted(missing, 'token')} missing from token {expected} on")
        file.write(record.data)
        yield record.data
    if not ended:
        report("the end is missing")


def _lacks(ordered: list[list[Record]]) -> bool:
    """Return whether a packet is missing, as far as positions tell."""
    records = [record for group in ordered for record in group]
    blocks = [record.block for record in records if record.block is not None]
    ends = [0, *(block.place + block.n_tokens for block in blocks)]
    gaps = any(block.place != end for block, end in zip(blocks, ends, strict=False))
    ends_there = any(record.is_end for record in records)
    return gaps or not ends_there or not any(record.header for record in records)


def _place(records: list[Record]) -> int:
    """Return the place of a packet: the position of its first block."""
    for record in records:
        if record.block is not None:
            return record.block.place
    if any(record.is_end for record in records):
        return _LAST
    return _FIRST if records[0].header is not None else _SECOND


def _bits(packets: list[Packet]) -> int:
    """Return the bits per token: of a header, or else those with which most packets are intact."""
    for packet in packets:
        try:
            header = Header.from_bytes(packet.data[HEAD_BYTES:])
        except BitstreamError:
            continue
        return header.bits
    return max(
        range(MAX_BITS, 0, -1), key=lambda bits: sum(bool(_records(p.data, bits)) for p in packets)
    )


def _records(data: bytes, bits: int) -> list[Record]:
    """Return the records of a packet; none if one is not valid."""
    records, at = [], HEAD_BYTES
    while at < len(data):
        record = record_at(data, at, bits)
        if record is None:
            return []
        records.append(record)
        at += len(record.data)
    return records


def _join_cells(packets: list[Packet], file: BinaryIO, report: Report) -> Joined:
    """Write the cells of packets in their order, with zeros for missing ones."""
    size = max(len(packet.data) for packet in packets) - CELLS_HEAD_BYTES
    places: dict[int, Packet] = {}
    for packet in packets:
        index = int.from_bytes(packet.data[HEAD_BYTES:CELLS_HEAD_BYTES], "little")
        if places.setdefault(index, packet).data != packet.data:
            report(f"{packet.label}: differs from a packet of the same place; ignored")
    last = max(places)
    missing = last + 1 - len(places)
    pieces = [PROTECTED_MAGIC]
    # Where most packets are missing, the reader finds the others' places by their marks.
    for index in range(last + 1) if missing <= len(places) else sorted(places):
        data = places[index].data[CELLS_HEAD_BYTES:] if index in places else b""
        pieces.append(data if index == last else data.ljust(size, b"\0"))
    whole = b"".join(pieces)
    file.write(whole)
    file.flush()
    reader = ProtectedReader(io.BytesIO(whole), seekable=True)
    while reader.read(_READ_BYTES):
        pass
    if reader.repairs is None or reader.repairs.n_failures:
        report(_not_restored(reader.repairs or Repairs(), missing))
        missing = 0
    return Joined(len(places), missing)


def _not_restored(repairs: Repairs, n_missing: int) -> str:
    """Return the message about packets that are not restored."""
    if n_missing:
        lost = f"{counted(n_missing, 'packet')} or more missing"
    elif repairs.lost_cells or not repairs.cells:
        lost = "the last packets are missing"
    else:
        lost = "packets are damaged"
    if repairs.lacks_library:
        return f"{lost}: to restore them: pip install reedsolo"
    return f"{lost}: the protection cannot restore them"
