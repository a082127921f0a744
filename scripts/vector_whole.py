"""Test vectors of the `.fcs` bitstream: streams that are whole, and answers to open questions."""

from __future__ import annotations

from vector_base import (
    END,
    HEADER,
    N_SAMPLES,
    START,
    STREAM,
    TOKENS,
    WHOLE_EVENTS,
    Events,
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
    coded,
    compact,
    end,
    entropy,
    general,
    listed,
    neutral,
    packed,
    raw,
    speech_like,
    streamed,
    written,
)


def each_width() -> list[Vector]:
    """Return streams of each coding, for tokens of 1, 8, 11, 12 and 16 bits."""
    vectors = []
    for bits in (1, 8, 11, 12, 16):
        prior = PRIORS[f"bits-{bits}"]
        array = speech_like(157, bits, bits)
        parts = [(array[:100], 0), (array[100:150], 100), (array[150:], 150)]
        plain = Header(bits)
        named = plain.with_(prior=prior.check)
        last = end(157 * 320)
        events: Events = [["tokens", array], ["end", 157 * 320, 157 * 480]]
        sizes = f"{bits} bits a token, blocks of 100, 50 and 7"
        for name, header, blocks in (
            ("raw", plain, [raw(part, bits, at) for part, at in parts]),
            ("neutral", plain, [entropy(part, neutral(bits), at, 1) for part, at in parts]),
            ("prior", named, [entropy(part, prior.coder(), at, 2) for part, at in parts]),
        ):
            data = header.record() + b"".join(blocks) + last
            priors = [f"bits-{bits}"] if name == "prior" else []
            shown = f"Raw, {sizes}" if name == "raw" else f"{name.capitalize()} coder, {sizes}"
            all_events = [opened(header), *events]
            vectors.append(Vector(f"{name}-{bits}", shown, data, all_events, priors=priors))
    return vectors


def forms() -> list[Vector]:
    """Return the other forms of blocks."""
    array = speech_like(400, 5, 3)
    header = Header(5)
    payload = coded(array[200:], neutral(5))
    large = [compact(200, 0, packed(array[:200], 5)), compact(200, 200, payload, 1)]
    odd = coded(array[:200], neutral(5))
    extra = bytes([*payload, 0, 0, 0, 0])
    mixed = [
        raw(array[:30], 5, 0),
        entropy(array[30:60], neutral(5), 30, 1),
        streamed(array[60:90], 5, 60, 6),
        written(10, 90, packed(array[90:100], 5)),
        compact(50, 100, coded(array[100:150], neutral(5)), 1),
    ]
    live = [*TOKENS[:48], *TOKENS[48:62], *[0] * 10]
    copy = HEADER.record(copy=True)
    live_data = [streamed(live[:48], 11, 0, 4), copy, streamed(live[48:], 11, 48, 4)]
    sizes = f"payloads of {len(odd)} and {len(payload)} bytes"
    data = START + b"".join(live_data) + end(62 * 320)
    return [
        Vector(
            "class-2",
            f"Blocks of 200 tokens, raw and coded; coded {sizes}, filled up to an even number",
            header.record() + large[0] + compact(200, 200, odd, 1) + end(400 * 320),
            [opened(header), ["tokens", array[:200] * 2], ["end", 400 * 320, 400 * 480]],
        ),
        Vector(
            "zeros-behind",
            "A coded payload with more zeros than it needs",
            header.record() + large[0] + compact(200, 200, extra, 1) + end(400 * 320),
            [opened(header), ["tokens", array], ["end", 400 * 320, 400 * 480]],
        ),
        Vector(
            "mixed",
            "Blocks of all forms in one part",
            header.record() + b"".join(mixed) + end(150 * 320),
            [opened(header), ["tokens", array[:150]], ["end", 150 * 320, 150 * 480]],
        ),
        Vector(
            "fill-bits",
            "Bits behind the last token are not zero; a reader ignores them",
            START + written(5, 0, packed(TOKENS[:5], 11, fill=255)) + end(1600),
            [opened(), ["tokens", TOKENS[:5]], ["end", 1600, 2400]],
        ),
        Vector(
            "streamed",
            "A live stream with chunks of 4 tokens, a copy of the header, and 10 tokens of filler",
            data,
            [opened(), ["tokens", live], ["end", 62 * 320, 62 * 480]],
        ),
    ]


