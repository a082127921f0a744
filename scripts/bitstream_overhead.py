"""Print the table of the bitstream's overhead, for docs/reference/bitstream.md.

    python scripts/bitstream_overhead.py

The overhead is that of a minute, 3000 tokens, all included: header, blocks, checks and end record,
in percent of the payload. Entropy-coded tokens take 11.6 bits each, in whole bytes for each block.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from fcs_edge.bitstream import BitstreamWriter, Header
from fcs_edge.entropy import TokenCoder

N_TOKENS, RATE = 3000, 50
CODED_BITS = 11.6


class _Sized(TokenCoder):
    """A coder whose output has the size of coded speech, and no meaning."""

    def encode(self, tokens: Any, known: Any = None) -> bytes:
        return bytes(-(-round(tokens.size * CODED_BITS * 10) // 80))


def file_size(bits: int, seconds: int, *, coded: bool) -> tuple[int, int]:
    """Return the bytes of the payloads of a minute, and of its file."""
    header = Header(bits, 320, 16000, 24000, bytes(8), prior=1 if coded else 0)
    coder = _Sized(bits, 1, lambda *_: None, ()) if coded else None
    file = io.BytesIO()
    count = seconds * RATE
    writer = BitstreamWriter(file, header, block_tokens=count, coder=coder, raw=not coded)
    writer.close(N_TOKENS * 320, np.zeros(N_TOKENS, np.uint16))
    block = len(coder.encode(np.zeros(count))) if coder else -(-count * bits // 8)
    return N_TOKENS // count * block, len(file.getvalue())


def rows() -> Iterator[str]:
    """Yield the rows of the table."""
    yield "| Tokens | Block, s | Payload, bytes | File, bytes | Overhead | kbit/s |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for bits, coded in ((11, False), (12, False), (16, False), (16, True)):
        for seconds in (1, 2, 4):
            payload, size = file_size(bits, seconds, coded=coded)
            name = f"entropy-coded, {CODED_BITS} bits" if coded else f"raw, {bits} bits"
            share, rate = 100 * (size - payload) / payload, 8 * size / 60_000
            yield f"| {name} | {seconds} | {payload} | {size} | {share:.1f} % | {rate:.3f} |"


if __name__ == "__main__":
    print("\n".join(rows()))
