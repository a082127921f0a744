"""Streams of the .fcs format from a plain reference writer, and helpers to read events."""

from __future__ import annotations

import io
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from fcs_edge.bitstream import (
    BitstreamReader,
    BitstreamWriter,
    Damage,
    End,
    Header,
    HeaderRead,
    Tokens,
)
from fcs_edge.entropy import neutral_coder
from fcs_edge.errors import BitstreamError
from helpers import merged

DOC = Path(__file__).parents[1] / "docs" / "reference" / "bitstream.md"
SPT = 320
ALL_BITS = range(1, 17)
NO_END = "ended without an end record"
CLASSES = {100: 0, 50: 1, 200: 2}


def header_of(bits=11, **fields):
    return Header(bits, SPT, 16000, 24000, b"8 bytes!", **fields)


def random_tokens(count, bits, seed=0):
    return np.random.default_rng(seed).integers(0, 1 << bits, count, dtype=np.uint16)


def speech_like(count, bits, seed=0):
    """Tokens that repeat often enough to be coded in fewer bits."""
    rng = np.random.default_rng(seed)
    few = rng.integers(0, 1 << bits, 8, dtype=np.uint16)
    return few[np.minimum(rng.geometric(0.4, count) - 1, 7)]


def encode(tokens, header, *, n_samples=None, pieces=None, pauses=None, **options):
    file = io.BytesIO()
    writer = BitstreamWriter(file, header, **options)
    start = 0
    for size in pieces or [len(tokens)]:
        part = slice(start, start + size)
        writer.write(tokens[part], None if pauses is None else pauses[part])
        start += size
    assert start == len(tokens)
    writer.close(len(tokens) * header.samples_per_token if n_samples is None else n_samples)
    return file.getvalue()


def decode(data, *, step=None, **options):
    return read(data, step=step, **options)[1]


def read(data, *, step=None, **options):
    """Return the reader and its events."""
    reader = BitstreamReader(**options)
    events = []
    for start in range(0, len(data), step or max(1, len(data))):
        events += reader.feed(data[start : start + (step or len(data))])
    return reader, events + reader.close()


def tokens_in(events):
    arrays = [event.tokens for event in events if isinstance(event, Tokens)]
    return np.concatenate(arrays) if arrays else np.zeros(0, np.uint16)


def damage_in(events):
    return [event for event in events if isinstance(event, Damage)]


def timeline(events):
    """Tokens in their place, -1 for silence."""
    parts = [np.zeros(0, np.int64)]
    for event in events:
        if isinstance(event, Tokens):
            parts.append(event.tokens.astype(np.int64))
        if isinstance(event, Damage):
            parts.append(np.full(event.n_tokens, -1))
    return np.concatenate(parts)


def most_tokens(reader, data, *, eager):
    """Return the most tokens and silence that a reader may give out for some bytes."""
    held = 30 * len(data)  # a block of 9 bytes may hold 255 tokens
    bits = 1 if reader.header is None else reader.header.bits
    played = len(data) * 8 // bits if eager else 0
    return held + played + 180_000 + len(data) * 8 // bits


def checked(data, step, *, strict=False, **options):
    """Read bytes whole and in pieces; return the events once they are found plausible.

    An error gives no events.
    """
    try:
        reader, events = read(data, **options)
        error = None
    except BitstreamError as caught:
        events, error = [], str(caught)
        assert error
        assert "\n" not in error
    try:
        pieces = read(data, step=step, **options)[1]
        piecewise_error = None
    except BitstreamError as caught:
        pieces, piecewise_error = [], str(caught)
    assert piecewise_error == error
    assert merged(pieces) == merged(events)
    if error is not None:
        return []
    counts = Counter(type(event) for event in events)
    assert isinstance(events[0], HeaderRead)
    assert counts[Damage] == reader.damaged
    assert counts[HeaderRead] >= counts[End]
    assert reader.ended or counts[Damage]
    sizes = [len(event.tokens) for event in events if isinstance(event, Tokens)]
    silences = [event.n_tokens for event in events if isinstance(event, Damage)]
    assert min(sizes, default=1) > 0
    assert min(silences, default=0) >= 0
    assert reader.n_tokens == sum(sizes) + sum(silences)
    assert reader.n_tokens <= most_tokens(reader, data, eager=options.get("eager", False))
    for event in damage_in(events):
        assert event.message.isprintable()
    if strict:
        messages = [event.message for event in damage_in(events)]
        with pytest.raises(BitstreamError) if messages else nullcontext() as caught:
            decode(data, strict=True, **options)
        assert not messages or str(caught.value) == messages[0]
    return events