def pauses() -> list[Vector]:
    """Return blocks with lists of pauses."""
    vectors = []
    for bits in (8, 11):
        prior = PRIORS[f"bits-{bits}"]
        header = Header(bits, prior=prior.check, settings=1 << 14)
        comfort = 3 if bits == 8 else 1029
        array = speech_like(200, bits, 40 + bits)
        pairs = [(10, 5), (0, 40), (20, 20)]
        known = [10 <= i < 55 or 75 <= i < 95 for i in range(100)]
        array[:100] = [comfort if quiet else t for t, quiet in zip(array, known, strict=False)]
        rest = [t for t, quiet in zip(array, known, strict=False) if not quiet]
        head = listed(comfort, bits, pairs)
        blocks = [
            compact(100, 0, head + packed(rest, bits), 0, True),
            compact(100, 100, head + coded(array[:100], neutral(bits), known), 1, True),
            compact(100, 200, head + coded(array[:100], prior.coder(), known), 2, True),
            compact(100, 300, listed(comfort, bits, []), 0, True),
            written(30, 400, listed(comfort, bits, [(0, 30)]), 1, True),
        ]
        both = array[:100] * 3 + [comfort] * 130
        data = header.record() + b"".join(blocks) + end(430 * 320)
        events = [opened(header), ["tokens", both], ["end", 430 * 320, 430 * 480]]
        shows = f"Pauses, {bits} bits a token: raw, neutral, prior; blocks of one pause"
        vectors.append(Vector(f"pauses-{bits}", shows, data, events, priors=[f"bits-{bits}"]))
    quiet = [(0, 3), (10, 180)]
    rest = TOKENS[:17]
    block = compact(200, 0, listed(9, 11, quiet) + packed(rest, 11) + b"\xff", 0, True)
    played = [9] * 3 + rest[:10] + [9] * 180 + rest[10:]
    filled = len(listed(9, 11, quiet) + packed(rest, 11)) % 2
    assert filled, "the case needs an odd number of bytes"
    vectors.append(
        Vector(
            "pauses-class-2",
            "A raw block of 200 with pauses, whose odd number of bytes is filled up",
            START + block + end(200 * 320),
            [opened(), ["tokens", played], ["end", 64000, 96000]],
        )
    )
    return vectors


