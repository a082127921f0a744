"""The rules of docs/reference/bitstream.md for a whole input, one after the other.

It shares no code with the reader. It does not play early, and salvages nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from fcs_edge.entropy import neutral_coder

CLASSES = (100, 50, 200)
RATES = {
    1: (320, 16000, 24000),
    2: (640, 16000, 24000),
    3: (1280, 16000, 24000),
    4: (320, 16000, 16000),
    5: (640, 16000, 16000),
    6: (1280, 16000, 16000),
}


class Refused(Exception):  # noqa: N818
    """The input is no stream that can be read."""


@dataclass(frozen=True)
class Head:
    """Fields of a header."""

    bits: int
    rates: tuple[int, int, int]
    settings: int
    fingerprint: bytes
    prior: int


def crc(data):
    value = 0xFFFF
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ (0x1021 if value & 0x8000 else 0)) & 0xFFFF
    return value


def number(data):
    return int.from_bytes(data, "little")


def unpacked(data, bits, count):
    text = "".join(format(byte, "08b") for byte in data)
    return [int(text[i * bits : (i + 1) * bits], 2) for i in range(count)]


def whole(data, p, size):
    return p + size <= len(data) and crc(data[p : p + size - 2]) == number(
        data[p + size - 2 : p + size]
    )


def header_at(data, p):
    """Return size, header and whether it is a copy; "newer" in the header's place; or None."""
    if data[p : p + 5] != b"FCS\x1a\x02" or p + 19 > len(data):
        return None
    flags, code = data[p + 5], data[p + 6]
    size = 19 + (4 if flags & 16 else 0) + (8 if code == 0 else 0)
    if not whole(data, p, size):
        return None
    if flags & 0xC0 or code > 6:
        return size, "newer", False
    rest = data[p + 17 : p + size - 2]
    rates = RATES.get(code) or (number(rest[-8:-6]), number(rest[-6:-3]), number(rest[-3:]))
    if 0 in rates:
        return None
    prior = number(rest[:4]) if flags & 16 else 0
    head = Head((flags & 15) + 1, rates, number(data[p + 7 : p + 9]), data[p + 9 : p + 17], prior)
    return size, head, bool(flags & 32)


def place_at(data, p):
    """Return the position that a block's head states and its modulus; None if its tag is none."""
    tag = data[p]
    if not 0xA0 <= tag < 0xC0 or (tag & 3 == 3 and tag != 0xAF):
        return None
    if tag & 12 == 12:
        return number(data[p + 1 : p + 4]), 1 << 24
    count = CLASSES[tag >> 2 & 3]
    return number(data[p + 1 : p + 3]) * count, count << 16


def block_at(data, p, bits):
    """Return a whole block: size, position, modulus, tokens or ("coded", arguments); or None."""
    placed = place_at(data, p)
    if placed is None or p + 6 > len(data):
        return None
    tag = data[p]
    kind, listed, coding = tag >> 2 & 3, tag & 16, tag & 3
    chunk = 0
    if kind == 3:
        count, last, head = data[p + 4], data[p + 5], 6
        if count == 0 or last == 0:
            return None
        length = last
        if tag == 0xAF:
            if count % last:
                return None
            chunk, length = last, count // last * ceil(last * bits / 8)
        elif not listed and coding == 0 and length != ceil(count * bits / 8):
            return None
    elif listed or coding:
        count, head = CLASSES[kind], 4
        length = data[p + 3] * (2 if kind == 2 else 1)
        if length == 0:
            return None
    else:
        count, head = CLASSES[kind], 3
        length = ceil(count * bits / 8)
    size = head + length + 2
    if not whole(data, p, size):
        return None
    payload = data[p + head : p + head + length]
    tokens = content(payload, count, bits, coding, bool(listed), chunk, kind == 2)
    return None if tokens is None else (size, *placed, count, tokens)


