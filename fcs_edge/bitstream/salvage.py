"""Raw blocks whose CRC fails, found by where they are due."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from fcs_edge.bitstream.bitpack import packed_size
from fcs_edge.bitstream.header import MAGIC, is_near_magic
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
    streamed_count,
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
        self._last: Block | None = None

    def first(self, offsets: Iterable[int]) -> Wait:
        """Move to the first of some distances at which the block that is due may stand."""
        search = self._search
        self._last = None
        for offset in offsets:
            there = yield from search.need(offset + _HEAD)
            if there and self._resembled(search.pos + offset, _ALL, 0):
                search.pos += offset
                return True
        return False

    def header_here(self, size: int, last: Block | None) -> Wait:
        """Return whether a damaged copy of the header stands here, before the block that is due."""
        search = self._search
        self._last = last
        if not (yield from search.need(size + _HEAD)):
            return False
        near = is_near_magic(search.buf[search.pos : search.pos + len(MAGIC)])
        return near and self._resembled(search.pos + size, _due_tags(self._last), 0) is not None

    def block_here(self, last: Block | None) -> Generator[None, None, Block | None]:
        """Return the raw block that is due here, all or some of it; None if it is none.

        ``last`` is the block before.
        """
        search = self._search
        self._last = last
        if not (yield from search.need(_HEAD)):
            return None
        block = None
        if last is None:
            block = yield from self._first_of_row()
        if block is None:
            block = self._resembled(search.pos, _due_tags(last), 0)
        if block is None or block.tag not in _RAW:
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
        rest = seen[len(head) :]
        if head[0] == STREAMED_TAG:
            rest = self._streamed_rest(rest, search.expected + ahead)
        return block_at(head + rest, 0, search.header.bits)

    def _streamed_rest(self, seen: bytes, position: int) -> bytes:
        """Return count and chunk of a streamed block: those that are due, where they are known.

        They are if the block before has the count that `streamed_count` gives. Of a first block
        the chunk is taken as it is.
        """
        last, chunk, most = self._last, seen[1], _SURE_BITS
        if last is not None:
            if not last.chunk or last.n_tokens != streamed_count(
                position - last.n_tokens, last.chunk
            ):
                return seen
            chunk, most = last.chunk, MAX_WRONG_BITS
        if not chunk:
            return seen
        due = bytes([streamed_count(position, chunk), chunk])
        wrong = sum((a ^ b).bit_count() for a, b in zip(seen, due, strict=True))
        return due if wrong <= most else seen


def _due_tags(last: Block | None) -> list[int]:
    """Return the tags that may follow a block; those of coded ones only where none is before."""
    if last is None:
        return _ALL
    if last.tag == STREAMED_TAG:
        return [STREAMED_TAG]
    if last.tag & (PAUSES | STREAMED) != RAW:
        return []
    return [*_COMPACT, _WRITTEN_RAW] if is_written(last.tag) else [last.tag, _WRITTEN_RAW]


def _head(tag: int, position: int) -> bytes:
    """Return tag and place of a block that is due; nothing where no such block can be."""
    if is_written(tag):
        return bytes([tag]) + (position % POSITIONS).to_bytes(3, "little")
    place, rest = divmod(position, CLASS_TOKENS[tag >> 2 & 3])
    return b"" if rest else bytes([tag]) + (place % PLACES).to_bytes(2, "little")
