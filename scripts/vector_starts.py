"""Test vectors of the `.fcs` bitstream: starts that are missing, damaged or of another kind."""

from __future__ import annotations

import random

from vector_base import (
    BLOCKS,
    END,
    HEADER,
    N_SAMPLES,
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
from vector_records import (
    PRIORS,
    Header,
    end,
    entropy,
    flipped,
    packed,
    raw,
    speech_like,
    with_crc,
    written,
)

_COPY = HEADER.record(copy=True)
_NAMED = HEADER.with_(prior=PRIORS["bits-11"].check, settings=5)
_OTHER = Header(16, 640, 16000, 16000, bytes(8))
_MORE = speech_like(20, 16, 2)
_WRONG = flipped(START, 40, 77)
_REST = STREAM[len(START) :]
_LATE = [opened(), tokens(2, 5), ended(N_SAMPLES - 40 * 320, 28785)]
_NOISE = random.Random(6).randbytes(50)
_OWN = entropy(TOKENS[40:60], PRIORS["bits-11"].coder(), 40, 2)
_PRIOR_CASE = raw(TOKENS[20:40], 11, 20) + _NAMED.record(copy=True) + _OWN + end(60 * 320)
_NEW_PART = _OTHER.record(copy=True) + written(20, 60, packed(_MORE, 16)) + end(80 * 640)
_WRAP = raw(TOKENS[:20], 11, 2**24 - 20) + raw(TOKENS[20:40], 11, 0)
_CASES = [
    (
        "header-bit",
        "One bit of the header is wrong: the CRC finds it, without a model",
        flipped(STREAM, 83),
        WHOLE_EVENTS,
        None,
    ),
    (
        "header-bit-copy",
        "The bit that is wrong makes the header a copy",
        flipped(STREAM, 45),
        WHOLE_EVENTS,
        None,
    ),
    (
        "header-damaged",
        "Two bits of the header are wrong: the model's is assumed",
        _WRONG + _REST,
        WHOLE_EVENTS,
        HEADER,
    ),
    (
        "header-damaged-copy",
        "Two bits of the header are wrong: without a model, a copy begins the part",
        _WRONG + joined(0, 1) + _COPY + joined(2, 3, 4) + END,
        [opened(), silence(40), tokens(2, 5), ended()],
        None,
    ),
    (
        "header-and-block",
        "Header and first block are damaged: silence from position 0",
        _WRONG + flipped(BLOCKS[0], 80) + joined(1, 2, 3, 4) + END,
        [opened(), silence(20), tokens(1, 5), ended()],
        HEADER,
    ),
    ("header-missing", "The header is cut off", _REST, WHOLE_EVENTS, HEADER),
    (
        "noise-in-front",
        "50 bytes of noise stand in front of the header",
        _NOISE + STREAM,
        WHOLE_EVENTS,
        None,
    ),
    (
        "join-in-block",
        "A stream that starts inside a block",
        BLOCKS[1][10:] + joined(2, 3, 4) + END,
        _LATE,
        HEADER,
    ),
    (
        "join-later-copy",
        "Without a model, a stream is joined at the first copy",
        joined(1) + _COPY + joined(2, 3, 4) + END,
        _LATE,
        None,
    ),
    (
        "join-prior",
        "A copy tells the prior and the settings of a joined stream",
        _PRIOR_CASE,
        [opened(), tokens(1, 3), ended(40 * 320, 40 * 480)],
        HEADER,
    ),
    (
        "join-other",
        "A copy tells that the stream is another model's: a part begins",
        joined(2) + _NEW_PART,
        [
            opened(),
            tokens(2, 3),
            ended(None, 9600),
            opened(_OTHER),
            ["tokens", _MORE],
            ended(20 * 640, 20 * 640),
        ],
        HEADER,
    ),
    (
        "join-unconfirmed",
        "The first block is not confirmed by the next head, and left out",
        BLOCKS[1] + joined(3, 4) + END,
        [opened(), tokens(3, 5), ended(N_SAMPLES - 60 * 320, 19185)],
        HEADER,
    ),
    (
        "join-wrap",
        "Positions start over at 2^24",
        _WRAP,
        [opened(), tokens(0, 2), ended(None, 40 * 480)],
        HEADER,
    ),
    (
        "second-header-missing",
        "Behind an end record, the part's header is missing",
        STREAM + _REST,
        [*WHOLE_EVENTS, *WHOLE_EVENTS],
        None,
    ),
]
_PRIORS = {"join-prior": ["bits-11"]}
STARTS = [
    Vector(name, shows, data, events, 1, model, _PRIORS.get(name, []))
    for name, shows, data, events, model in _CASES
]

_NEWER_FLAGS = with_crc(START[:5] + bytes([START[5] | 0x40]) + START[6:-2])
_NEWER_RATES = with_crc(START[:6] + b"\x07" + START[7:-2])
_FIRST = b"FCS\x1a\x01" + bytes(23)
_REST = STREAM[len(START) :]
_NOISE = random.Random(8).randbytes(300)
_REFUSED = [
    ("version-1", "Version 1 was never released", _FIRST + _REST, HEADER),
    ("version-3", "A later version", with_crc(b"FCS\x1a\x07" + bytes(28)) + _REST, HEADER),
    ("newer-flags", "The header has a flag that is not known", _NEWER_FLAGS + _REST, HEADER),
    (
        "newer-rates",
        "The header has a code of rates that is not known",
        _NEWER_RATES + _REST,
        HEADER,
    ),
    ("empty", "No bytes", b"", HEADER),
    ("noise", "Noise", _NOISE, HEADER),
    ("no-header", "Blocks without a header, for a reader without a model", _REST, None),
    ("end-alone", "An end record", END, HEADER),
]
REFUSED = [Vector(name, shows, data, [], 2, model) for name, shows, data, model in _REFUSED]
