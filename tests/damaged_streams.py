"""Seeded bitstreams, whole and damaged, for readers that must agree."""

import binascii
import contextlib
import io
import random

import numpy as np
from prior_cases import drawn

from fcs_edge.bitstream import BitstreamReader, BitstreamWriter, Header
from fcs_edge.errors import FcsError

PRIORS = {prior.check: prior for prior in (drawn(11, 16, 1), drawn(16, 5, 2), drawn(3, 9, 3))}
RATES = [(320, 16000, 24000), (640, 16000, 24000), (320, 16000, 16000), (160, 8000, 11025)]


def header_of(bits, rng):
    """Return a header of drawn fields; one of three names a prior, if there is one of its bits."""
    checks = [check for check, prior in PRIORS.items() if prior.bits == bits]
    prior = rng.choice([*checks, *checks, 0xBAD0BAD])
    fields = rng.choice(RATES)
    return Header(
        bits, *fields, rng.randbytes(8), prior * rng.randrange(2), rng.choice([0, 1, 1 << 15])
    )


def speech_like(count, bits, rng):
    """Return tokens of which each differs from the one before in a few bits."""
    token, tokens = rng.getrandbits(bits), []
    for _ in range(count):
        for _ in range(rng.choice([0, 1, 1, 2, 4])):
            token ^= 1 << rng.randrange(bits)
        tokens.append(token)
    return np.array(tokens, np.uint16)


def stream_of(header, count, rng):
    """Return a stream of `count` tokens as some writer's options have it."""
    tokens = speech_like(count, header.bits, rng)
    pauses = None
    if rng.random() < 0.4:
        pauses = np.zeros(count, bool)
        for _ in range(rng.randrange(4)):
            start = rng.randrange(count + 1)
            pauses[start : start + rng.randrange(150)] = True
        tokens[pauses] = rng.getrandbits(header.bits)
    prior = PRIORS.get(header.prior)
    options = {"coder": prior.coder() if prior else None, "raw": rng.random() < 0.4}
    options["block_tokens"] = rng.choice([4, 20, 50, 100, 200, 255])
    if rng.random() < 0.2:
        options |= {"eager": True, "chunk_tokens": rng.choice([1, 4, 8])}
    elif rng.random() < 0.2:
        options["block_bytes"] = rng.choice([30, 60, 200])
    if rng.random() < 0.3:
        options["tags"] = {"title": "x" * rng.randrange(30), "k": "v"}
    file = io.BytesIO()
    writer = BitstreamWriter(file, header, **options)
    writer.write(tokens, pauses)
    writer.close(max(0, count * header.samples_per_token - rng.choice([0, 99, 2000])))
    return file.getvalue()


def records_of(data, header):
    """Return the records that a reader accepts."""
    records = []
    reader = BitstreamReader(join=header, records=lambda offset, record: records.append(record))
    with contextlib.suppress(FcsError):
        reader.feed(data)
        reader.close()
    return records


def with_crc(data):
    """Return bytes and their CRC."""
    return data + binascii.crc_hqx(data, 0xFFFF).to_bytes(2, "little")


