"""Test vectors of protected files: groups of cells with Reed-Solomon parity, and damage to them."""

from __future__ import annotations

import random

from vector_base import STREAM, WHOLE_EVENTS, Vector
from vector_records import flipped, u, with_crc

_SIZE, _CELLS, _PARITY = 32, 10, 40
"""Bytes of a cell, cells of the group, and parity of each of its two codewords."""


def _times(a: int, b: int) -> int:
    """Return a product in the field of 256 elements, bit by bit."""
    product = 0
    for bit in range(8):
        if b >> bit & 1:
            product ^= a << bit
    for bit in range(14, 7, -1):
        if product >> bit & 1:
            product ^= 0x11D << bit - 8
    return product


def _parity(message: bytes, n_parity: int) -> bytes:
    """Return the remainder of a message by the generator polynomial."""
    generator, root = [1], 1
    for _ in range(n_parity):
        moved = [0, *(_times(c, root) for c in generator)]
        generator = [a ^ b for a, b in zip([*generator, 0], moved, strict=True)]
        root = _times(root, 2)
    rest = [*message, *bytes(n_parity)]
    for i in range(len(message)):
        factor = rest[i]
        for j, c in enumerate(generator):
            rest[i + j] ^= _times(c, factor)
    return bytes(rest[len(message) :])


def _mark(j: int) -> int:
    mark = 0x4643
    for _ in range(j):
        mark ^= mark << 7 & 0xFFFF
        mark ^= mark >> 9
        mark ^= mark << 8 & 0xFFFF
    return mark ^ (_CELLS - 1 + 128 * _PARITY) * 0x9E37 % 65536


def protected(stream: bytes) -> bytes:
    """Return a protected file of one group."""
    width = _SIZE - 2
    n_words = -(-_CELLS * width // 255)
    n_front = _CELLS * width - n_words * _PARITY
    checked = with_crc(u(len(stream), 2) + stream)
    group = bytearray((u(len(stream), 2) + checked[-2:] + stream).ljust(n_front, b"\0"))
    group += bytes(n_words * _PARITY)
    for k in range(n_words):
        last = [i for i in range(n_front, len(group)) if i % n_words == k]
        for i, byte in zip(last, _parity(bytes(group[k:n_front:n_words]), _PARITY), strict=True):
            group[i] = byte
    cells = [u(_mark(j), 2) + group[j * width : (j + 1) * width] for j in range(_CELLS)]
    return b"FCS\x1b" + b"".join(cells)


_FILE = protected(STREAM)
_NOISE = random.Random(9).randbytes(_SIZE)
_AT = [4 + _SIZE * j for j in range(_CELLS)]
_CASES = [
    ("whole", "A protected file", _FILE),
    ("bits", "Bits are wrong in each cell", flipped(_FILE, *range(99, 8 * len(_FILE), 251))),
    ("noise", "A cell is noise, its mark too", _FILE[: _AT[4]] + _NOISE + _FILE[_AT[5] :]),
    ("cell-out", "A cell is cut out", _FILE[: _AT[6]] + _FILE[_AT[7] :]),
    ("start-out", "The magic and a part of the first cell are cut off", _FILE[20:]),
]
PROTECTION = [Vector(f"protected-{n}", shows, data, WHOLE_EVENTS) for n, shows, data in _CASES]
