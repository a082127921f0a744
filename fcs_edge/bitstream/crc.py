"""The CRC-16 that ends each record of a bitstream."""

from __future__ import annotations

import binascii

CRC_BYTES = 2
_START = 0xFFFF


def crc_bytes(data: bytes) -> bytes:
    """Return the CRC of ``data`` as it is stored."""
    return binascii.crc_hqx(data, _START).to_bytes(CRC_BYTES, "little")


def with_crc(data: bytes) -> bytes:
    """Return ``data`` followed by its CRC."""
    return data + crc_bytes(data)


def continued_crc(data: bytes, crc: int = _START) -> int:
    """Return the CRC of bytes that follow others; ``crc`` is that of the others."""
    return binascii.crc_hqx(data, crc)


def crc_holds(data: bytes | bytearray, at: int = 0, size: int | None = None) -> bool:
    """Return whether the last two of ``size`` bytes at ``at`` are the CRC of the others."""
    end = len(data) if size is None else at + size
    body = end - CRC_BYTES
    with memoryview(data) as view:
        crc = binascii.crc_hqx(view[at:body], _START)
    return crc == data[body] | data[body + 1] << 8
