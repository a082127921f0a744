"""What test vectors of the `.fcs` bitstream share: a stream, and its events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vector_records import (
    Header,
    end,
    entropy,
    neutral,
    raw,
    speech_like,
)

Events = list[list[Any]]
HEADER = Header()
TOKENS = speech_like(100, 11, 7)
N_SAMPLES = 31990
BLOCKS = [raw(TOKENS[i : i + 20], 11, i) for i in range(0, 100, 20)]
START = HEADER.record()
END = end(N_SAMPLES)
STREAM = START + b"".join(BLOCKS) + END
CODED = [entropy(TOKENS[i : i + 50], neutral(11), i, 1) for i in (0, 50)]


@dataclass(frozen=True)
class Vector:
    """A stream, and what a reader gives for it."""

    name: str
    shows: str
    data: bytes
    events: Events
    code: int = 0
    model: Header | None = None
    priors: list[str] = field(default_factory=list)
    salvage: bool = False


def opened(header: Header = HEADER) -> list[Any]:
    """Return the event of a header."""
    return ["header", *header.described()]


def tokens(first: int, last: int) -> list[Any]:
    """Return the event of the tokens of blocks `first` to `last`, the last one left out."""
    return ["tokens", TOKENS[20 * first : 20 * last]]


def silence(n_tokens: int) -> list[Any]:
    """Return the event of silence."""
    return ["silence", n_tokens]


def ended(n_samples: int | None = N_SAMPLES, n_output: int = N_SAMPLES * 3 // 2) -> list[Any]:
    """Return the event of a part's end."""
    return ["end", n_samples, n_output]


def joined(*blocks: int) -> bytes:
    """Return some blocks of the stream."""
    return b"".join(BLOCKS[i] for i in blocks)


WHOLE_EVENTS = [opened(), tokens(0, 5), ended()]
