"""Test vectors of the `.fcs` bitstream: records that are wrong although their CRC holds."""

from __future__ import annotations

from vector_base import (
    END,
    START,
    TOKENS,
    WHOLE_EVENTS,
    Vector,
    ended,
    joined,
    opened,
    silence,
    tokens,
)
from vector_records import end, flipped, listed, packed, raw, u, with_crc, written

_FIRST, _LAST = joined(0), joined(1, 2, 3, 4) + END
_FIVE = packed(TOKENS[:5], 11)
_LONG = with_crc(bytes([0xC3]) + u(4097, 2) + bytes(4097))
_LIE = raw(TOKENS[:20], 11, 10000)
_INNER = raw(TOKENS[60:80], 11, 20)
_OUTER = flipped(written(50, 20, _INNER + bytes(69 - len(_INNER))), 500)
_FAR = 2**23 - 1000
_GAP = START + _FIRST + written(20, _FAR, packed(TOKENS[:20], 11))
_ALLOWED = 180_000 + 8 * (len(START) + len(_FIRST)) // 11
_CASES = [
    ("tag", "The tag 0xBF is not valid", with_crc(b"\xbf" + bytes(5) + _FIVE)),
    ("count-0", "A count of 0", with_crc(b"\xad" + u(20, 3) + b"\0\5" + _FIVE[:5])),
    ("length-0", "A length of 0", with_crc(b"\xa1" + u(1, 2) + b"\0")),
    (
        "length-raw",
        "A raw block of class 3 whose length does not fit its count",
        written(6, 20, _FIVE),
    ),
    (
        "chunk",
        "A streamed block whose chunk does not divide its count",
        with_crc(b"\xaf" + u(20, 3) + b"\5\2" + bytes(9)),
    ),
    ("chunk-0", "A streamed block with a chunk of 0", with_crc(b"\xaf" + u(20, 3) + b"\5\0")),
    (
        "pauses-16",
        "A list of 16 pauses",
        written(40, 20, listed(9, 11, [(1, 1)] * 16) + packed(TOKENS[:24], 11), 0, True),
    ),
    ("pause-0", "A pause of 0 tokens", written(5, 20, listed(9, 11, [(0, 0)]) + _FIVE, 0, True)),
    (
        "pause-beyond",
        "A pause that goes beyond its block",
        written(5, 20, listed(9, 11, [(3, 3)]), 1, True),
    ),
    (
        "pause-comfort",
        "A comfort token of more bits",
        written(5, 20, listed(2048, 11, []), 1, True),
    ),
    (
        "pause-bytes",
        "Bytes behind a list of pauses that has the whole block",
        written(5, 20, listed(9, 11, []) + b"\0", 1, True),
    ),
    (
        "pause-cut",
        "A list of pauses that is longer than the payload",
        written(5, 20, b"\x02\x09\0\0\1", 1, True),
    ),
    ("general-long", "A record of 4097 bytes", _LONG),
    ("far", "A block 10000 tokens ahead that no next head confirms", _LIE),
]
_WRONG = [
    Vector(f"wrong-{name}", shows, START + _FIRST + record + _LAST, WHOLE_EVENTS, 1)
    for name, shows, record in _CASES
]
_LONG_SILENCE = [opened(), tokens(0, 1), silence(_ALLOWED), ["tokens", TOKENS[:20]]]
HOSTILE = [
    *_WRONG,
    Vector(
        "far-confirmed",
        "A block 10000 tokens ahead that the next head confirms",
        START + _FIRST + _LIE + raw(TOKENS[20:40], 11, 10020) + end(10040 * 320),
        [opened(), tokens(0, 1), silence(9980), tokens(0, 2), ended(10040 * 320, 10040 * 480)],
        1,
    ),
    Vector(
        "silence-limit",
        f"A gap of {_FAR - 20} tokens gives {_ALLOWED} tokens of silence",
        _GAP,
        [*_LONG_SILENCE, ended(None, (40 + _ALLOWED) * 480)],
        1,
    ),
    Vector(
        "nested",
        "A damaged block holds a whole one, which plays",
        START + _FIRST + _OUTER + joined(4) + END,
        [opened(), tokens(0, 1), ["tokens", TOKENS[60:80]], silence(40), tokens(4, 5), ended()],
        1,
    ),
]
