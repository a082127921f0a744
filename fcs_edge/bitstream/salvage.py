"""Raw blocks whose CRC fails, found by where they are due."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from fcs_edge.bitstream.bitpack import packed_size
from fcs_edge.bitstream.records import (
    BLOCK_TAGS,
    CLASS_TOKENS,
    END_BYTES,
    HEAD_SIZES,
    PAUSES,
    PLACES,
    POSITIONS,
    RAW,
    STREAMED,
    STREAMED_TAG,
    WRITTEN,
    Block,
    block_at,
    is_written,
)
from fcs_edge.bitstream.search import RecordSearch, Wait

MAX_WRONG_BITS = 6
"""Bits by which the head of a block may differ from the one that is due."""

_SURE_BITS = 2
"""The same for the head of the block behind, where it is to settle the form of the first."""
_HEAD = 6
_COMPACT = [BLOCK_TAGS.start | kind << 2 for kind in range(len(CLASS_TOKENS))]
_WRITTEN_RAW = BLOCK_TAGS.start | WRITTEN << 2
_RAW = [*_COMPACT, _WRITTEN_RAW, STREAMED_TAG]
_ALL = [
    *_RAW,
    *(tag for tag in BLOCK_TAGS if HEAD_SIZES[tag] and tag & (PAUSES | STREAMED) in (1, 2)),
]


class Salvage:
    """Tells where a damaged raw block stands.

    Parameters
    ----------
    search : RecordSearch
        The bytes.
    """

    def __init__(self, search: RecordSearch) -> None:
        self._search = search

    def first(self, offsets: Iterable[int]) -> Wait:
        """Move to the first of some distances at which the block that is due may stand."""
        search = self._search
        for offset in offsets:
            if (yield from search.need(offset + _HEAD)) and self._due(search.pos + offset, None):
                search.pos += offset
                return True
        return False

    def block_here(self, last_tag: int | None) -> Generator[None, None, Block | None]:
        """Return the raw block that is due here, all or some of it; None if it is none.

        ``last_tag`` is the tag of the block before.
        """
        search = self._search
        if not (yield from search.need(_HEAD)):
            return None
        block = None
        if last_tag is None:
            block = yield from self._first_of_row()
        if block is None:
            block = self._due(search.pos, last_tag)
        if block is None:
            return None
        if not (yield from search.need(block.size)) and len(search.buf) - search.pos <= END_BYTES:
            return None
        return block

    def _first_of_row(self) -> Generator[None, None, Block | None]:
        """Return the raw block whose end the next one of its form follows; None if none does."""
        search = self._search
        for tag in _RAW:
            block = self._resembled(search.pos, [tag], 0)
            if block is None or not (yield from search.need(block.size + _HEAD)):
                continue
            end, n = search.pos + block.size, block.n_tokens
            if self._resembled(end, [tag], n, _SURE_BITS) is not None:
                return block
        return None

    def shortened(self, block: Block, payload: bytes) -> Block:
        """Return a block with as many whole tokens as its payload has; it may be cut."""
        if len(payload) == block.length or self._search.header is None:
            return block
        bits = self._search.header.bits
        if block.chunk:
            count = len(payload) // packed_size(block.chunk, bits) * block.chunk
        else:
            count = len(payload) * 8 // bits
        return block._replace(n_tokens=min(count, block.n_tokens))

    def _due(self, at: int, last_tag: int | None) -> Block | None:
        """Return the raw block that may be due and that a head resembles; None if it is none."""
        block = self._resembled(at, _due_tags(last_tag), 0)
        return block if block is not None and block.tag in _RAW else None

    def _resembled(
        self, at: int, tags: list[int], ahead: int, most: int = MAX_WRONG_BITS
    ) -> Block | None:
        """Return the block of a head's nearest tag, ``ahead`` tokens from the expected position.

        None where more than ``most`` bits differ. The first of the nearest tags counts.
        """
        search = self._search
        if search.expected is None or search.header is None:
            return None
        seen = bytes(search.buf[at : at + _HEAD])
        best, head = most + 1, b""
        for tag in tags:
            due = _head(tag, search.expected + ahead)
            wrong = sum((a ^ b).bit_count() for a, b in zip(seen, due, strict=False))
            if due and wrong < best:
                best, head = wrong, due
        if not head:
            return None
        return block_at(head + seen[len(head) :], 0, search.header.bits)


def _due_tags(last_tag: int | None) -> list[int]:
    """Return the tags that may follow a block; those of coded ones only where none is before."""
    if last_tag is None:
        return _ALL
    if last_tag == STREAMED_TAG:
        return [STREAMED_TAG]
    if last_tag & (PAUSES | STREAMED) != RAW:
        return []
    return [*_COMPACT, _WRITTEN_RAW] if is_written(last_tag) else [last_tag, _WRITTEN_RAW]


def _head(tag: int, position: int) -> bytes:
    """Return tag and place of a block that is due; nothing where no such block can be."""
    if is_written(tag):
        return bytes([tag]) + (position % POSITIONS).to_bytes(3, "little")
    place, rest = divmod(position, CLASS_TOKENS[tag >> 2 & 3])
    return b"" if rest else bytes([tag]) + (place % PLACES).to_bytes(2, "little")
