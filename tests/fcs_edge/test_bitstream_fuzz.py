"""Whatever the bytes, the reader raises nothing but BitstreamError and stays within bounds."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcs_edge.bitstream.bitpack import pack_tokens, unpack_tokens
from fcs_edge.bitstream.reader import BitstreamReader, Damage, End, HeaderRead, Tokens
from fcs_edge.bitstream.writer import BitstreamWriter, Header, block_size
from fcs_edge.errors import BitstreamError
from helpers import merged

SPT = 320
HEAD = 28
FIXED = settings(max_examples=300, derandomize=True, deadline=None, database=None)
MODES = pytest.mark.parametrize("eager", [False, True], ids=["verified", "eager"])


@dataclass
class Sample:
    """A file and what is in it."""

    header: Header
    tokens: np.ndarray
    data: bytes

    @property
    def spans(self):
        """First and last offset of every block, and of the end record behind them."""
        size = block_size(self.header.block_tokens, self.header.bits)
        end = len(self.data) - 12
        return list(pairwise([*range(HEAD, end, size), end, len(self.data)]))

    def hit(self, offsets):
        """Return the numbers of the records that any of these offsets lies in."""
        starts = [start for start, _ in self.spans]
        return set((np.searchsorted(starts, offsets, "right") - 1).tolist())


def sample(bits, block_tokens, count, seed=0, *, eager=False):
    header = Header(bits, SPT, 16000, 24000, b"fuzzfuzz", block_tokens)
    tokens = np.random.default_rng(seed).integers(0, 1 << bits, count, dtype=np.uint16)
    file = io.BytesIO()
    writer = BitstreamWriter(file, header, eager=eager)
    writer.write(tokens)
    writer.close(max(0, count * SPT - 7))
    return Sample(header, tokens, file.getvalue())


SAMPLES = [
    sample(bits, block_tokens, count, seed=bits)
    for bits, block_tokens, count in [
        (1, 8, 35),
        (3, 5, 23),
        (8, 1, 9),
        (11, 6, 40),
        (12, 7, 21),
        (16, 4, 18),
        (16, 4096, 50),
        (5, 3, 0),
    ]
]


def read(data, *, eager, step=None, strict=False):
    """Return reader, events, and the error if there was one."""
    reader = BitstreamReader(eager=eager, strict=strict)
    events = []
    step = step or max(1, len(data))
    try:
        for start in range(0, len(data), step):
            events += reader.feed(data[start : start + step])
        events += reader.close()
    except BitstreamError as error:
        return reader, events, str(error)
    return reader, events, None


def timeline(events):
    parts = [[]]
    for event in events:
        if isinstance(event, Tokens):
            parts.append(event.tokens.tolist())
        elif isinstance(event, Damage):
            parts.append([-1] * event.n_tokens)
    return np.array([token for part in parts for token in part], np.int64)


def check(data, eager, step, *, strict=False):
    """Read ``data`` whole and in pieces; return the events once they are found plausible."""
    reader, events, error = read(data, eager=eager)
    _, pieces, piecewise_error = read(data, eager=eager, step=step)
    assert piecewise_error == error
    assert merged(pieces) == merged(events)
    counts = Counter(type(event) for event in events)
    if error is not None:
        assert "\n" not in error
        assert error
        assert not events
        return []
    assert isinstance(events[0], HeaderRead)
    assert counts[HeaderRead] == 1
    assert counts[End] == int(reader.ended)
    assert reader.ended or isinstance(events[-1], Damage)
    assert counts[Damage] == reader.damaged
    sizes = [len(event.tokens) for event in events if isinstance(event, Tokens)]
    silences = [event.n_tokens for event in events if isinstance(event, Damage)]
    assert min(sizes, default=1) > 0
    assert min(silences, default=0) >= 0
    assert reader.n_tokens == sum(sizes) + sum(silences)
    times = 2 if eager else 1
    assert reader.n_tokens * reader.header.bits <= times * len(data) * 8
    if strict:
        messages = [event.message for event in events if isinstance(event, Damage)]
        strict_error = read(data, eager=eager, strict=True)[2]
        assert strict_error == (messages[0] if messages else None)
    return events


def flip(data, positions):
    out = bytearray(data)
    for position in positions:
        out[position // 8] ^= 1 << position % 8
    return bytes(out)


def random_edit(rng, data):
    """Insert, delete, repeat, overwrite or swap a stretch of bytes."""
    start, stop = np.sort(rng.integers(0, len(data) + 1, 2)).tolist()
    part = data[start:stop]
    kind = rng.integers(6)
    if kind == 0:
        return data[:start] + data[stop:]
    if kind == 1:
        return data[:start] + rng.bytes(rng.integers(1, 60)) + data[start:]
    if kind == 2:
        return data[:stop] + part + data[stop:]
    if kind == 3:
        return data[:start] + rng.bytes(len(part)) + data[stop:]
    if kind == 4:
        return data[:start] + bytes([rng.choice([0x00, 0xB1, 0xE5])]) * len(part) + data[stop:]
    middle = (start + stop) // 2
    return data[:start] + data[middle:stop] + data[start:middle] + data[stop:]


def loaded_bytes(rng, size):
    """Random bytes with more record heads than chance would put there."""
    pieces = []
    while sum(map(len, pieces)) < size:
        kind = rng.integers(5)
        if kind == 0:
            pieces.append(rng.bytes(rng.integers(1, 12)))
        elif kind == 1:
            pieces.append(struct.pack("<BBH", 0xB1, rng.integers(6), rng.integers(12)))
        elif kind == 2:
            end = struct.pack("<BBQ", 0xE5, 0, rng.integers(1 << 20))[:8]
            pieces.append(end + struct.pack("<I", zlib.crc32(end)))
        else:
            count = int(rng.integers(1, 12))
            head = struct.pack("<BBH", 0xB1, rng.integers(6), count)
            block = head + rng.bytes(count * (kind == 3) + (count * 11 + 7) // 8 * (kind == 4))
            pieces.append(block + struct.pack("<I", zlib.crc32(block)))
    return b"".join(pieces)[:size]


@MODES
class TestSeeded:
    def test_random_bytes(self, eager):
        rng = np.random.default_rng(1)
        for _ in range(2000):
            data = rng.bytes(rng.integers(0, 80))
            assert check(data, eager, 3) == []
            assert check(b"FCS\x1a\x01" + data, eager, 3) == []

    def test_random_bytes_behind_a_header(self, eager):
        rng = np.random.default_rng(2)
        found = Counter()
        for case in range(4000):
            bits, block_tokens = (8, 10) if case % 2 else (11, int(rng.choice([1, 8, 11, 4096])))
            header = Header(bits, SPT, 16000, 24000, bytes(8), block_tokens)
            size = int(rng.integers(0, 300))
            body = loaded_bytes(rng, size) if case % 3 else rng.bytes(size)
            events = check(header.to_bytes() + body, eager, int(rng.integers(1, 40)), strict=True)
            found.update(type(event) for event in events)
        assert min(found[Tokens], found[Damage], found[End]) > 700

    def test_cut(self, eager):
        rng = np.random.default_rng(3)
        for given_sample in SAMPLES:
            data = given_sample.data
            for size in range(len(data)):
                events = check(data[:size], eager, int(rng.integers(1, 40)), strict=True)
                found = timeline(events)[: len(given_sample.tokens)]
                intact = found >= 0
                assert np.array_equal(found[intact], given_sample.tokens[: len(found)][intact])
                whole = sum(stop <= size for _, stop in given_sample.spans[:-1])
                there = min(whole * given_sample.header.block_tokens, len(given_sample.tokens))
                assert intact[:there].all()
                assert len(found) >= there

    @pytest.mark.parametrize("seed", range(4))
    def test_flipped_bits(self, eager, seed):
        """Blocks that were not hit come out as they were, and in their place."""
        rng = np.random.default_rng(seed)
        for case in range(2000):
            given_sample = SAMPLES[case % len(SAMPLES)]
            data, tokens = given_sample.data, given_sample.tokens
            low = HEAD if case % 10 else 0
            flips = rng.choice(range(low * 8, len(data) * 8), rng.integers(1, 6), replace=False)
            events = check(flip(data, flips), eager, int(rng.integers(1, 40)), strict=case % 7 == 0)
            if flips.min() < HEAD * 8:
                assert events == []
                continue
            hit = given_sample.hit(flips // 8)
            found = timeline(events)
            size, last = given_sample.header.block_tokens, len(given_sample.spans) - 1
            for block in set(range(last)) - hit:
                place = slice(block * size, (block + 1) * size)
                assert np.array_equal(found[place], tokens[place])
            assert any(isinstance(event, Damage) for event in events)
            assert any(isinstance(event, End) for event in events) == (last not in hit)
            if not eager:
                arrays = [event.tokens.tolist() for event in events if isinstance(event, Tokens)]
                blocks = sorted(set(range(last)) - hit)
                assert arrays == [tokens[i * size : (i + 1) * size].tolist() for i in blocks]
                assert len(found) == len(tokens) or last in hit

    def test_edits(self, eager):
        rng = np.random.default_rng(5)
        intact = 0
        for case in range(4000):
            data = SAMPLES[case % len(SAMPLES)].data
            body = data[HEAD:] if case % 8 else data
            for _ in range(rng.integers(1, 4)):
                body = random_edit(rng, body)
            whole = data[:HEAD] + body if case % 8 else body
            events = check(whole, eager, int(rng.integers(1, 40)), strict=case % 7 == 0)
            intact += any(isinstance(event, Tokens) for event in events)
        assert intact > 1500

    def test_files_of_an_eager_writer(self, eager):
        rng = np.random.default_rng(6)
        for count in range(0, 30):
            given_sample = sample(11, 7, count, seed=count, eager=True)
            events = check(given_sample.data, eager, 5, strict=True)
            assert timeline(events)[:count].tolist() == given_sample.tokens.tolist()
            assert not any(isinstance(event, Damage) for event in events)
            for size in rng.integers(HEAD, len(given_sample.data), 10):
                check(given_sample.data[:size], eager, 5, strict=True)


token_lists = st.integers(1, 16).flatmap(
    lambda bits: st.tuples(st.just(bits), st.lists(st.integers(0, (1 << bits) - 1), max_size=80))
)


class TestProperties:
    @FIXED
    @given(token_lists)
    def test_packing(self, case):
        bits, tokens = case
        packed = pack_tokens(np.array(tokens, np.uint16), bits)
        number = 0
        for token in tokens:
            number = number << bits | token
        size = (len(tokens) * bits + 7) // 8
        assert packed == (number << (size * 8 - len(tokens) * bits)).to_bytes(size, "big")
        assert unpack_tokens(packed, bits, len(tokens)).tolist() == tokens

    @FIXED
    @given(
        token_lists,
        st.integers(1, 20),
        st.integers(1, 50),
        st.lists(st.integers(0, 80), max_size=8),
        st.booleans(),
        st.booleans(),
    )
    def test_round_trip(self, case, block_tokens, step, cuts, eager_writer, eager):
        bits, tokens = case
        header = Header(bits, SPT, 16000, 24000, bytes(8), block_tokens)
        file = io.BytesIO()
        writer = BitstreamWriter(file, header, eager=eager_writer)
        bounds = [0, *sorted(min(cut, len(tokens)) for cut in cuts), len(tokens)]
        for start, stop in pairwise(bounds):
            writer.write(np.array(tokens[start:stop], np.uint16))
        writer.close(len(tokens) * SPT)
        reader, events, error = read(file.getvalue(), eager=eager, step=step)
        assert error is None
        assert reader.damaged == 0
        assert timeline(events)[: len(tokens)].tolist() == tokens
        fill = -len(tokens) % block_tokens if eager_writer else 0
        assert reader.n_tokens == len(tokens) + fill
        assert events[-1] == End(len(tokens) * SPT)

    @FIXED
    @given(st.binary(max_size=200), st.integers(1, 40), st.booleans(), st.booleans())
    def test_any_bytes(self, data, step, eager, behind_header):
        header = Header(9, 1, 1, 1, bytes(8), 20).to_bytes()
        check(header + data if behind_header else data, eager, step, strict=True)

    @FIXED
    @given(st.data())
    def test_any_edit(self, draw):
        given_sample = draw.draw(st.sampled_from(SAMPLES))
        body = given_sample.data[HEAD:]
        for _ in range(draw.draw(st.integers(1, 3))):
            start = draw.draw(st.integers(0, len(body)))
            stop = draw.draw(st.integers(start, len(body)))
            body = body[:start] + draw.draw(st.binary(max_size=30)) + body[stop:]
        data = given_sample.data[:HEAD] + body
        check(data, draw.draw(st.booleans()), draw.draw(st.integers(1, 40)), strict=True)


def false_blocks(size):
    """Return real blocks of one token, each with a false head of a large block behind it."""
    out = []
    for n in range(size // 14):
        block = struct.pack("<BBHH", 0xB1, n % 256, 1, n % 65536)
        out.append(block + struct.pack("<I", zlib.crc32(block)))
        out.append(struct.pack("<BBH", 0xB1, (n + 1) % 256, 4096))
    return b"".join(out)


@MODES
class TestHostile:
    """The bounds are ten times what they need to be; a quadratic search takes far longer."""

    SIZE = 250_000
    BODIES = {  # noqa: RUF012
        "sync": b"\xb1" * SIZE,
        "end sync": b"\xe5\x00" * (SIZE // 2),
        "overlapping heads": b"\xb1\x0f" * (SIZE // 2),
        "full heads": b"\xb1\x00\x00\x10" * (SIZE // 4),
        "false blocks": false_blocks(SIZE),
        "random": np.random.default_rng(0).bytes(SIZE),
    }

    @pytest.mark.parametrize("body", BODIES)
    @pytest.mark.parametrize("step", [None, 1000])
    def test_time(self, eager, body, step):
        data = Header(16, SPT, 16000, 24000, bytes(8), 4096).to_bytes() + self.BODIES[body]
        start = time.process_time()
        reader, _, error = read(data, eager=eager, step=step)
        assert time.process_time() - start < 15
        assert error is None
        assert reader.damaged > 0
        assert reader.n_tokens * 16 <= (2 if eager else 1) * len(data) * 8

    @pytest.mark.parametrize("body", ["sync", "overlapping heads", "false blocks", "random"])
    def test_memory(self, eager, body):
        """One block and what a call to feed brings, whatever the length of the input."""
        data = Header(16, SPT, 16000, 24000, bytes(8), 4096).to_bytes() + self.BODIES[body]
        reader = BitstreamReader(eager=eager)
        tracemalloc.start()
        try:
            for start in range(0, 100_000, 1000):
                reader.feed(data[start : start + 1000])
            assert tracemalloc.get_traced_memory()[0] < 30_000
            # Single bits of up to 4096 tokens are unpacked at once.
            assert tracemalloc.get_traced_memory()[1] < 400_000
        finally:
            tracemalloc.stop()

    def test_memory_of_a_long_file(self, eager):
        given_sample = sample(16, 600, 100_000)
        reader = BitstreamReader(eager=eager)
        tracemalloc.start()
        try:
            for start in range(0, len(given_sample.data), 4096):
                reader.feed(given_sample.data[start : start + 4096])
            assert reader.ended
            for _ in range(100):
                reader.feed(bytes(4096))
            assert tracemalloc.get_traced_memory()[1] < 200_000
        finally:
            tracemalloc.stop()

    def test_promises_cost_nothing(self, eager):
        """A few bytes that claim a year of speech must not make a year of silence."""
        header = Header(1, 1, 16000, 24000, bytes(8), 4096).to_bytes()
        end = b"\xe5\x00" + b"\xff" * 6
        end += struct.pack("<I", zlib.crc32(end))
        for garbage in (b"", b"x", b"x" * 30):
            reader, events, _ = read(header + garbage + end, eager=eager)
            assert reader.n_tokens <= len(garbage) * 8
            assert events[-1] == End((1 << 48) - 1)
            assert reader.damaged == 1
