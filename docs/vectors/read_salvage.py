"""Read `.fcs` bitstreams, and play raw blocks whose check fails, without fcs-edge.

    python read_salvage.py FILE

It follows "Playing damaged blocks" in docs/reference/bitstream.md. It prints the events of
`read_fcs.py`, which stands beside it, and needs Python alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from read_fcs import CLASSES, Block, Event, Reader, Record, block_at, end_at

MOST_WRONG, MOST_WRONG_BEHIND = 6, 2
RAW = (0, 3)


def wrong_bits(a: bytes, b: bytes) -> int:
    """Return how many bits differ."""
    return sum((x ^ y).bit_count() for x, y in zip(a, b)) if len(a) == len(b) else 99


class Salvager(Reader):
    """Plays raw blocks at the expected place even if their check fails."""

    is_salvaged = False

    def search(self, at: int, begin: bool = False) -> tuple[int, Record | None]:
        """Return the next record: a damaged raw block that is due, or the first valid record."""
        p, record = super().search(at, begin)
        if begin or p == self.start or at != self.start or self.expected is None:
            return p, record
        due = self.due_block(at)
        self.is_salvaged = due is not None
        return (at, due) if due else (p, record)

    def heads(self, tags: list[int], position: int) -> Iterator[tuple[int, bytes]]:
        """Give the tags and the heads, as far as the place, of blocks that begin at a position."""
        for tag in tags:
            count = CLASSES[tag >> 2 & 3] if tag & 12 != 12 else 1
            if position % count == 0 and (tag & 3 != 3 or tag == 0xAF):
                place = position // count % (1 << (24 if count == 1 else 16))
                yield tag, bytes([tag]) + place.to_bytes(3 if count == 1 else 2, "little")

    def due_block(self, at: int) -> Record | None:
        """Return the raw block that is due at an offset, whether its check holds or not."""
        every = list(range(0xA0, 0xC0))
        tags = [self.tag, *range(0xAC, 0xB0)] if self.tag else every
        due = self.heads(tags, self.expected or 0)
        found = [(wrong_bits(head, self.data[at : at + len(head)]), tag, head) for tag, head in due]
        found = [one for one in sorted(found) if one[0] <= MOST_WRONG]
        if self.tag and found and found[0][1] & 3 not in RAW:
            return None
        for _, tag, head in found:
            mended = self.data[:at] + head + self.data[at + len(head) :]
            record = block_at(mended, at, self.header.bits, check=False)
            if record and tag & 3 in RAW and (self.tag or self.is_due_behind(record)):
                return record
        return None

    def is_due_behind(self, record: Record) -> bool:
        """Return whether what a block's end has is due there, but for two bits."""
        at, position = record.end, record.value.position + record.value.count
        heads = [head for _, head in self.heads(list(range(0xA0, 0xC0)), position)]
        wrong = [wrong_bits(head, self.data[at : at + len(head)]) for head in heads]
        return end_at(self.data, at) is not None or min(wrong) <= MOST_WRONG_BEHIND

    def block(self, block: Block, p: int, skipped: int) -> Iterator[Event]:
        """Give a block that is not behind."""
        if self.is_salvaged:
            yield ["damage", f"the block at byte {p} is damaged"]
            bits, chunk = self.header.bits, block.chunk or block.count
            whole, rest = divmod(len(block.payload), -(-chunk * bits // 8))
            n_tokens = whole * chunk + min(chunk, 8 * rest // bits)
            if block.known == [-1] * block.count:  # a block that is cut has fewer
                n_tokens = min(block.count, n_tokens)
                block = block._replace(count=n_tokens, known=[-1] * n_tokens)
        self.is_salvaged = False
        yield from super().block(block, p, skipped)


def main() -> int:
    """Run the command."""
    whole = True
    for event in Salvager(Path(sys.argv[1]).read_bytes(), None, []).events():
        print(json.dumps(event))
        whole = whole and event[0] != "damage"
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
