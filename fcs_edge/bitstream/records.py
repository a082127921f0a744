"""The records of a ``.fcs`` bitstream: their heads, sizes and CRCs; see the document."""

from __future__ import annotations

from typing import NamedTuple

from fcs_edge.bitstream.bitpack import packed_size
from fcs_edge.bitstream.crc import CRC_BYTES, with_crc

END_TAG = 0xE5
END_BYTES = 8
MAX_SAMPLES = (1 << 40) - 1

GENERAL_TAGS = range(0xC0, 0xE0)
METADATA_TAG = 0xC1
GENERAL_HEAD = 3
MAX_BODY = 4096

BLOCK_TAGS = range(0xA0, 0xC0)
STREAMED_TAG = 0xAF
PAUSES = 0x10
"""The tag's bit of a block whose payload opens with a list of pauses."""
RAW, NEUTRAL, PRIOR, STREAMED = range(4)
"""How a block's tokens are coded: the low two bits of its tag."""
CLASS_TOKENS = (100, 50, 200)
"""Tokens of the compact classes of blocks."""
WIDE = 2
"""The class whose length counts pairs of bytes."""
WRITTEN = 3
"""The class of blocks whose count is written."""
PLACES = 1 << 16
POSITIONS = 1 << 24
MAX_COUNT = 255
MAX_LENGTH = 255
WRITTEN_OVERHEAD = 8

_SHARE, _LEAST, _MOST = 8, 24, 200
"""A streamed block is an eighth of the tokens so far, and 24 to 200."""
_RAW_HEAD, _COMPACT_HEAD, _WRITTEN_HEAD = 3, 4, 6
MAX_BLOCK_BYTES = _WRITTEN_HEAD + 2 * MAX_COUNT + CRC_BYTES
"""A streamed block with chunks of one wide token is the longest."""


class Block(NamedTuple):
    """The head of a block."""

    tag: int
    place: int
    """Position of its first token, modulo `modulus`."""
    n_tokens: int
    """Tokens."""
    head: int
    """Bytes in front of the payload."""
    length: int
    """Bytes of the payload."""
    chunk: int = 0
    """Tokens of a chunk of a streamed block, else 0."""

    @property
    def modulus(self) -> int:
        """What positions are counted modulo."""
        return POSITIONS if is_written(self.tag) else PLACES * self.n_tokens

    @property
    def size(self) -> int:
        """Bytes of the record."""
        return self.head + self.length + CRC_BYTES

    @property
    def coding(self) -> int:
        """How its tokens are coded: `RAW`, `NEUTRAL`, `PRIOR` or `STREAMED`."""
        return self.tag & 3


def is_written(tag: int) -> bool:
    """Return whether a block's head states position and count."""
    return tag >> 2 & 3 == WRITTEN


def _head_size(tag: int) -> int:
    if tag not in BLOCK_TAGS or (tag & 3 == STREAMED and tag != STREAMED_TAG):
        return 0
    if is_written(tag):
        return _WRITTEN_HEAD
    return _COMPACT_HEAD if tag & (PAUSES | 3) else _RAW_HEAD


HEAD_SIZES = [_head_size(tag) for tag in range(256)]
"""Bytes of a block's head, by its tag; 0 for a tag of no block."""


def block_at(data: bytes | bytearray, at: int, bits: int) -> Block | None:
    """Read the head of a block, all of whose bytes are there; None if it is not valid."""
    tag = data[at]
    head = HEAD_SIZES[tag]
    if head == _WRITTEN_HEAD:
        place = data[at + 1] | data[at + 2] << 8 | data[at + 3] << 16
        return _written(tag, place, data[at + 4], data[at + 5], bits)
    if head == 0:
        return None
    kind = tag >> 2 & 3
    count = CLASS_TOKENS[kind]
    place = (data[at + 1] | data[at + 2] << 8) * count
    if head == _RAW_HEAD:
        return Block(tag, place, count, head, packed_size(count, bits))
    length = data[at + 3] * (2 if kind == WIDE else 1)
    return Block(tag, place, count, head, length) if length else None


def _written(tag: int, place: int, count: int, last: int, bits: int) -> Block | None:
    if not count or not last:
        return None
    if tag == STREAMED_TAG:
        if count % last:
            return None
        length = count // last * packed_size(last, bits)
        return Block(tag, place, count, _WRITTEN_HEAD, length, last)
    if tag & (PAUSES | 3) == RAW and last != packed_size(count, bits):
        return None
    return Block(tag, place, count, _WRITTEN_HEAD, last)


def place_matches(data: bytes | bytearray, at: int, position: int) -> bool:
    """Return whether the head of a block, four bytes of which are there, states a position."""
    if is_written(data[at]):
        return (data[at + 1] | data[at + 2] << 8 | data[at + 3] << 16) == position % POSITIONS
    place, rest = divmod(position, CLASS_TOKENS[data[at] >> 2 & 3])
    return rest == 0 and data[at + 1] | data[at + 2] << 8 == place % PLACES


def streamed_count(position: int, chunk: int) -> int:
    """Return the tokens of the streamed block that begins at a position: whole chunks."""
    least, most = -(-_LEAST // chunk), max(1, _MOST // chunk)
    return max(min(position // _SHARE // chunk, most), min(least, most)) * chunk


def compact_record(tag: int, position: int, payload: bytes) -> bytes:
    """Return a block of a compact class; ``payload`` has an even length for class `WIDE`."""
    kind = tag >> 2 & 3
    head = bytes([tag]) + (position // CLASS_TOKENS[kind] % PLACES).to_bytes(2, "little")
    if tag & (PAUSES | 3):
        head += bytes([len(payload) // (2 if kind == WIDE else 1)])
    return with_crc(head + payload)


def written_head(tag: int, position: int, count: int, last: int) -> bytes:
    """Return the head of a block with a written count; ``last`` is its length or its chunk."""
    return bytes([tag]) + (position % POSITIONS).to_bytes(3, "little") + bytes([count, last])


def general_record(tag: int, body: bytes) -> bytes:
    """Return a record of another kind than blocks."""
    return with_crc(bytes([tag]) + len(body).to_bytes(2, "little") + body)


def end_record(n_samples: int) -> bytes:
    """Return the record that ends a part."""
    return with_crc(bytes([END_TAG]) + n_samples.to_bytes(5, "little"))
