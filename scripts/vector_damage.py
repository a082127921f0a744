"""Test vectors of the `.fcs` bitstream: damage behind the header."""

from __future__ import annotations

import random

from vector_base import (
    BLOCKS,
    CODED,
    END,
    HEADER,
    START,
    STREAM,
    TOKENS,
    WHOLE_EVENTS,
    Vector,
    ended,
    joined,
    opened,
    silence,
    tokens,
)
from vector_records import PRIORS, end, entropy, flipped, general, neutral, raw

_BLOCK = len(BLOCKS[0])
_AT = [len(START) + _BLOCK * i for i in range(6)]
_RNG = random.Random(5)
_NOISE = _RNG.randbytes(40)
_LOST_1 = [opened(), tokens(0, 1), silence(20), tokens(2, 5), ended()]
_PRIOR = PRIORS["bits-11"]
_NAMED = HEADER.with_(prior=_PRIOR.check)
_WITH_PRIOR = [
    raw(TOKENS[:20], 11, 0),
    entropy(TOKENS[20:40], neutral(11), 20, 1),
    entropy(TOKENS[40:60], _PRIOR.coder(), 40, 2),
    raw(TOKENS[60:80], 11, 60),
]
_MIXED = b"".join(_WITH_PRIOR) + end(80 * 320)
_THIRD = [opened(_NAMED), tokens(0, 2), silence(20), tokens(3, 4), ended(80 * 320, 80 * 480)]
_UNNAMED = [opened(), *_THIRD[1:]]
_CASES = [
    (
        "bit-payload",
        "One bit of a payload flips: the block is silence",
        flipped(STREAM, 8 * _AT[1] + 77),
        _LOST_1,
    ),
    ("bit-place", "One bit of a position flips", flipped(STREAM, 8 * _AT[1] + 12), _LOST_1),
    ("bit-tag", "One bit of a tag flips", flipped(STREAM, 8 * _AT[1] + 6), _LOST_1),
    ("bit-count", "One bit of a count flips", flipped(STREAM, 8 * _AT[1] + 34), _LOST_1),
    (
        "bit-last",
        "One bit of the last block flips",
        flipped(STREAM, 8 * _AT[4] + 90),
        [opened(), tokens(0, 4), silence(20), ended()],
    ),
    (
        "bit-end",
        "One bit of the end record flips",
        flipped(STREAM, 8 * _AT[5] + 9),
        [opened(), tokens(0, 5), ended(None, 48000)],
    ),
    ("block-out", "A block is cut out", START + joined(0, 2, 3, 4) + END, _LOST_1),
    (
        "blocks-out",
        "The first and the last block are cut out",
        START + joined(1, 2, 3) + END,
        [opened(), silence(20), tokens(1, 4), silence(20), ended()],
    ),
    (
        "block-twice",
        "A block is repeated: the second one is left out",
        START + joined(0, 1, 1, 2, 3, 4) + END,
        WHOLE_EVENTS,
    ),
    (
        "blocks-swapped",
        "Two blocks are swapped: the late one is left out",
        START + joined(0, 2, 1, 3, 4) + END,
        _LOST_1,
    ),
    (
        "bytes-in",
        "40 bytes are put between two blocks",
        STREAM[: _AT[2]] + _NOISE + STREAM[_AT[2] :],
        WHOLE_EVENTS,
    ),
    (
        "bytes-out",
        "Three bytes are lost in a block",
        STREAM[: _AT[1] + 9] + STREAM[_AT[1] + 12 :],
        _LOST_1,
    ),
    (
        "burst",
        "40 bytes are noise, across two blocks",
        STREAM[: _AT[2] - 20] + _NOISE + STREAM[_AT[2] + 20 :],
        [opened(), tokens(0, 1), silence(40), tokens(3, 5), ended()],
    ),
    (
        "cut-in-block",
        "The stream ends inside a block",
        STREAM[: _AT[3] + 20],
        [opened(), tokens(0, 3), ended(None, 60 * 480)],
    ),
    (
        "cut-at-block",
        "The stream ends between two blocks",
        STREAM[: _AT[3]],
        [opened(), tokens(0, 3), ended(None, 60 * 480)],
    ),
    (
        "cut-in-end",
        "The stream ends inside its end record",
        STREAM[:-3],
        [opened(), tokens(0, 5), ended(None, 48000)],
    ),
    ("cut-at-header", "The stream ends behind its header", START, [opened(), ended(None, 0)]),
    (
        "general-damaged",
        "A record of metadata is damaged, and skipped as bytes are",
        START + flipped(general(0xC1, b"title=x"), 40) + STREAM[len(START) :],
        WHOLE_EVENTS,
    ),
    (
        "no-end-chained",
        "A part without an end record, and another part",
        STREAM[:-8] + STREAM,
        [opened(), tokens(0, 5), ended(None, 48000), *WHOLE_EVENTS],
    ),
    (
        "copy-differs",
        "A copy of a header that differs begins a part",
        START + joined(0) + HEADER.with_(spt=640).record(copy=True) + joined(2) + end(60 * 640),
        [
            opened(),
            tokens(0, 1),
            ended(None, 9600),
            opened(HEADER.with_(spt=640)),
            tokens(2, 3),
            ended(20 * 640, 20 * 960),
        ],
    ),
    (
        "end-and-header-lost",
        "An end record and the next part's header are lost in one burst",
        STREAM[:-5] + _NOISE[:20] + STREAM[len(START) :],
        [opened(), tokens(0, 5), ended(None, 48000), *WHOLE_EVENTS],
    ),
    ("noise-behind", "Bytes behind the end record are ignored", STREAM + _NOISE, WHOLE_EVENTS),
    (
        "prior-unknown",
        "A block's prior is unknown: it is silence, and the others play",
        _NAMED.record() + _MIXED,
        _THIRD,
    ),
    (
        "prior-unnamed",
        "A block needs a prior, and the header names none",
        START + _MIXED,
        _UNNAMED,
    ),
    (
        "coded-bit",
        "One bit of a coded payload flips",
        flipped(START + b"".join(CODED) + END, 8 * (len(START) + 9)),
        [opened(), silence(50), ["tokens", TOKENS[50:]], ended()],
    ),
]
_WRONG = [token ^ 1 << 10 if i in (20, 60) else token for i, token in enumerate(TOKENS)]
_SALVAGED = [opened(), ["tokens", _WRONG], ended()]
_SALVAGE = [
    (
        "salvage-payload",
        "The first bits of two payloads flip: two tokens are wrong",
        flipped(STREAM, 8 * _AT[1] + 55, 8 * _AT[3] + 55),
        _SALVAGED,
    ),
    (
        "salvage-head",
        "Bits of two positions flip: no token is wrong",
        flipped(STREAM, 8 * _AT[1] + 10, 8 * _AT[3] + 12, 8 * _AT[3] + 20),
        WHOLE_EVENTS,
    ),
    (
        "salvage-cut",
        "The last block is cut: its whole tokens play",
        STREAM[: _AT[4] + 6 + 11],
        [opened(), ["tokens", TOKENS[:88]], ended(None, 88 * 480)],
    ),
    (
        "salvage-coded",
        "A coded block is never played",
        flipped(START + b"".join(CODED) + END, 8 * (len(START) + 9)),
        [opened(), silence(50), ["tokens", TOKENS[50:]], ended()],
    ),
]
SALVAGE = [Vector(*case, code=1, salvage=True) for case in _SALVAGE]
DAMAGE = [Vector(*case, code=1) for case in _CASES]
