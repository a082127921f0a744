"""Streams of the .fcs format from a plain reference writer, and helpers to read events."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np

from fcs_edge.bitstream.reader import (
    BitstreamReader,
    Damage,
    Tokens,
)
from fcs_edge.bitstream.writer import BitstreamWriter, Header

DOC = Path(__file__).parents[1] / "docs" / "reference" / "bitstream.md"
SPT = 320
ALL_BITS = range(1, 17)
NO_END = "ended without an end record"


def header_of(bits=11, block_tokens=10):
    return Header(bits, SPT, 16000, 24000, b"8 bytes!", block_tokens)


def random_tokens(count, bits, seed=0):
    return np.random.default_rng(seed).integers(0, 1 << bits, count, dtype=np.uint16)


def encode(tokens, header, *, eager=False, n_samples=None, pieces=None):
    file = io.BytesIO()
    writer = BitstreamWriter(file, header, eager=eager)
    start = 0
    for size in pieces or [len(tokens)]:
        writer.write(tokens[start : start + size])
        start += size
    assert start == len(tokens)
    writer.close(len(tokens) * SPT if n_samples is None else n_samples)
    return file.getvalue()


def decode(data, *, step=None, **options):
    reader = BitstreamReader(**options)
    events = []
    for start in range(0, len(data), step or max(1, len(data))):
        events += reader.feed(data[start : start + (step or len(data))])
    return events + reader.close()


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


def with_crc(data):
    return data + struct.pack("<I", zlib.crc32(data))


def naive_pack(tokens, bits):
    text = "".join(format(int(token), f"0{bits}b") for token in tokens)
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


def naive_block(tokens, bits, sequence):
    head = bytes([0xB1, sequence % 256]) + len(tokens).to_bytes(2, "little")
    return with_crc(head + naive_pack(tokens, bits))


def naive_end(n_samples):
    return with_crc(b"\xe5\x00" + n_samples.to_bytes(6, "little"))


def naive_header(header):
    return with_crc(
        b"FCS\x1a\x01"
        + bytes([header.bits])
        + header.samples_per_token.to_bytes(2, "little")
        + header.input_rate.to_bytes(3, "little")
        + header.output_rate.to_bytes(3, "little")
        + header.fingerprint
        + header.block_tokens.to_bytes(2, "little")
    )


def naive_file(tokens, header, n_samples=None):
    size = header.block_tokens
    starts = range(0, len(tokens), size)
    blocks = [naive_block(tokens[i : i + size], header.bits, i // size) for i in starts]
    end = naive_end(len(tokens) * SPT if n_samples is None else n_samples)
    return [naive_header(header), *blocks, end]


# Five blocks of 10 tokens and one of 7; a full block takes 22 bytes, the last one 18. Block n,
# from 1, is record n and begins at OFFSETS[n].
HEADER = header_of()
TOKENS = random_tokens(57, 11)
RECORDS = naive_file(TOKENS, HEADER)
DATA = b"".join(RECORDS)
OFFSETS = np.cumsum([0] + [len(record) for record in RECORDS]).tolist()
END = OFFSETS[7]


def damaged(changes, data=DATA):
    """Flip bits: {offset: mask}."""
    out = bytearray(data)
    for offset, mask in changes.items():
        out[offset] ^= mask
    return bytes(out)
