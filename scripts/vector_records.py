"""Records of the `.fcs` bitstream, built as docs/reference/bitstream.md has them, for test vectors.

This shares nothing with the writer of fcs-edge but the coders of tokens.
"""

from __future__ import annotations

import binascii
import random
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from fcs_edge.entropy import Prior, TokenCoder, neutral_coder
from fcs_edge.entropy.prior import specs

RATES = [(n, rate) for rate in (24000, 16000) for n in (320, 640, 1280)]
CLASSES = {100: 0, 50: 1, 200: 2}


@dataclass(frozen=True)
class Header:
    """The fields of a header."""

    bits: int = 11
    spt: int = 320
    rate_in: int = 16000
    rate_out: int = 24000
    fingerprint: bytes = bytes.fromhex("0123456789abcdef")
    prior: int = 0
    settings: int = 0

    def described(self) -> list[Any]:
        """Return the fields as an event has them."""
        name = self.fingerprint.hex()
        rates = self.spt, self.rate_in, self.rate_out
        return [self.bits, *rates, name, self.prior, self.settings]

    def with_(self, **fields: Any) -> Header:
        """Return a header with some fields changed."""
        return replace(self, **fields)

    def record(self, copy: bool = False, explicit: bool = False) -> bytes:
        """Return the record."""
        rates = (self.spt, self.rate_out)
        known = self.rate_in == 16000 and rates in RATES and not explicit
        flags = self.bits - 1 | (self.prior > 0) << 4 | copy << 5
        data = b"FCS\x1a\x02" + bytes([flags, 1 + RATES.index(rates) if known else 0])
        data += u(self.settings, 2) + self.fingerprint
        data += u(self.prior, 4) if self.prior else b""
        return with_crc(
            data if known else data + u(self.spt, 2) + u(self.rate_in, 3) + u(self.rate_out, 3)
        )


def u(value: int, size: int) -> bytes:
    """Return an integer of so many bytes."""
    return value.to_bytes(size, "little")


def with_crc(data: bytes) -> bytes:
    """Return a record: its bytes, and their CRC."""
    return data + u(binascii.crc_hqx(data, 0xFFFF), 2)


def flipped(data: bytes, *bits: int) -> bytes:
    """Return bytes with some bits flipped, counted from the first byte's least significant one."""
    changed = bytearray(data)
    for bit in bits:
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def packed(tokens: list[int], bits: int, fill: int = 0) -> bytes:
    """Return tokens as a string of bits, the last byte filled up with bits of `fill`."""
    text = "".join(f"{token:0{bits}b}" for token in tokens)
    text += f"{fill:08b}"[8 - -len(text) % 8 :] if len(text) % 8 else ""
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


def coded(tokens: list[int], coder: TokenCoder, known: list[bool] | None = None) -> bytes:
    """Return tokens as a coder codes them."""
    array = np.array(tokens, np.uint16)
    return coder.encode(array) if known is None else coder.encode(array, np.array(known))


def compact(
    count: int, position: int, payload: bytes, coding: int = 0, pauses: bool = False
) -> bytes:
    """Return a compact block."""
    kind = CLASSES[count]
    head = bytes([0xA0 | pauses << 4 | kind << 2 | coding]) + u(position // count % 65536, 2)
    if coding or pauses:
        payload += bytes(len(payload) % 2) if kind == 2 else b""
        head += u(len(payload) // (2 if kind == 2 else 1), 1)
    return with_crc(head + payload)


def written(
    count: int, position: int, payload: bytes, coding: int = 0, pauses: bool = False
) -> bytes:
    """Return a block of class 3."""
    head = bytes([0xAC | pauses << 4 | coding]) + u(position % 2**24, 3)
    return with_crc(head + bytes([count, len(payload)]) + payload)


def streamed(tokens: list[int], bits: int, position: int, chunk: int) -> bytes:
    """Return a streamed block."""
    chunks = [tokens[i : i + chunk] for i in range(0, len(tokens), chunk)]
    payload = b"".join(packed(part, bits) for part in chunks)
    return with_crc(b"\xaf" + u(position, 3) + bytes([len(tokens), chunk]) + payload)


def raw(tokens: list[int], bits: int, position: int) -> bytes:
    """Return a raw block, compact where count and position allow."""
    make = compact if len(tokens) in CLASSES and position % len(tokens) == 0 else written
    return make(len(tokens), position, packed(tokens, bits))


def entropy(tokens: list[int], coder: TokenCoder, position: int, coding: int) -> bytes:
    """Return a coded block, compact where count and position allow."""
    make = compact if len(tokens) in CLASSES and position % len(tokens) == 0 else written
    return make(len(tokens), position, coded(tokens, coder), coding)


def listed(comfort: int, bits: int, pairs: list[tuple[int, int]]) -> bytes:
    """Return a list of pauses."""
    data = bytes([len(pairs)]) + u(comfort, 1 if bits <= 8 else 2)
    return data + bytes(n for pair in pairs for n in pair)


def general(tag: int, body: bytes) -> bytes:
    """Return a general record."""
    return with_crc(bytes([tag]) + u(len(body), 2) + body)


def end(n_samples: int) -> bytes:
    """Return an end record."""
    return with_crc(b"\xe5" + u(n_samples, 5))


def speech_like(count: int, bits: int, seed: int) -> list[int]:
    """Return tokens of which each differs from the one before in a few bits."""
    rng = random.Random(seed)
    token, tokens = rng.getrandbits(bits), []
    for _ in range(count):
        for _ in range(rng.choice([0, 0, 1, 1, 2, 4])):
            token ^= 1 << rng.randrange(bits)
        tokens.append(token)
    return tokens


def drawn_prior(bits: int, hidden: int, seed: int) -> Prior:
    """Return a prior of drawn weights, for which bits tend to stay as they were."""
    rng = random.Random(seed)
    arrays = {}
    for name, (dtype, shape) in specs(bits, hidden).items():
        most = 24 if dtype == np.int8 else 40
        values = [rng.randint(-most, most) for _ in range(int(np.prod(shape)))]
        arrays[name] = np.array(values, dtype).reshape(shape)
    for bit in range(bits):
        arrays["context_skip"][bit, bit] += 300
    return Prior(**arrays)


def prior_bytes(prior: Prior) -> bytes:
    """Return the bytes that a prior's check covers."""
    names = "context", "bias", "step", "output", "context_skip", "bias_skip", "step_skip"
    arrays = [getattr(prior, name) for name in names]
    data = bytes([1, prior.bits]) + u(arrays[1].size, 2) + bytes([8, 4, 2, 4])
    return data + b"".join(a.astype(a.dtype.newbyteorder("<")).tobytes() for a in arrays)


PRIORS = {f"bits-{bits}": drawn_prior(bits, 12, bits) for bits in (1, 8, 11, 12, 16)}


@cache
def neutral(bits: int) -> TokenCoder:
    """Return the neutral coder."""
    return neutral_coder(bits)
