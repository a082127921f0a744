"""Read `.fcs` bitstreams, version 2, without fcs-edge: a second reader, from the documents alone.

    python read_fcs.py FILE [--prior PRIOR]... [--join BITS,SPT,IN,OUT]

It follows docs/reference/bitstream.md and entropy-coding.md, and prints events as JSON, one a line:

    ["header", bits, samples per token, input rate, output rate, fingerprint, prior, settings]
    ["metadata", {key: value}]      ["tokens", [token, ...]]        ["silence", number of tokens]
    ["damage", text]                ["end", input samples or null, output samples]

The exit code is 0 if all was there, 1 if damage was reported, and 2 if it is no `.fcs` stream. A
prior's file has the bytes that its check covers. `--join` describes the model: a stream whose start
is missing is then read as one of that model's, with the last prior. It needs Python alone.
"""

from __future__ import annotations

import argparse
import binascii
import json
import re
import struct
import sys
import zlib
from collections import namedtuple
from collections.abc import Generator, Iterator
from operator import add, sub
from pathlib import Path
from typing import Any

MAGIC = b"FCS\x1a"
RATES = {n + 1: (320 << n % 3, 16000, 24000 if n < 3 else 16000) for n in range(6)}
CLASSES = (100, 50, 200)
NOT_CAUSAL = 1 << 15
ENTRY = r"(?:^|\0)([a-z0-9_-]{1,32})=([^\0]*)"
Event = list[Any]
# `known` has -1 for each token that the payload has, behind the list of pauses.
Block = namedtuple("Block", "tag position modulus count chunk known payload")
# `kind` is header, copy, block, general or end; `end` is the offset behind the record.
Record = namedtuple("Record", "kind end value")
HEADER = "bits spt rate_in rate_out fingerprint prior settings"
Header = namedtuple("Header", HEADER, defaults=(bytes(8), 0, 0))


def number(data: bytes, at: int, size: int) -> int:
    """Return a little-endian integer."""
    return int.from_bytes(data[at : at + size], "little")


def signs_of(token: int, bits: int) -> list[int]:
    """Return 1 or -1 for each bit of a token, the most significant first."""
    return [1 if token >> (bits - 1 - i) & 1 else -1 for i in range(bits)]


class RangeDecoder:
    """Yes-or-no decisions of a coded payload."""

    table = [0] * 4096
    power = 1 << 60
    for n in range(2049):
        table[2048 - n] = ((power << 17) + (1 << 60) + power) // (2 * ((1 << 60) + power))
        if n < 2048:
            table[2048 + n] = 65536 - table[2048 - n]
        power = power * 1148426689630428643 >> 60

    def __init__(self, data: bytes) -> None:
        self.low, self.high = 0, 0xFFFFFFFF
        self.value, self.data = int.from_bytes(data[:4].ljust(4, b"\0"), "big"), iter(data[4:])

    def bit(self, logit: int) -> tuple[int, int]:
        """Return a decision, and the probability that it had of being 1."""
        p = self.table[min(max(logit, -2048), 2047) + 2048]
        middle = self.low + ((self.high - self.low) * p >> 16)
        bit = int(self.value <= middle)
        self.low, self.high = (self.low, middle) if bit else (middle + 1, self.high)
        while self.low >> 24 == self.high >> 24:
            self.low = self.low << 8 & 0xFFFFFFFF
            self.high = self.high << 8 & 0xFFFFFFFF | 0xFF
            self.value = self.value << 8 & 0xFFFFFFFF | next(self.data, 0)
        return bit, p