def drawn_record(header, rng):
    """Return a record with a CRC that holds, and drawn fields."""
    place = rng.choice([0, 1, 2, 3, 5, 30, 65535, rng.getrandbits(16)]).to_bytes(2, "little")
    position = rng.choice([0, 4, 50, 100, 200, 3000, 3500, 0xFFFFFF, rng.getrandbits(24)])
    position = position.to_bytes(3, "little")
    kind = rng.randrange(9)
    if kind == 0:
        return with_crc(b"\xe5" + rng.choice([0, 16000, rng.getrandbits(22)]).to_bytes(5, "little"))
    if kind == 1:
        body = rng.randbytes(rng.choice([0, 3, 40]))
        return with_crc(bytes([0xC0 + rng.randrange(32)]) + len(body).to_bytes(2, "little") + body)
    if kind == 2:
        flags = (header.bits - 1) | rng.choice([0, 0x20, 0x20, 0x40, 0x80])
        head = bytes([rng.choice([2, 2, 2, 3]), flags, rng.choice([0, 1, 1, 7]), 0, 0])
        rates = rng.choice([bytes(8), b"\x40\x01\x80\x3e\x00\xc0\x5d\x00"]) if head[2] == 0 else b""
        return with_crc(b"FCS\x1a" + head + header.fingerprint + rates)
    tag = 0xA0 + rng.randrange(32)
    listed = b""
    if tag & 0x10:
        listed = bytes([rng.choice([0, 1, 2])]) + rng.randbytes(1 if header.bits <= 8 else 2)
        listed += rng.choice([bytes([0, 5]), bytes([3, 40, 2, 60]), rng.randbytes(4), b""])
    if tag & 0xC == 0xC:
        count = rng.choice([4, 8, 24, 100, 200, 255])
        if tag == 0xAF:
            chunk = rng.choice([1, 4, 8])
            size = count // chunk * -(-chunk * header.bits // 8)
            return with_crc(bytes([tag]) + position + bytes([count, chunk]) + rng.randbytes(size))
        size = -(-count * header.bits // 8) if tag & 3 == 0 else rng.randrange(90)
        payload = listed + rng.randbytes(max(0, min(size, 255) - rng.choice([0, len(listed)])))
        return with_crc(bytes([tag]) + position + bytes([count, len(payload) & 255]) + payload)
    if tag & 0x13 == 0:
        count = {0: 100, 4: 50, 8: 200}[tag & 0xC]
        return with_crc(bytes([tag]) + place + rng.randbytes(-(-count * header.bits // 8)))
    payload = listed + rng.randbytes(rng.randrange(120))
    payload = payload[: len(payload) // 2 * 2] if tag & 0xC == 8 else payload
    length = len(payload) // (2 if tag & 0xC == 8 else 1)
    return with_crc(bytes([tag]) + place + bytes([length & 255]) + payload)


def damaged(data, records, header, rng):
    """Return a stream with one kind of damage."""
    records, kind = list(records), rng.randrange(12)
    at = rng.randrange(len(records))
    if kind == 0:
        for _ in range(rng.choice([1, 1, 2, 5, 20])):
            records = [_flipped(b"".join(records), rng)]
    elif kind == 1:
        start = rng.randrange(len(data))
        size = rng.choice([3, 32, 200])
        records = [data[:start], rng.randbytes(size), data[start + size :]]
    elif kind == 2:
        records = [data[: rng.randrange(len(data))]]
    elif kind == 3:
        records = [data[rng.randrange(len(data)) :]]
    elif kind == 4:
        start = rng.randrange(len(data))
        records = [data[:start], data[start + rng.choice([1, 7, 60, 300]) :]]
    elif kind == 5:
        del records[at : at + rng.choice([1, 1, 2, 5])]
    elif kind == 6:
        records.insert(rng.randrange(len(records) + 1), records[at])
    elif kind == 7:
        rng.shuffle(records)
    elif kind == 8:
        record = bytearray(records[at])
        for _ in range(rng.choice([1, 1, 3]) if len(record) > 2 else 0):
            record[rng.choice([0, *range(min(8, len(record))), -3])] ^= 1 << rng.randrange(8)
        records[at] = with_crc(bytes(record[:-2]))
    elif kind == 9:
        for _ in range(rng.choice([1, 2, 4])):
            records.insert(rng.randrange(len(records) + 1), drawn_record(header, rng))
    elif kind == 10:
        records.insert(at, rng.randbytes(rng.choice([1, 10, 100])))
    else:
        records[0] = _flipped(records[0], rng)
    return b"".join(records)


def _flipped(data, rng):
    changed = bytearray(data)
    if changed:
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def case(seed):
    """Return a stream, most often damaged, and the header of the reader's model, or None."""
    rng = random.Random(seed)
    header = header_of(rng.choice([11, 11, 16, 3, 1, 8, 9]), rng)
    count = rng.choice([0, 3, 60, 230, 520])
    data = stream_of(header, count, rng)
    if rng.random() < 0.3:
        other = header if rng.random() < 0.5 else header_of(rng.choice([11, header.bits]), rng)
        data += stream_of(other, rng.choice([5, 120]), rng)
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        records = records_of(data, header) or [data]
        if data:
            data = damaged(data, records, header, rng)
    return data, rng.choice([header, header, header, None])