def content(payload, count, bits, coding, listed, chunk, pairs):
    """Return tokens, or a triple to decode: coding, payload and known tokens; None if not valid."""
    if chunk:
        size = ceil(chunk * bits / 8)
        chunks = (unpacked(payload[i * size :], bits, chunk) for i in range(count // chunk))
        return [token for tokens in chunks for token in tokens]
    known = [-1] * count
    if listed:
        start = 1 + (1 if bits <= 8 else 2)
        if len(payload) < start:
            return None
        n, comfort = payload[0], number(payload[1:start])
        if n > 15 or comfort >= 1 << bits or len(payload) < start + 2 * n:
            return None
        at = 0
        for i in range(n):
            gap, length = payload[start + 2 * i], payload[start + 2 * i + 1]
            at += gap + length
            if length == 0 or at > count:
                return None
            known[at - length : at] = [comfort] * length
        if n == 0:
            known = [comfort] * count
        rest = known.count(-1)
        payload = payload[start + 2 * n :]
        spare = len(payload) - ceil(rest * bits / 8)
        odd = pairs and spare == 1
        if (coding == 0 or rest == 0) and not (spare == 0 or odd):
            return None
        if rest == 0:
            return known
    if coding == 0:
        others = iter(unpacked(payload, bits, known.count(-1)))
        return [next(others) if token < 0 else token for token in known]
    return coding, payload, known


class Model:
    """Reads a whole input; `out` has headers, tokens, -1 for silence, and ("end", samples)."""

    def __init__(self, data: bytes, join: Head | None) -> None:
        self.data, self.head = data, join
        self.out: list[Any] = []
        self.reports = 0
        self.silence = 0
        self.assumed = False

    def read(self):
        at = self.start_of_part(0)
        while at is not None:
            at = self.part(at)
            if at is not None:
                at = self.start_of_part(at) if at < len(self.data) else None
        return self

    # The start of a part.

    def start_of_part(self, h):
        """Return where the part's records begin; None if no part begins."""
        data, first = self.data, h == 0
        here = header_at(data, h)
        if here and here[1] == "newer":
            if first:
                raise Refused
            self.reports += 1
            return None
        if here and not here[2]:
            return self.begin(here[1], 0, h + here[0])
        if here:  # a copy
            self.reports += 1
            return self.begin(here[1], None, h + here[0])
        wrong = sum((a ^ b).bit_count() for a, b in zip(data[h : h + 4], b"FCS\x1a", strict=False))
        near = len(data) >= h + 4 and wrong <= 4
        if near:
            for bit in range(8 * min(31, len(data) - h)):
                flipped = bytearray(data[h : h + 31])
                flipped[bit // 8] ^= 1 << bit % 8
                fixed = header_at(bytes(flipped), 0)
                if fixed and fixed[1] != "newer":
                    self.reports += 1
                    return self.begin(fixed[1], 0, h + fixed[0])
        limit = 65536 if first else len(data)
        if first and data[:4] == b"FCS\x1a" and len(data) > 4 and data[4] != 2:
            if data[4] == 1 or self.head is None:
                raise Refused
            limit = 32
        self.expected, p = 0 if near else None, h
        while p < min(limit, len(data)):
            found = self.valid(p, h)
            if found and found[0] == "end":
                p += found[1]
                continue
            if found and found[0] == "header":
                self.reports += found[3] or p > h
                self.begin(found[2], None if found[3] and not near else 0, 0)
                self.begins = h if found[3] and near else None
                return p + found[1]
            if found and found[0] == "block":
                self.reports += 1
                self.begin(self.head, 0 if near else None, 0)
                self.assumed = True
                self.begins = h if near else None
                return p
            p += 1
        if first:
            raise Refused
        self.reports += 1
        return None

    def begin(self, head, expected, at):
        self.head, self.expected, self.first, self.begins = head, expected, 0, None
        self.assumed = False
        self.out.append(head)
        return at

    # The records of a part.

    def valid(self, p, s):
        """Return the valid record at an offset, of a search that begins at `s`."""
        data = self.data
        header = header_at(data, p)
        if header:
            return ("newer",) if header[1] == "newer" else ("header", *header)
        if self.head is None:
            return None
        near, spt = 3000 + 64 * (p - s), self.head.rates[0]
        if data[p] == 0xE5 and whole(data, p, 8):
            samples = number(data[p + 1 : p + 6])
            missing = None if self.expected is None else ceil(samples / spt) - self.expected
            good = missing is not None and -256 <= missing <= near
            if good or self.confirmed(p + 8, None):
                return "end", 8, samples
            return None
        if 0xC0 <= data[p] < 0xE0 and p == s and p + 3 <= len(data):
            body = number(data[p + 1 : p + 3])
            return (
                ("general", body + 5, data[p])
                if body <= 4096 and whole(data, p, body + 5)
                else None
            )
        block = block_at(data, p, self.head.bits)
        if not block:
            return None
        size, place, modulus, count, tokens = block
        ahead = None
        if self.expected is not None:
            ahead = (place - self.expected) % modulus
            if ahead > modulus // 2:
                ahead -= modulus
        good = ahead is not None and (ahead <= near if ahead >= 0 else p == s)
        if good or self.confirmed(p + size, place + count):
            return "block", size, place, ahead, count, tokens
        return None

    def confirmed(self, p, position):
        data = self.data
        if p == len(data) or data[p : p + 4] == b"FCS\x1a":
            return True
        if position is None:
            return False
        if data[p] == 0xE5:
            return whole(data, p, 8)
        placed = place_at(data, p) if p + 4 <= len(data) else None
        return placed is not None and placed[0] == position % placed[1]

    def part(self, at):
        """Read records; return where the part ends, None if nothing can follow."""
        s = at if self.begins is None else self.begins
        reported = at if self.begins is not None and self.assumed else None
        p = at
        while True:
            found = None
            while p < len(self.data):
                found = self.valid(p, s)
                if found:
                    break
                p += 1
            if not found:
                self.reports += 1
                return None
            skipped = p - s
            if found[0] == "newer" or (found[0] == "general" and found[2] % 2 == 0):
                self.reports += 1
                return None
            if found[0] == "general":
                p = s = p + found[1]
            elif found[0] == "header":
                _, size, head, copy = found
                p += size
                if copy and self.copies(head):
                    if head != self.head:
                        self.head, self.assumed = head, False
                    s = s if skipped else p
                else:
                    self.reports += 1 + copy
                    self.begin(head, None if copy else 0, 0)
                    s = p
            elif found[0] == "end":
                self.end(found[2], p, skipped)
                return p + 8
            else:
                s = self.block(found, p, s, p == reported)
                p += found[1]
            reported = None

    def copies(self, head):
        if self.assumed:
            head = replace(head, prior=self.head.prior, settings=self.head.settings)
        return head == self.head

    def block(self, found, p, s, reported):
        """Take a block; return where the search goes on from."""
        _, size, place, ahead, count, tokens = found
        skipped = p - s
        if ahead is None:
            self.expected = self.first = place
            ahead = 0
        elif ahead < 0 and skipped and place <= 100 + 2 * skipped:
            self.reports += 1
            self.begin(self.head, 0, 0)
            self.assumed = True
            ahead = place
        elif ahead < 0:
            self.reports += 1
            return s if skipped else p + size
        self.lose(ahead, p, skipped and not reported)
        self.expected += ahead + count
        if isinstance(tokens, tuple):
            coding, payload, known = tokens
            if coding == 2:
                self.reports += 1
                tokens = [-1] * count
            else:
                tokens = neutral_coder(self.head.bits).decode(payload, count, known).tolist()
        self.out += tokens
        return p + size

    def lose(self, n_tokens, p, skipped):
        most = 180_000 + 8 * p // self.head.bits - self.silence
        silence = min(n_tokens, max(0, most))
        self.silence += silence
        self.out += [-1] * silence
        self.reports += bool(n_tokens or skipped)

    def end(self, samples, p, skipped):
        spt = self.head.rates[0]
        missing = 0
        if self.expected is not None:
            missing = ceil(samples / spt) - self.expected
            if self.head.settings >> 15 and samples - self.expected * spt < 2 * spt:
                missing = 0
        self.lose(max(0, missing), p, skipped)
        stated = 0 if self.expected is None else max(0, samples - self.first * spt)
        self.out.append(("end", stated))