def crc16(data):
    """Bit by bit, as the document says."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
    return crc


def with_crc(data):
    return data + crc16(data).to_bytes(2, "little")


def naive_pack(tokens, bits):
    text = "".join(format(int(token), f"0{bits}b") for token in tokens)
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


def naive_block(tokens, bits, position, *, coding=0, payload=None, listed=b""):
    """A block: compact where count and position fit; `payload` is that of a coded one."""
    count = len(tokens)
    raw = payload is None
    payload = listed + (naive_pack(tokens, bits) if raw else payload)
    tag = 0xA0 | coding | (0x10 if listed else 0)
    if count in CLASSES and position % count == 0:
        kind = CLASSES[count]
        head = bytes([tag | kind << 2]) + (position // count % 65536).to_bytes(2, "little")
        if coding or listed:
            payload += bytes(len(payload) % 2 if kind == 2 else 0)
            head += bytes([len(payload) // (2 if kind == 2 else 1)])
        return with_crc(head + payload)
    return with_crc(naive_written(tag | 0x0C, position, count, len(payload)) + payload)


def naive_written(tag, position, count, last):
    return bytes([tag]) + (position % (1 << 24)).to_bytes(3, "little") + bytes([count, last])


def naive_streamed(tokens, bits, position, chunk):
    payload = b"".join(
        naive_pack(tokens[i : i + chunk], bits) for i in range(0, len(tokens), chunk)
    )
    return with_crc(naive_written(0xAF, position, len(tokens), chunk) + payload)


def naive_end(n_samples):
    return with_crc(b"\xe5" + n_samples.to_bytes(5, "little"))


def naive_general(tag, body):
    return with_crc(bytes([tag]) + len(body).to_bytes(2, "little") + body)


def naive_header(header, copy=False):
    rates = (header.samples_per_token, header.input_rate, header.output_rate)
    codes = [
        *((320, 16000, 24000), (640, 16000, 24000), (1280, 16000, 24000)),
        *((320, 16000, 16000), (640, 16000, 16000), (1280, 16000, 16000)),
    ]
    code = codes.index(rates) + 1 if rates in codes else 0
    flags = header.bits - 1 + (16 if header.prior else 0) + (32 if copy else 0)
    data = b"FCS\x1a\x02" + bytes([flags, code]) + header.settings.to_bytes(2, "little")
    data += header.fingerprint
    if header.prior:
        data += header.prior.to_bytes(4, "little")
    if not code:
        data += rates[0].to_bytes(2, "little")
        data += rates[1].to_bytes(3, "little") + rates[2].to_bytes(3, "little")
    return with_crc(data)


def naive_pieces(count, block_tokens, bits):
    """Positions and counts of the blocks of a file."""
    size = block_tokens if block_tokens in CLASSES else min(block_tokens, 255 * 8 // bits)
    at = 0
    while at < count:
        n = min(size, count - at)
        if n < size:
            n = min(n, 100)
        yield at, n
        at += n


def naive_file(tokens, header, n_samples=None, *, block_tokens=100, coded=False):
    """The records of a file; coded ones by the neutral coder, where that is shorter."""
    bits = header.bits
    records = [naive_header(header)]
    since = 0
    for at, n in naive_pieces(len(tokens), block_tokens, bits):
        if at - since >= 64 * header.input_rate // header.samples_per_token:
            records.append(naive_header(header, copy=True))
            since = at
        part = tokens[at : at + n]
        block = naive_block(part, bits, at)
        if coded:
            payload = neutral_coder(bits).encode(part)
            other = naive_block(part, bits, at, coding=1, payload=payload)
            block = min(block, other, key=len)
        records.append(block)
    spt = header.samples_per_token
    return [*records, naive_end(len(tokens) * spt if n_samples is None else n_samples)]


def offsets_of(records):
    return np.cumsum([0] + [len(record) for record in records]).tolist()


# Six raw blocks of 50 tokens, 74 bytes each, and one of 17. Block n, from 1, is record n and begins
# at OFFSETS[n].
HEADER = header_of()
TOKENS = random_tokens(317, 11)
RECORDS = naive_file(TOKENS, HEADER, block_tokens=50)
DATA = b"".join(RECORDS)
OFFSETS = offsets_of(RECORDS)
END = OFFSETS[8]


def damaged(changes, data=DATA):
    """Flip bits: {offset: mask}."""
    out = bytearray(data)
    for offset, mask in changes.items():
        out[offset] ^= mask
    return bytes(out)