_RATES = [Header(11, spt, 16000, out) for out in (24000, 16000) for spt in (320, 640, 1280)]
_RATES.append(Header(11, 160, 8000, 11025))
_FIVE = written(5, 0, packed(TOKENS[:5], 11))
_PARTS = [(h, 5 * h.spt, 5 * h.spt * h.rate_out // h.rate_in) for h in _RATES]
_TEXTS = [
    general(0xC1, "title=Grüße\0time=2026-01-02T03:04:05Z\0Bad=1\0=2\0none\0".encode()),
    general(0xC1, b"title=Later\0x-1_=a=b\0comment=\xff" + b"\0" + b"k" * 33 + b"=1"),
    general(0xC1, b""),
]
_TAGS = [
    {"title": "Grüße", "time": "2026-01-02T03:04:05Z"},
    {"title": "Later", "x-1_": "a=b", "comment": "\ufffd"},
]
_SECOND = Header(16, 640, 16000, 16000, bytes(8))
_MORE = speech_like(5, 16, 1)
_OTHER = _SECOND.record() + written(5, 0, packed(_MORE, 16)) + end(3200)
_OTHER_EVENTS = [opened(_SECOND), ["tokens", _MORE], ["end", 3200, 3200]]
_SETTINGS = HEADER.with_(settings=0xFFFF)
_COPY = HEADER.record(copy=True)
_RECORDS = [
    Vector(
        "rates",
        "Chained parts, one for each code of rates, and explicit rates",
        b"".join(h.record() + _FIVE + end(n) for h, n, _ in _PARTS),
        [e for h, n, m in _PARTS for e in (opened(h), ["tokens", TOKENS[:5]], ["end", n, m])],
    ),
    Vector(
        "settings",
        "All bits of the settings are 1: the model is not causal, and the count exceeds",
        _SETTINGS.record() + joined(0, 1) + end(40 * 320 + 639),
        [opened(_SETTINGS), tokens(0, 2), ended(13439, 20158)],
    ),
    Vector(
        "metadata",
        "Metadata of several records, with keys and bytes that are not allowed",
        START + b"".join(_TEXTS) + STREAM[len(START) :],
        [opened(), *[["metadata", tag] for tag in _TAGS], tokens(0, 5), ended()],
    ),
    Vector(
        "unknown-odd",
        "Unknown records of odd types are skipped",
        START
        + general(0xC3, b"")
        + joined(0)
        + general(0xDF, bytes(4096))
        + joined(1, 2, 3, 4)
        + END,
        WHOLE_EVENTS,
    ),
    Vector(
        "unknown-even",
        "A record of an even type ends the reading: it needs a newer reader",
        START + joined(0, 1) + general(0xC2, b"new") + joined(2, 3, 4) + END,
        [opened(), tokens(0, 2)],
        1,
    ),
    Vector(
        "chained",
        "Two parts with different headers",
        STREAM + _OTHER,
        [*WHOLE_EVENTS, *_OTHER_EVENTS],
    ),
    Vector(
        "copies",
        "Copies of the header stand between blocks",
        START + _COPY + joined(0, 1) + _COPY + _COPY + joined(2, 3, 4) + _COPY + END,
        WHOLE_EVENTS,
    ),
    Vector("no-tokens", "A part without tokens", START + end(0), [opened(), ended(0, 0)]),
]

_COPIED = HEADER.record(copy=True)
_LOOSE = HEADER.with_(settings=1 << 15)
ANSWERS = [
    Vector(
        "no-end",
        "Without an end record the output has all tokens and no padding",
        START + joined(0, 1, 2, 3, 4),
        [opened(), tokens(0, 5), ended(None, 48000)],
        1,
    ),
    Vector(
        "count-exceeds",
        "The count needs 2 more tokens: these are lost",
        START + joined(0, 1, 2, 3, 4) + end(102 * 320),
        [opened(), tokens(0, 5), silence(2), ended(102 * 320, 102 * 480)],
        1,
    ),
    Vector(
        "count-exceeds-loose",
        "The model is not causal: the count exceeds by less than two tokens, and silence pads",
        _LOOSE.record() + joined(0, 1, 2, 3, 4) + end(102 * 320 - 1),
        [opened(_LOOSE), tokens(0, 5), ended(102 * 320 - 1, 48958)],
    ),
    Vector(
        "count-exceeds-causal",
        "The same count in a model that is causal: 2 tokens are lost",
        START + joined(0, 1, 2, 3, 4) + end(102 * 320 - 1),
        [opened(), tokens(0, 5), silence(2), ended(102 * 320 - 1, 48958)],
        1,
    ),
    Vector(
        "count-small",
        "The count is smaller than the tokens: the rest is cut",
        START + joined(0, 1, 2, 3, 4) + end(3),
        [opened(), tokens(0, 5), ended(3, 4)],
    ),
    Vector(
        "count-implausible",
        "The count is implausible, and bytes follow: it is no record",
        START + joined(0, 1) + end(2**40 - 1) + joined(2, 3, 4) + END,
        WHOLE_EVENTS,
        1,
    ),
    Vector(
        "rounding",
        "Halves of an output sample round to the even one: 1.5 to 2, and 4.5 to 4",
        (START + joined(0) + end(1)) + (START + joined(0) + end(3)),
        [opened(), tokens(0, 1), ended(1, 2), opened(), tokens(0, 1), ended(3, 4)],
    ),
    Vector(
        "join",
        "A stream without its start: no silence in front, and less sound",
        joined(2, 3, 4) + END,
        [opened(), tokens(2, 5), ended(N_SAMPLES - 40 * 320, 28785)],
        1,
        HEADER,
    ),
    Vector(
        "join-copy",
        "A stream that starts with a copy of the header needs no model",
        _COPIED + joined(2, 3, 4) + END,
        [opened(), tokens(2, 5), ended(N_SAMPLES - 40 * 320, 28785)],
        1,
    ),
    Vector(
        "header-short",
        "A header of 18 bytes, and nothing else",
        START[:18],
        [],
        2,
        HEADER,
    ),
    Vector(
        "header-cut",
        "A header of 18 bytes, and blocks behind it",
        START[:18] + STREAM[len(START) :],
        WHOLE_EVENTS,
        1,
        HEADER,
    ),
]

WHOLE = [*each_width(), *forms(), *pauses(), *_RECORDS]
