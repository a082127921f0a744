"""The CRC-32 that ends the header and every record of a bitstream."""

from __future__ import annotations

import struct
import zlib

CRC = struct.Struct("<I")


def with_crc(data: bytes) -> bytes:
    """Return ``data`` followed by its CRC."""
    return data + CRC.pack(zlib.crc32(data))


def crc_holds(data: bytes | bytearray) -> bool:
    """Return whether the last four bytes of ``data`` are the CRC of the others."""
    body = len(data) - CRC.size
    stored: int = CRC.unpack_from(data, body)[0]
    return stored == zlib.crc32(memoryview(data)[:body])