def decode_neutral(data: bytes, known: list[int], bits: int) -> list[int]:
    """Return a block's tokens, by the neutral coder."""
    decoder, tokens, coded = RangeDecoder(data), [], 0
    weights = [[0, 40960, 8192] + [0] * i for i in range(bits)]
    before = [[0] * bits, [0] * bits]
    for token in known:
        if token < 0:
            rate = max(262144 // (coded + 28), 5120)
            token, coded, signs = 0, coded + 1, []
            for i, row in enumerate(weights):
                x = [1, before[0][i], before[1][i], *signs]
                bit, p = decoder.bit(sum([w * v for w, v in zip(row, x)]) >> 8)
                change = ((bit << 16) - p) * rate >> 16
                row[:] = [w + v * (change >> (j > 2)) for j, (w, v) in enumerate(zip(row, x))]
                signs.append(2 * bit - 1)
                token = 2 * token + bit
        tokens.append(token)
        before = [signs_of(token, bits), before[0]]
    return tokens


class Prior:
    """A network of integers, from the bytes that its check covers."""

    def __init__(self, data: bytes) -> None:
        version, bits, n, *constants = struct.unpack_from("<BBH4B", data.ljust(8, b"\0"))
        if (version, *constants) != (1, 8, 4, 2, 4) or not (1 <= bits <= 16 and 1 <= n <= 512):
            raise ValueError("the prior is of another kind")
        self.bits, self.hidden, self.check = bits, n, zlib.crc32(data) or 1
        rows, arrays, at = 10 * bits + 4, [], 8
        shapes = (rows, n, "b"), (1, n, "h"), (bits, n, "b"), (bits, n, "b"), (rows, bits, "h")
        for height, width, kind in (*shapes, (1, bits, "h"), (bits, bits, "h")):
            size = height * width * (1 if kind == "b" else 2)
            part = data[at : at + size].ljust(size, b"\0")
            arrays.append(list(struct.iter_unpack(f"<{width}{kind}", part)))
            at += size
        context, bias, step, self.output, context_skip, bias_skip, step_skip = arrays
        first, last = 8 * bits, 8 * bits + 4
        columns = [[abs(v) for v in column] for column in zip(*context, *bias, *step)]
        sums = [sum(c) - sum(c[first:last]) + max(c[first:last]) for c in columns]
        if at != len(data) or max(sums) > 32767:
            raise ValueError("the prior has a wrong size, or weights that are too large")
        self.context = [a + b for a, b in zip(context, context_skip)]
        # Integers with a lane of 32 bits for each element: one addition adds whole rows.
        rows_and_bias = [*self.context, bias[0] + bias_skip[0]]
        self.lanes = [sum(v << 32 * i for i, v in enumerate(row)) for row in rows_and_bias]
        self.step = [a + b for a, b in zip(step, step_skip)]

    def decode(self, data: bytes, known: list[int]) -> list[int]:
        """Return a block's tokens."""
        bits, decoder, tokens, history = self.bits, RangeDecoder(data), [], []
        totals, averages, width = [0] * bits, [0] * bits, self.hidden + bits
        lift = sum(1 << 32 * i + 24 for i in range(width))
        for t, token in enumerate(known):
            if token < 0:
                # The state is the hidden values, and behind them the sums of the skips.
                lanes = self.lanes[-1] + self.lanes[8 * bits + t % 4]
                lanes += sum([row if sign > 0 else -row for row, sign in zip(self.lanes, history)])
                lifted = struct.unpack(f"<{width}I", (lanes + lift).to_bytes(4 * width, "little"))
                state = [v - (1 << 24) for v in lifted]
                memory = [64 * abs(v) // (t + 8) * (1 if v > 0 else -1) for v in totals]
                memory += [average >> 6 for average in averages]
                for row, z in zip(self.context[8 * bits + 4 :], memory):
                    state = [h + (w * z + 32 >> 6) for h, w in zip(state, row)]
                token = 0
                for i in range(bits):
                    total = sum([h * w for h, w in zip(state, self.output[i]) if h > 0])
                    bit, _ = decoder.bit((total >> 4) + state[self.hidden + i])
                    state = list(map(add if bit else sub, state, self.step[i]))
                    token = 2 * token + bit
            tokens.append(token)
            signs = signs_of(token, bits)
            history = (signs + history)[: 8 * bits]
            totals = list(map(add, totals, signs))
            averages = [e + ((4096 * y - e) * 10 >> 6) for e, y in zip(averages, signs)]
        return tokens


def unpack(data: bytes, count: int, bits: int) -> list[int]:
    """Return the tokens of a string of bits, as many as it has."""
    value, size = int.from_bytes(data, "big"), 8 * len(data)
    ends = range(bits, bits * min(count, size // bits) + 1, bits)
    return [value >> (size - end) & ((1 << bits) - 1) for end in ends]


def crc_holds(data: bytes, start: int, end: int) -> bool:
    """Return whether a record is all there, and ends with the CRC of its bytes."""
    crc = binascii.crc_hqx(data[start : end - 2], 0xFFFF)
    return end <= len(data) and crc == number(data, end - 2, 2)


def header_at(data: bytes, at: int, newer: bool = True) -> Record | None:
    """Return a whole header, if there is one. A newer one is an error or none."""
    if not data.startswith(MAGIC + b"\x02", at) or at + 19 > len(data):
        return None
    flags, code = data[at + 5], data[at + 6]
    end = at + 19 + 4 * (flags >> 4 & 1) + 8 * (code == 0)
    if not crc_holds(data, at, end):
        return None
    if (is_newer := flags >> 6 or code > 6) and newer:
        raise NotImplementedError("the header is of a newer version")
    explicit = number(data, end - 10, 2), number(data, end - 8, 3), number(data, end - 5, 3)
    rates = RATES.get(code, explicit)
    prior = number(data, at + 17, 4) if flags >> 4 & 1 else 0
    fixed = data[at + 9 : at + 17], prior, number(data, at + 7, 2)
    header = Header((flags & 15) + 1, *rates, *fixed)
    kind = "copy" if flags >> 5 & 1 else "header"
    return None if is_newer or 0 in rates else Record(kind, end, header)


def head_at(data: bytes, at: int) -> tuple[int, int, int] | None:
    """Return tag, position and modulus of a block whose first four bytes are there."""
    tag = data[at] if at + 4 <= len(data) else 0
    if tag >> 5 != 0b101 or (tag & 3 == 3 and tag != 0xAF):
        return None
    if tag & 12 == 12:
        return tag, number(data, at + 1, 3), 1 << 24
    count = CLASSES[tag >> 2 & 3]
    return tag, number(data, at + 1, 2) * count, 65536 * count


def block_at(data: bytes, at: int, bits: int, check: bool = True) -> Record | None:
    """Return a whole block, if there is one; without `check` one whose CRC may fail."""
    head = head_at(data, at)
    if head is None or at + 6 > len(data):
        return None
    tag, chunk = head[0], 0
    kind, raw, has_list = tag >> 2 & 3, tag & 3 == 0, tag >> 4 & 1
    count = data[at + 4] if kind == 3 else CLASSES[kind]
    n_raw = -(-count * bits // 8)
    if kind == 3:
        size, start = data[at + 5], at + 6
        if tag == 0xAF and size:
            chunk = size
            size = 0 if count % chunk else count // chunk * -(-chunk * bits // 8)
        elif raw and not has_list and size != n_raw:
            return None
    elif raw and not has_list:
        size, start = n_raw, at + 3
    else:
        size, start = data[at + 3] * (2 if kind == 2 else 1), at + 4
    end = start + size + 2
    if count == 0 or size == 0 or (check and not crc_holds(data, at, end)):
        return None
    known, payload = [-1] * count, data[start : end - 2]
    if has_list:
        rest = take_pauses(payload, known, bits)
        need = size - len(rest or b"") - (-known.count(-1) * bits // 8)
        exact = size in (need, need + need % 2 if kind == 2 else need)
        if rest is None or (not exact and (raw or -1 not in known)):
            return None
        payload = rest
    return Record("block", end, Block(*head, count, chunk, known, payload))


def take_pauses(payload: bytes, known: list[int], bits: int) -> bytes | None:
    """Put pauses into `known`; return the payload behind their list, or None if it is wrong."""
    width = 1 if bits <= 8 else 2
    end, comfort, at = 1 + width + 2 * payload[0], number(payload, 1, width), 0
    if payload[0] > 15 or end > len(payload) or comfort >> bits:
        return None
    if payload[0] == 0:
        known[:] = [comfort] * len(known)
    for gap, length in struct.iter_unpack("BB", payload[1 + width : end]):
        if length == 0 or at + gap + length > len(known):
            return None
        known[at + gap : at + gap + length] = [comfort] * length
        at += gap + length
    return payload[end:]


def end_at(data: bytes, at: int) -> Record | None:
    """Return a whole end record, if there is one."""
    holds = data[at : at + 1] == b"\xe5" and crc_holds(data, at, at + 8)
    return Record("end", at + 8, number(data, at + 1, 5)) if holds else None


class Reader:
    """Gives the events of a whole input. `expected` and `start` are *E* and *s* of the document."""

    def __init__(self, data: bytes, model: Header | None, priors: list[Prior]) -> None:
        self.data, self.priors = data, {prior.check: prior for prior in priors}
        self.has_header, self.header = model is not None, model or Header(16, 320, 16000, 24000)
        self.expected: int | None = None
        self.start = self.first = self.played = self.silent = self.tag = 0
        self.assumed = False
        self.found: tuple[int, Record | None] | None = None

    def events(self) -> Iterator[Event]:
        """Give all events. Raises ValueError if there are none."""
        at = 0
        try:
            while at == 0 or at < len(self.data):
                if not (yield from self.begin(at)):
                    if at == 0:
                        raise ValueError("this is no .fcs stream")
                    yield ["damage", "what is behind the end record is no part"]
                    return
                yield from self.blocks()
                at = self.start
        except NotImplementedError as error:
            if at == self.start == 0:
                raise ValueError(str(error)) from error
            yield ["damage", f"this needs a newer reader: {error}"]

    def part(self, header: Header, expected: int | None, start: int, assumed: bool) -> Event:
        """Begin a part; return its event."""
        self.header, self.expected, self.start, self.assumed = header, expected, start, assumed
        self.first = self.played = self.tag = 0
        self.has_header = True
        return ["header", *header[:4], header.fingerprint.hex(), *header[5:]]

    def begin(self, h: int) -> Generator[Event, None, bool]:
        """Follow the rules for the start of a part at an offset; return whether one begins."""
        data, record, self.found = self.data, header_at(self.data, h), None
        wrong = [a ^ b for a, b in zip(data[h : h + 4], MAGIC)]
        damaged = not record and len(wrong) == 4 and sum(x.bit_count() for x in wrong) <= 4
        if damaged:
            start = data[h : h + 31]
            value, n_bits = int.from_bytes(start, "little"), 8 * len(start)
            trials = [(value ^ 1 << n).to_bytes(len(start), "little") for n in range(n_bits)]
            records = [header_at(trial, 0, newer=False) for trial in trials]
            record = next((r._replace(end=h + r.end) for r in records if r), None)
            if record:
                yield ["damage", "one bit of the header is wrong"]
        if record and (record.kind == "header" or damaged):
            yield self.part(record.value, 0, record.end, False)
            return True
        self.expected, self.start = 0 if damaged else None, h
        p, record = self.search(h, begin=True)
        version = data[4] if h == 0 and len(data) > 4 and data.startswith(MAGIC) else 2
        whole = any(crc_holds(data, 0, size) for size in (19, 23, 27, 31))
        if version != 2 and (version == 1 or whole or p >= 32 or not self.has_header):
            raise ValueError(f"version {version} of .fcs is another format")
        if record is None or (h == 0 and p >= 65536):
            return False
        yield ["damage", f"the header is missing; the first record is at byte {p}"]
        if record.kind == "block":
            yield self.part(self.header, self.expected, h if damaged else p, True)
            self.found = p, record
        else:
            joined = record.kind == "copy" and not damaged
            yield self.part(record.value, None if joined else 0, record.end, False)
        return True

    def search(self, at: int, begin: bool = False) -> tuple[int, Record | None]:
        """Return the first valid record from an offset on; to begin a part, a header or block."""
        data, p = self.data, at
        while p < len(data):
            byte, record = data[p], None
            if byte == 0x46:
                record = header_at(data, p, newer=not begin)
            elif byte >> 5 == 0b101 and self.has_header:
                record = block_at(data, p, self.header.bits)
            elif byte == 0xE5 and self.has_header:
                record = end_at(data, p)
            elif byte >> 5 == 0b110 and p == self.start and not begin:
                end = p + 5 + number(data, p + 1, 2)
                if end <= p + 5 + 4096 and crc_holds(data, p, end):
                    record = Record("general", end, (byte, data[p + 3 : end - 2]))
            if record and self.is_valid(record, p):
                if not begin or record.kind != "end":
                    return p, record
                p = record.end - 1
            p += 1
        return len(data), None

    def is_valid(self, record: Record, p: int) -> bool:
        """Return whether a whole record is valid: plausible or confirmed."""
        near, value, end = 3000 + 64 * (p - self.start), record.value, record.end
        confirmed = end == len(self.data) or self.data.startswith(MAGIC, end)
        if record.kind == "end":
            missing = -(-value // self.header.spt) - (self.expected or 0)
            return confirmed or (self.expected is not None and -256 <= missing <= near)
        if record.kind != "block":
            return True
        d, behind = self.distance(value)
        if self.expected is not None and (p == self.start if behind else d <= near):
            return True
        position = value.position if behind else (self.expected or 0) + d
        head = head_at(self.data, end)
        due = head is not None and head[1] == (position + value.count) % head[2]
        return confirmed or due or end_at(self.data, end) is not None

    def distance(self, block: Block) -> tuple[int, bool]:
        """Return how many tokens a block is ahead, and whether it is behind."""
        if self.expected is None:
            return block.position, False
        d = (block.position - self.expected) % block.modulus
        return d, d > block.modulus // 2

    def blocks(self) -> Iterator[Event]:
        """Follow the rules from `start` to the part's end; `start` is then what is behind it."""
        at = self.start
        while True:
            p, record = self.found or self.search(at)
            self.found, s = None, self.start
            skipped = p - s
            if record is None:
                yield ["damage", "the stream is cut"]
                yield self.end_event(None)
                self.start = len(self.data)
                return
            at = self.start = record.end
            if record.kind == "block":
                behind = self.distance(record.value)[1]
                if behind and (skipped == 0 or record.value.position > 100 + 2 * skipped):
                    yield ["damage", f"the block at byte {p} is repeated or out of order"]
                    self.start = s if skipped else at
                    continue
                if behind:
                    yield ["damage", "an end record and a header are lost"]
                    yield self.end_event(None)
                    yield self.part(self.header, 0, at, True)
                yield from self.block(record.value, p, skipped)
            elif record.kind in ("header", "copy"):
                is_copy, own = record.kind == "copy", self.header
                if self.assumed:
                    own = own._replace(prior=record.value.prior, settings=record.value.settings)
                if is_copy and record.value == own:
                    self.header, self.assumed, self.start = own, False, s if skipped else at
                else:
                    yield ["damage", "the part has no end record"]
                    yield self.end_event(None)
                    yield self.part(record.value, None if is_copy else 0, at, False)
            elif record.kind == "end":
                yield from self.end(record.value, p, skipped)
                return
            elif record.value[0] == 0xC1:
                text = record.value[1].decode("utf-8", "replace")
                yield ["metadata", dict(re.findall(ENTRY, text))]
            elif record.value[0] % 2 == 0:
                raise NotImplementedError(f"a record has the type {record.value[0]:#x}")

    def block(self, block: Block, p: int, skipped: int) -> Iterator[Event]:
        """Give a block that is not behind."""
        lost, _ = self.distance(block)
        if self.expected is None:
            self.first, self.expected, lost = block.position, block.position, 0
        if lost or skipped:
            yield ["damage", f"{lost} tokens are lost in front of byte {p}"]
            yield from self.silence(lost, p)
        self.expected, self.tag = self.expected + lost + block.count, block.tag
        tokens = self.tokens(block)
        self.played += block.count
        if tokens is None:
            yield ["damage", f"the block at byte {p} needs the prior {self.header.prior:08x}"]
        yield ["silence", block.count] if tokens is None else ["tokens", tokens]

    def tokens(self, block: Block) -> list[int] | None:
        """Return a block's tokens; None if its prior is unknown."""
        bits, coding, payload = self.header.bits, block.tag & 3, block.payload
        if coding == 1:
            return decode_neutral(payload, block.known, bits)
        if coding == 2:
            prior = self.priors.get(self.header.prior)
            return prior.decode(payload, block.known) if prior and prior.bits == bits else None
        size = -(-block.chunk * bits // 8) or len(payload) or 1
        parts = [payload[i : i + size] for i in range(0, len(payload), size)]
        rest = [t for part in parts for t in unpack(part, block.chunk or block.count, bits)]
        tokens = iter(rest)
        return [next(tokens) if known < 0 else known for known in block.known]

    def silence(self, n_tokens: int, p: int) -> Iterator[Event]:
        """Give silence, as far as the limit of the input allows."""
        allowed = 180_000 + 8 * p // self.header.bits - self.silent
        n_silent = max(0, min(n_tokens, allowed))
        self.silent += n_silent
        self.played += n_silent
        if n_silent:
            yield ["silence", n_silent]
        if n_silent < n_tokens:
            yield ["damage", f"{n_tokens - n_silent} more tokens are lost, without silence"]

    def end(self, n_samples: int, p: int, skipped: int) -> Iterator[Event]:
        """Follow the rule of the end record."""
        spt, expected = self.header.spt, self.expected
        slack = 2 * spt if self.header.settings & NOT_CAUSAL else 0
        missing = max(0, -(-n_samples // spt) - (expected or 0))
        if expected is None or n_samples - expected * spt < slack:
            missing = 0
        if missing or skipped:
            yield ["damage", f"{missing} tokens are lost at the end"]
        yield from self.silence(missing, p)
        yield self.end_event(0 if expected is None else max(0, n_samples - self.first * spt))

    def end_event(self, n_samples: int | None) -> Event:
        """Return the event of a part's end: samples of the input, and of the output."""
        header, n = self.header, self.played * self.header.spt
        if n_samples is not None:
            n = min(n_samples, n + 2 * header.spt if header.settings & NOT_CAUSAL else n)
        quotient, rest = divmod(2 * n * header.rate_out + header.rate_in, 2 * header.rate_in)
        return ["end", n_samples, quotient - (rest == 0 and quotient & 1)]


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--prior", type=Path, action="append", default=[])
    parser.add_argument("--join", metavar="BITS,SPT,IN,OUT")
    args, model, whole = parser.parse_args(), None, True
    try:
        priors = [Prior(path.read_bytes()) for path in args.prior]
        if args.join:
            model = Header(*map(int, args.join.split(",")), prior=priors[-1].check if priors else 0)
        for event in Reader(args.file.read_bytes(), model, priors).events():
            print(json.dumps(event))
            whole = whole and event[0] != "damage"
    except ValueError as error:
        print(f"{args.file}: {error}", file=sys.stderr)
        return 2
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
