"""Whatever the bytes, the reader raises nothing but BitstreamError and stays within bounds."""

from __future__ import annotations

import binascii
import io
import random
from collections import Counter
from itertools import pairwise

import fuzz_cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from second_reader import first, second, seen_by_first

from bitstream_cases import (
    SPT,
    checked,
    damage_in,
    header_of,
    random_tokens,
    speech_like,
    timeline,
    tokens_in,
)
from bitstream_cases import encode as encoded
from fcs_edge.bitstream import BitstreamWriter, End, Header, HeaderRead, Tokens
from fcs_edge.bitstream.bitpack import pack_tokens, unpack_tokens

FIXED = settings(max_examples=120, derandomize=True, deadline=None, database=None)
MODES = [{}, {"eager": True}, {"salvage": True}, {"eager": True, "salvage": True}]
PRIOR = header_of(11, prior=0x01020304, settings=0x2A)


def with_crc(data):
    return data + binascii.crc_hqx(data, 0xFFFF).to_bytes(2, "little")


def paused(count, bits, seed):
    """Tokens with a pause in the middle, and where it is."""
    tokens, pauses = speech_like(count, bits, seed), np.zeros(count, bool)
    pauses[count // 4 : count // 2] = True
    tokens[pauses] = 1
    return tokens, pauses


def samples():
    """Files of all forms, each as its bytes."""
    for bits, count in [(1, 235), (3, 123), (8, 90), (11, 140), (12, 60), (16, 218)]:
        header = header_of(bits)
        yield encoded(random_tokens(count, bits), header, block_tokens=50, raw=True)
        yield encoded(speech_like(count, bits), header, block_tokens=(50, 100, 200)[bits % 3])
        yield encoded(speech_like(count, bits), header, block_bytes=40)
        yield encoded(random_tokens(count, bits), header, eager=True, chunk_tokens=1 + bits % 5)
        tokens, pauses = paused(count, bits, bits)
        yield encoded(tokens, header, pauses=pauses, tags={"title": "x", "note": "y" * bits})
    yield encoded(random_tokens(40, 11), PRIOR, block_tokens=8, n_samples=12345)
    yield encoded(random_tokens(120, 7), header_of(7), raw=True)
    yield encoded(random_tokens(0, 5), header_of(5))
    yield encoded(random_tokens(700, 4), Header(4, 1, 1, 1, bytes(8)), block_tokens=20)
    yield b"".join(
        [encoded(random_tokens(60, 9), header_of(9)), encoded(random_tokens(30, 3), PRIOR)]
    )


SAMPLES = list(samples())


def records_of(data):
    """Cut a whole file into its records, by the reader's own hook."""
    found = []
    checked(data, 7, records=lambda offset, record: found.append((offset, record)))
    return [record for _, record in sorted(dict(found).items())]


def crc_mended(rng, data):
    """Change a byte of one record, and make its CRC hold; bodies of coded blocks included."""
    records = records_of(data)
    if not records:
        return data
    at = rng.randrange(len(records))
    body = bytearray(records[at][:-2])
    for _ in range(rng.choice([1, 1, 3])):
        body[rng.randrange(len(body))] = rng.choice([0, 1, 255, rng.randrange(256)])
    if rng.random() < 0.1:
        body[3:3] = rng.randbytes(rng.choice([1, 2, 60]))
    records[at] = with_crc(bytes(body))
    if rng.random() < 0.1:
        rng.shuffle(records)
    return b"".join(records)


def random_edit(rng, data):
    """Insert, delete, repeat, overwrite or swap a stretch of bytes."""
    start, stop = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    part = data[start:stop]
    kind = rng.randrange(6)
    if kind == 0:
        return data[:start] + data[stop:]
    if kind == 1:
        return data[:start] + rng.randbytes(rng.randrange(1, 60)) + data[start:]
    if kind == 2:
        return data[:stop] + part + data[stop:]
    if kind == 3:
        return data[:start] + rng.randbytes(len(part)) + data[stop:]
    if kind == 4:
        fill = bytes([rng.choice([0x00, 0xA0, 0xA1, 0xAF, 0xC1, 0xE5])])
        return data[:start] + fill * len(part) + data[stop:]
    middle = (start + stop) // 2
    return data[:start] + data[middle:stop] + data[start:middle] + data[stop:]


def loaded_bytes(rng, size):
    """Random bytes with more records than chance would put there, of any kind."""
    pieces = []
    while sum(map(len, pieces)) < size:
        tag = rng.choice([rng.randrange(0xA0, 0xC0), 0xAC, 0xA1, 0xAF, 0xC1, 0xC3, 0xE5])
        place = rng.choice([0, 1, 2, rng.randrange(1 << 16)])
        count, length = rng.randrange(0, 20), rng.randrange(0, 40)
        if tag == 0xE5:
            body = bytes([tag]) + rng.randrange(1 << rng.choice([12, 40])).to_bytes(5, "little")
        elif tag >= 0xC0:
            body = bytes([tag, length, 0]) + rng.randbytes(length)
        elif tag & 12 == 12:
            body = bytes([tag]) + place.to_bytes(3, "little") + bytes([count, length])
            body += rng.randbytes(length)
        else:
            body = bytes([tag]) + place.to_bytes(2, "little") + bytes([length])
            body += bytes([rng.randrange(4)]) + rng.randbytes(length)
        pieces.append(rng.choice([with_crc(body), body, rng.randbytes(4)]))
    return b"".join(pieces)[:size]


def make(rng):
    """Return one mutated file."""
    data = rng.choice(SAMPLES)
    kind = rng.randrange(6)
    if kind == 0:
        return crc_mended(rng, data)
    if kind == 1:
        return crc_mended(rng, crc_mended(rng, data))
    if kind == 2:
        for _ in range(rng.randrange(1, 4)):
            data = random_edit(rng, data)
        return data
    if kind == 3:
        return rng.choice([header_of(8), PRIOR, header_of(1)]).to_bytes() + loaded_bytes(rng, 300)
    if kind == 4:
        return loaded_bytes(rng, 200)
    return fuzz_cases.mutate_bytes(rng, data)


def test_the_second_reader_reads_the_same():
    codes = Counter()
    for number in range(250 * fuzz_cases.TIMES):
        rng = random.Random(f"model {fuzz_cases.SEED} {number}")
        data = make(rng)
        join = rng.choice([None, header_of(11)])
        events, code = second(data, join)
        label = f"second reader, seed {fuzz_cases.SEED}, number {number}"
        assert first(data, join) == (seen_by_first(events), code), label
        codes[code] += 1
    assert codes[0] + codes[1] > 150


class TestSeeded:
    def test_mutations(self):
        """Each file whole and in pieces; events are plausible and the same."""

        def read(data):
            rng = random.Random(data)
            options = dict(rng.choice(MODES))
            if rng.random() < 0.5:
                options["join"] = header_of(11)
            events = checked(data, rng.randrange(1, 64), strict=rng.random() < 0.2, **options)
            if not events:
                return "refused"
            return "damaged" if damage_in(events) else "whole"

        outcomes = fuzz_cases.run("fcs", 1200, make, read, 3_000_000)
        if fuzz_cases.TIMES == 1 and fuzz_cases.SEED == 0:
            assert min(outcomes["refused"], outcomes["damaged"], outcomes["whole"]) > 60

    @pytest.mark.parametrize("options", MODES)
    def test_random_bytes(self, options):
        rng = random.Random(1)
        for _ in range(150):
            data = rng.randbytes(rng.randrange(0, 80))
            assert checked(data, 3, **options) == []
            assert checked(b"FCS\x1a\x02" + data, 3, **options) == []

    @pytest.mark.parametrize("options", MODES)
    def test_cuts(self, options):
        """What is whole before the cut is there, and nothing else; a raw tail with salvage."""
        rng = random.Random(3)
        for data in SAMPLES:
            whole = timeline(checked(data, 50, **options))
            for size in rng.sample(range(len(data)), 12):
                found = timeline(checked(data[:size], rng.randrange(1, 40), **options))
                assert np.array_equal(found, whole[: len(found)])

    @pytest.mark.parametrize("options", [{}, {"eager": True}])
    def test_flipped_bits(self, options):
        """Tokens of blocks that were not hit come out as they were, and in their place."""
        rng = random.Random(4)
        for number in range(250):
            data = SAMPLES[number % (len(SAMPLES) - 1)]  # the last one is chained
            records = records_of(data)
            edges = np.cumsum([0] + [len(record) for record in records])
            flips = [rng.randrange(19 * 8, len(data) * 8) for _ in range(rng.randrange(1, 6))]
            out = bytearray(data)
            for bit in set(flips):
                out[bit // 8] ^= 1 << bit % 8
            events = checked(bytes(out), rng.randrange(1, 40), **options)
            hit = {int(np.searchsorted(edges, bit // 8, "right")) - 1 for bit in flips}
            if 0 in hit or not events:
                continue
            parts = [e.tokens for e in checked(data, 9) if isinstance(e, Tokens)]
            blocks = [n for n, record in enumerate(records) if 0xA0 <= record[0] < 0xC0]
            at, found = 0, timeline(events)
            for number, part in zip(blocks, parts, strict=False):
                expected = part.astype(np.int64)
                if number not in hit and options:
                    # A count that is too large is played on into the next block.
                    assert expected.tobytes() in found.tobytes()
                elif number not in hit:
                    assert np.array_equal(found[at : at + part.size], expected)
                at += part.size
            assert damage_in(events)


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
        st.sampled_from([1, 7, 20, 50, 100]),
        st.integers(1, 50),
        st.lists(st.integers(0, 80), max_size=8),
        st.sampled_from([{}, {"raw": True}, {"eager": True}, {"block_bytes": 20}]),
        st.booleans(),
    )
    def test_round_trip(self, case, block_tokens, step, cuts, form, eager):
        bits, tokens = case
        file = io.BytesIO()
        writer = BitstreamWriter(file, header_of(bits), block_tokens=block_tokens, **form)
        bounds = [0, *sorted(min(cut, len(tokens)) for cut in cuts), len(tokens)]
        for start, stop in pairwise(bounds):
            writer.write(np.array(tokens[start:stop], np.uint16))
        writer.close(len(tokens) * SPT)
        events = checked(file.getvalue(), step, eager=eager)
        assert not damage_in(events)
        assert timeline(events)[: len(tokens)].tolist() == tokens
        assert len(timeline(events)) == len(tokens) or form == {"eager": True}
        assert events[0] == HeaderRead(header_of(bits))
        assert events[-1] == End(len(tokens) * SPT)

    @FIXED
    @given(st.binary(max_size=200), st.integers(1, 40), st.sampled_from(MODES), st.booleans())
    def test_any_bytes(self, data, step, options, behind_header):
        header = Header(9, 1, 1, 1, bytes(8)).to_bytes()
        checked(header + data if behind_header else data, step, strict=True, **options)


def test_all_kinds_of_outcomes():
    """The corpus has each form of block, so that the cases above reach them."""
    tags = Counter(record[0] for data in SAMPLES for record in records_of(data))
    assert {0xA0, 0xA1, 0xA4, 0xA5, 0xAC, 0xAD, 0xAF, 0xB1, 0xC1, 0xE5, ord("F")} <= set(tags)
    assert any(tokens_in(checked(data, 64)).size > 200 for data in SAMPLES)
