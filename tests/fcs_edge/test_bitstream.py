"""The .fcs format: packing, writer, reader, damage, and the document that describes them."""

from __future__ import annotations

import io
import os
import re
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

from fcs_edge.bitstream.bitpack import pack_tokens, packed_size, unpack_tokens
from fcs_edge.bitstream.reader import (
    BitstreamReader,
    Damage,
    End,
    HeaderRead,
    Tokens,
    read_events,
)
from fcs_edge.bitstream.writer import BitstreamWriter, Header
from fcs_edge.errors import BitstreamError
from helpers import Recorded, merged

DOC = Path(__file__).parents[2] / "docs" / "reference" / "bitstream.md"
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


class TestPacking:
    @pytest.mark.parametrize("bits", ALL_BITS)
    @pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 63, 1001])
    def test_same_as_naive(self, bits, count):
        tokens = random_tokens(count, bits, count)
        packed = pack_tokens(tokens, bits)
        assert packed == naive_pack(tokens, bits)
        assert len(packed) == packed_size(count, bits)
        back = unpack_tokens(packed, bits, count)
        assert back.dtype == np.uint16
        assert back.tolist() == tokens.tolist()

    @pytest.mark.parametrize("bits", [1, 3, 11, 16])
    @pytest.mark.parametrize("count", [4095, 4096, 4097, 8192, 10007])
    def test_longer_than_a_piece(self, bits, count):
        tokens = random_tokens(count, bits)
        packed = pack_tokens(tokens, bits)
        assert packed == naive_pack(tokens, bits)
        assert np.array_equal(unpack_tokens(packed, bits, count), tokens)

    @pytest.mark.parametrize("bits", ALL_BITS)
    @pytest.mark.parametrize("first", [1, 5, 4097])
    def test_skip_bits(self, bits, first):
        tokens = random_tokens(9000, bits)
        start, skip = divmod(first * bits, 8)
        data = pack_tokens(tokens, bits)[start:]
        rest = unpack_tokens(data, bits, 9000 - first, skip_bits=skip)
        assert np.array_equal(rest, tokens[first:])

    def test_extremes(self):
        for bits in ALL_BITS:
            top = np.full(9, (1 << bits) - 1, np.uint16)
            assert unpack_tokens(pack_tokens(top, bits), bits, 9).tolist() == top.tolist()

    @pytest.mark.parametrize("bits", range(1, 16))
    def test_too_large_token(self, bits):
        with pytest.raises(ValueError, match=f"token {1 << bits} does not fit {bits} bits"):
            pack_tokens(np.array([0, 1 << bits], np.uint16), bits)

    @pytest.mark.parametrize(
        ("tokens", "message"),
        [
            (np.array([1, -3, 5]), "token -3 does not fit"),
            (np.array([[1, 2]]), "one-dimensional"),
            (np.array([1.0, 2.0]), "integers, not float64"),
            (np.array([True]), "integers, not bool"),
        ],
    )
    def test_bad_tokens(self, tokens, message):
        with pytest.raises(ValueError, match=message):
            pack_tokens(tokens, 11)

    @pytest.mark.parametrize("bits", [-1, 0, 17])
    def test_bad_bits(self, bits):
        with pytest.raises(ValueError, match="bits per token"):
            pack_tokens(np.zeros(1, np.uint16), bits)
        with pytest.raises(ValueError, match="bits per token"):
            unpack_tokens(bytes(9), bits, 1)

    def test_unpack_too_short(self):
        assert unpack_tokens(bytes(2), 5, 3).tolist() == [0, 0, 0]
        with pytest.raises(ValueError, match="2 bytes are too few"):
            unpack_tokens(bytes(2), 5, 4)
        with pytest.raises(ValueError, match="too few"):
            unpack_tokens(bytes(2), 5, 3, skip_bits=2)
        with pytest.raises(ValueError, match="negative"):
            unpack_tokens(bytes(2), 5, -1)

    def test_memory_beyond_the_result_is_constant(self):
        tokens = random_tokens(1_000_000, 11)
        tracemalloc.start()
        try:
            packed = pack_tokens(tokens, 11)
            peak = tracemalloc.get_traced_memory()[1]
            # The pieces and their concatenation.
            assert peak < 2.5 * len(packed) + 500_000
            tracemalloc.reset_peak()
            held = tracemalloc.get_traced_memory()[0]
            unpack_tokens(packed, 11, len(tokens))
            assert tracemalloc.get_traced_memory()[1] - held < 2 * len(tokens) + 500_000
        finally:
            tracemalloc.stop()


class TestHeader:
    @pytest.mark.parametrize(
        "header",
        [
            HEADER,
            Header(1, 1, 1, 1, bytes(8), 1),
            Header(16, 65535, (1 << 24) - 1, (1 << 24) - 1, b"\xff" * 8, 4096),
        ],
    )
    def test_bytes(self, header):
        data = header.to_bytes()
        assert data == naive_header(header)
        assert len(data) == 28
        assert Header.from_bytes(data) == header
        assert decode(data)[0] == HeaderRead(header)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("bits", 0),
            ("bits", 17),
            ("samples_per_token", 0),
            ("samples_per_token", 65536),
            ("input_rate", 0),
            ("input_rate", 1 << 24),
            ("output_rate", 0),
            ("block_tokens", 0),
            ("block_tokens", 4097),
            ("fingerprint", b"seven b"),
        ],
    )
    def test_field_out_of_range(self, field, value):
        fields = dict(vars(HEADER)) | {field: value}
        with pytest.raises(ValueError, match=field):
            Header(**fields)

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "empty"),
            (b"RIFF", "not an .fcs file"),
            (b"RIFF" + bytes(1000), "not an .fcs file"),
            (b"\0", "not an .fcs file"),
            (b"F", "cut: 1 bytes where 28"),
            (DATA[:4], "cut: 4 bytes"),
            (DATA[:27], "cut: 27 bytes"),
            (damaged({4: 3}), "version 2 is not supported by this release: update fcs-edge"),
            (damaged({4: 3})[:9], "version 2 is not supported"),
            (damaged({6: 1}), "CRC does not match"),
            (damaged({24: 1}), "CRC does not match"),
        ],
    )
    @pytest.mark.parametrize("step", [None, 1])
    @pytest.mark.parametrize("eager", [False, True])
    def test_unreadable(self, data, message, step, eager):
        with pytest.raises(BitstreamError, match=message) as caught:
            decode(data, step=step, eager=eager)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("offset", "size", "value"),
        [(5, 1, 0), (5, 1, 17), (6, 2, 0), (8, 3, 0), (11, 3, 0), (22, 2, 0), (22, 2, 4097)],
    )
    def test_impossible_field_behind_a_good_crc(self, offset, size, value):
        data = bytearray(DATA[:24])
        data[offset : offset + size] = value.to_bytes(size, "little")
        with pytest.raises(BitstreamError, match=f"header is not valid: .* not {value}$"):
            decode(with_crc(bytes(data)))

    def test_reader_stays_unusable(self):
        reader = BitstreamReader()
        with pytest.raises(BitstreamError, match="not an"):
            reader.feed(b"RIFF")
        with pytest.raises(BitstreamError, match="cannot go on"):
            reader.feed(DATA)
        with pytest.raises(BitstreamError, match="cannot go on"):
            reader.close()
        assert reader.header is None


class TestWriter:
    @pytest.mark.parametrize("bits", ALL_BITS)
    @pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 57, 60])
    def test_bytes(self, bits, count):
        tokens = random_tokens(count, bits, count)
        header = header_of(bits)
        assert encode(tokens, header) == b"".join(naive_file(tokens, header))

    @pytest.mark.parametrize("bits", ALL_BITS)
    @pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 57, 60])
    def test_eager_bytes(self, bits, count):
        tokens = random_tokens(count, bits, count)
        filled = np.concatenate((tokens, np.zeros(-count % 10, np.uint16)))
        expected = b"".join(naive_file(filled, header_of(bits), n_samples=count * SPT))
        assert encode(tokens, header_of(bits), eager=True) == expected

    @pytest.mark.parametrize("eager", [False, True])
    def test_sequence_wraps(self, eager):
        tokens = random_tokens(600, 5)
        data = encode(tokens, header_of(5, 1), eager=eager)
        assert data == b"".join(naive_file(tokens, header_of(5, 1)))
        events = decode(data, eager=eager)
        assert not damage_in(events)
        assert np.array_equal(tokens_in(events), tokens)

    @pytest.mark.parametrize("eager", [False, True])
    @pytest.mark.parametrize("bits", [1, 3, 11, 12, 16])
    def test_pieces_do_not_matter(self, eager, bits):
        rng = np.random.default_rng(bits)
        tokens = random_tokens(237, bits)
        whole = encode(tokens, header_of(bits), eager=eager)
        assert encode(tokens, header_of(bits), eager=eager, pieces=[1] * 237) == whole
        for _ in range(20):
            cuts = np.sort(rng.integers(0, 238, rng.integers(1, 30)))
            pieces = np.diff([0, *cuts, 237]).tolist()
            assert encode(tokens, header_of(bits), eager=eager, pieces=pieces) == whole

    def test_block_of_the_largest_size(self):
        tokens = random_tokens(4096 * 2 + 5, 16)
        header = header_of(16, 4096)
        data = b"".join(naive_file(tokens, header))
        assert encode(tokens, header) == data
        assert np.array_equal(tokens_in(decode(data)), tokens)
        assert encode(tokens[:4096], header, eager=True, pieces=[4000, 96]) == b"".join(
            naive_file(tokens[:4096], header)
        )

    @pytest.mark.parametrize("eager", [False, True])
    def test_bad_tokens_change_nothing(self, eager):
        file = io.BytesIO()
        writer = BitstreamWriter(file, HEADER, eager=eager)
        writer.write(TOKENS[:15])
        before = file.getvalue()
        with pytest.raises(ValueError, match="does not fit 11 bits"):
            writer.write(np.array([1] * 30 + [2048], np.uint16))
        assert file.getvalue() == before
        assert writer.n_tokens == 15
        writer.write(TOKENS[15:].astype(np.int64))
        writer.close(57 * SPT)
        assert np.array_equal(tokens_in(decode(file.getvalue()))[:57], TOKENS)

    def test_close(self):
        file = io.BytesIO()
        writer = BitstreamWriter(file, HEADER)
        writer.write(TOKENS[:3])
        for bad in (-1, 3 * SPT + 1, 1 << 48):
            with pytest.raises(ValueError, match=r"n_samples must be 0\.\.960"):
                writer.close(bad)
        assert len(file.getvalue()) == 28
        writer.close(3 * SPT)
        assert file.getvalue() == b"".join(naive_file(TOKENS[:3], HEADER))
        assert not file.closed
        with pytest.raises(ValueError, match="closed"):
            writer.close(0)
        with pytest.raises(ValueError, match="closed"):
            writer.write(TOKENS[:1])

    def test_one_write_and_flush_per_block(self):
        calls = []

        class Spy(io.BytesIO):
            def write(self, data):
                calls.append(len(data))
                return super().write(data)

            def flush(self):
                calls.append("flush")

        writer = BitstreamWriter(Spy(), HEADER)
        assert calls == [28, "flush"]
        writer.write(TOKENS[:9])
        assert calls == [28, "flush"]
        writer.write(TOKENS[9:25])
        assert calls[2:] == [22, "flush", 22, "flush"]
        writer.close(25 * SPT)
        assert calls[6:] == [15, "flush", 12, "flush"]

    def test_filler_comes_with_the_end(self):
        """Whoever plays what arrives, write by write, would else play the filler."""
        file = Recorded()
        writes = file.writes
        writer = BitstreamWriter(file, HEADER, eager=True)
        writer.write(TOKENS[:9])
        before = len(writes)
        writer.close(9 * SPT)
        assert len(writes) == before + 1
        reader = BitstreamReader(eager=True)
        events = [reader.feed(data) for data in writes]
        assert isinstance(events[-1][-1], End)
        played = [e for batch in events[:-1] for e in batch if isinstance(e, Tokens)]
        found = np.concatenate([e.tokens for e in played])
        # The last token's last bits share a byte with the filler.
        assert 8 <= found.size <= 9
        assert np.array_equal(found, TOKENS[: found.size])

    @pytest.mark.parametrize("eager", [False, True])
    @pytest.mark.parametrize("count", [0, 3, 7, 10, 11, 57])
    def test_last_tokens_come_with_the_end(self, eager, count):
        """Those of a chunk half full: whoever hears them before the end plays too many."""
        file = Recorded()
        writes = file.writes
        tokens = random_tokens(3 + count, 11)
        writer = BitstreamWriter(file, HEADER, eager=eager)
        writer.write(tokens[:3])
        before = len(writes)
        n_samples = tokens.size * SPT - 100
        with pytest.raises(ValueError, match="n_samples must be"):
            writer.close(tokens.size * SPT + 1, tokens[3:])
        with pytest.raises(ValueError, match="fit"):
            writer.close(n_samples, np.array([1 << 11]))
        assert len(writes) == before
        assert writer.n_tokens == 3
        writer.close(n_samples, tokens[3:])
        assert writer.n_tokens == tokens.size
        if eager:
            assert len(writes) == before + 1
        events = decode(b"".join(writes))
        assert events[-1] == End(n_samples)
        assert np.array_equal(tokens_in(events)[: tokens.size], tokens)

    @pytest.mark.parametrize("eager", [False, True])
    def test_memory_is_constant(self, eager):
        class Null(io.RawIOBase):
            def write(self, data):
                return len(data)

        tokens = random_tokens(500_000, 16)
        writer = BitstreamWriter(Null(), header_of(16, 600), eager=eager)
        tracemalloc.start()
        try:
            for _ in range(3):
                writer.write(tokens)
            assert tracemalloc.get_traced_memory()[1] < 500_000
        finally:
            tracemalloc.stop()


class TestRoundTrip:
    @pytest.mark.parametrize("bits", ALL_BITS)
    @pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 57, 60])
    @pytest.mark.parametrize("eager", [False, True])
    def test_all_bits(self, bits, count, eager):
        tokens = random_tokens(count, bits, count)
        n_samples = max(0, count * SPT - 100)
        data = encode(tokens, header_of(bits), n_samples=n_samples)
        for step in (None, 1, 13):
            reader = BitstreamReader(eager=eager)
            events = []
            for start in range(0, len(data), step or len(data)):
                events += reader.feed(data[start : start + (step or len(data))])
            assert reader.close() == []
            assert events[0] == HeaderRead(header_of(bits))
            assert reader.header == header_of(bits)
            assert events[-1] == End(n_samples)
            assert not damage_in(events)
            assert np.array_equal(tokens_in(events), tokens)
            assert reader.ended
            assert reader.damaged == 0
            assert reader.n_tokens == count

    def test_block_by_block(self):
        sizes = [len(event.tokens) for event in decode(DATA) if isinstance(event, Tokens)]
        assert sizes == [10, 10, 10, 10, 10, 7]
        assert all(e.tokens.dtype == np.uint16 for e in decode(DATA) if isinstance(e, Tokens))

    def test_short_block_in_the_middle(self):
        blocks = [naive_block(TOKENS[i:j], 11, n) for n, (i, j) in enumerate([(0, 3), (3, 13)])]
        events = decode(b"".join([RECORDS[0], *blocks, naive_end(13 * SPT)]))
        assert not damage_in(events)
        assert np.array_equal(tokens_in(events), TOKENS[:13])

    def test_largest_sample_count(self):
        most = (1 << 48) - 1
        events = decode(DATA[:END] + naive_end(most))
        assert events[-1] == End(most)

    @pytest.mark.parametrize(("bits", "percent"), [(11, 1.94), (12, 1.78), (16, 1.33)])
    def test_overhead_of_a_minute(self, bits, percent):
        data = encode(random_tokens(3000, bits), header_of(bits, 600))
        payload = 3000 * bits // 8
        assert len(data) - payload == 80
        assert round(100 * (len(data) - payload) / payload, 2) == percent
        assert f"| {bits} | {payload} | {len(data)} | {percent} % |" in DOC.read_text()


class TestLive:
    @pytest.mark.parametrize("bits", ALL_BITS)
    @pytest.mark.parametrize("step", [1, 4, 7])
    def test_whole_tokens_arrive_at_once(self, bits, step):
        tokens = random_tokens(40, bits)
        file = io.BytesIO()
        writer = BitstreamWriter(file, header_of(bits, 16), eager=True)
        reader = BitstreamReader(eager=True)
        got, seen = [], 0
        for start in range(0, 40, step):
            writer.write(tokens[start : start + step])
            data = file.getvalue()
            got += tokens_in(reader.feed(data[seen:])).tolist()
            seen = len(data)
            written = min(start + step, 40)
            whole_bytes = written % 16 * bits // 8
            arrived = written // 16 * 16 + whole_bytes * 8 // bits
            assert got == tokens[:arrived].tolist()
            assert written - arrived <= -(-7 // bits)
        writer.close(40 * SPT - 5)
        events = reader.feed(file.getvalue()[seen:])
        assert events[-1] == End(40 * SPT - 5)
        got += tokens_in(events).tolist()
        assert got == tokens.tolist() + [0] * 8
        assert reader.damaged == 0

    @pytest.mark.parametrize("change", [{}, {28 + 9 * 255 + 4: 1}])
    def test_whole_tokens_arrive_when_the_sequence_starts_over(self, change):
        tokens = random_tokens(258, 8)
        data = damaged(change, b"".join(naive_file(tokens, header_of(8, 1))))
        reader = BitstreamReader(eager=True)
        reader.feed(data[: 28 + 9 * 256])
        # Behind a damaged block, one has to verify before the next is played early.
        reader.feed(data[28 + 9 * 256 : 28 + 9 * 257])
        events = reader.feed(data[28 + 9 * 257 : 28 + 9 * 257 + 5])
        assert tokens_in(events).tolist() == tokens[257:258].tolist()

    @pytest.mark.parametrize("buffering", [0, -1])
    def test_pipe(self, buffering):
        read_end, write_end = os.pipe()
        with (
            os.fdopen(write_end, "wb") as sink,
            os.fdopen(read_end, "rb", buffering) as source,
        ):
            events = read_events(source, eager=True)
            writer = BitstreamWriter(sink, header_of(16), eager=True)
            assert next(events) == HeaderRead(header_of(16))
            for token in range(60000, 60025):
                writer.write(np.array([token], np.uint16))
                assert next(events).tokens.tolist() == [token]
            writer.close(25 * SPT)
            sink.close()
            rest = list(events)
        assert tokens_in(rest).tolist() == [0] * 5
        assert rest[-1] == End(25 * SPT)

    def test_blocks_arrive_through_a_pipe_that_stays_open(self):
        read_end, write_end = os.pipe()
        with os.fdopen(write_end, "wb") as sink, os.fdopen(read_end, "rb") as source:
            events = read_events(source)
            writer = BitstreamWriter(sink, HEADER)
            assert next(events) == HeaderRead(HEADER)
            writer.write(TOKENS[:25])
            assert next(events).tokens.tolist() == TOKENS[:10].tolist()
            assert next(events).tokens.tolist() == TOKENS[10:20].tolist()
            writer.close(25 * SPT)
            assert next(events).tokens.tolist() == TOKENS[20:25].tolist()
            assert next(events) == End(25 * SPT)

    def test_writer_that_stops_inside_a_block(self):
        file = io.BytesIO()
        writer = BitstreamWriter(file, HEADER, eager=True)
        writer.write(TOKENS[:36])
        data = file.getvalue()
        eager = decode(data, eager=True)
        assert tokens_in(eager).tolist() == TOKENS[:35].tolist()
        assert [event.n_tokens for event in damage_in(eager)] == [0]
        assert "cut" in eager[-1].message
        late = decode(data)
        assert tokens_in(late).tolist() == TOKENS[:30].tolist()
        # 4 bytes of head and 8 of payload: no more than an end record, so no silence for them.
        assert [event.n_tokens for event in damage_in(late)] == [0]

    def test_silence_of_a_cut_block(self):
        # 18 bytes are there of which 8 would be head and CRC: 80 bits, 7 tokens.
        cut = DATA[: OFFSETS[3] + 18]
        assert [event.n_tokens for event in damage_in(decode(cut))] == [7]
        assert [event.n_tokens for event in damage_in(decode(cut, eager=True))] == [0]
        assert len(tokens_in(decode(cut, eager=True))) == 20 + 10

    def test_writer_that_is_never_closed(self):
        file = io.BytesIO()
        writer = BitstreamWriter(file, HEADER)
        writer.write(TOKENS[:47])
        events = decode(file.getvalue())
        assert tokens_in(events).tolist() == TOKENS[:40].tolist()
        assert [event.n_tokens for event in damage_in(events)] == [0]
        assert NO_END in events[-1].message
        assert f"byte {len(file.getvalue())}:" in events[-1].message

    def test_reader_after_close(self):
        reader = BitstreamReader()
        reader.feed(DATA)
        assert reader.close() == []
        assert reader.close() == []
        with pytest.raises(ValueError, match="closed"):
            reader.feed(b"")


@pytest.fixture(params=[False, True], ids=["verified", "eager"])
def eager(request):
    return request.param


class TestDamage:
    """In both modes; every test also feeds the bytes one by one."""

    @staticmethod
    def read(data, eager):
        whole = BitstreamReader(eager=eager)
        events = whole.feed(data) + whole.close()
        bytewise = decode(data, step=1, eager=eager)
        assert merged(bytewise) == merged(events)
        assert whole.damaged == len(damage_in(events))
        assert whole.n_tokens == len(timeline(events))
        assert all("\n" not in event.message for event in damage_in(events))
        return events

    @pytest.mark.parametrize("block", range(1, 7))
    def test_every_byte_of_a_block(self, block, eager):
        """One damage, silence of the block's exact length, all else in its place."""
        first, count = (block - 1) * 10, 10 if block < 6 else 7
        for offset in range(OFFSETS[block], OFFSETS[block + 1]):
            events = self.read(damaged({offset: 0x10}), eager)
            found = timeline(events)
            assert len(found) == 57
            same = np.ones(57, bool)
            same[first : first + count] = False
            assert np.array_equal(found[same], TOKENS[same])
            if not eager:
                assert (found[~same] == -1).all()
                assert [event.n_tokens for event in damage_in(events)] == [count]
                assert f"byte {OFFSETS[block]}: {OFFSETS[block + 1] - OFFSETS[block]} bytes" in (
                    damage_in(events)[0].message
                )
            assert len(damage_in(events)) == 1
            assert events[-1] == End(57 * SPT)

    def test_payload_that_was_played(self):
        """The silence must not come on top of what was played."""
        data = damaged({OFFSETS[2] + 6: 0x40})
        events = self.read(data, True)
        assert len(damage_in(events)) == 1
        assert damage_in(events)[0].n_tokens == 0
        assert f"byte {OFFSETS[2]}" in damage_in(events)[0].message
        assert "10 tokens were already played" in damage_in(events)[0].message
        found = timeline(events)
        assert (found != TOKENS).sum() == 1
        assert set(np.flatnonzero(found != TOKENS)) <= set(range(10, 20))

    def test_adjacent_blocks(self, eager):
        events = self.read(damaged({OFFSETS[2] + 9: 1, OFFSETS[3] + 9: 1}), eager)
        found = timeline(events)
        assert len(found) == 57
        assert np.array_equal(found[:10], TOKENS[:10])
        assert np.array_equal(found[30:], TOKENS[30:])
        if not eager:
            assert (found[10:30] == -1).all()
            assert [event.n_tokens for event in damage_in(events)] == [20]
            assert "44 bytes damaged, replaced by 20 tokens" in damage_in(events)[0].message

    def test_all_blocks(self, eager):
        events = self.read(damaged(dict.fromkeys(OFFSETS[1:7], 1)), eager)
        assert timeline(events).tolist() == [-1] * 57
        assert len(damage_in(events)) == 1

    @pytest.mark.parametrize("count", [0, 1, 9, 11, 300, 65535])
    def test_count(self, count, eager):
        """A wrong count in a block must not take the next one along."""
        data = bytearray(DATA)
        data[OFFSETS[3] + 2 : OFFSETS[3] + 4] = count.to_bytes(2, "little")
        events = self.read(bytes(data), eager)
        found = timeline(events)
        assert len(found) == 57
        assert np.array_equal(found[:20], TOKENS[:20])
        assert np.array_equal(found[30:], TOKENS[30:])
        played = count if eager and count in (1, 9) else 0
        assert np.array_equal(found[20 : 20 + played], TOKENS[20 : 20 + played])
        assert (found[20 + played : 30] == -1).all()

    @pytest.mark.parametrize("count", [6, 8, 9, 10])
    def test_count_of_the_last_block(self, count, eager):
        data = bytearray(DATA)
        data[OFFSETS[6] + 2] = count
        events = self.read(bytes(data), eager)
        found = timeline(events)
        assert np.array_equal(found[:50], TOKENS[:50])
        assert events[-1] == End(57 * SPT)
        assert len(damage_in(events)) == 1 + (eager and count == 6)
        if not eager:
            assert found[50:].tolist() == [-1] * 7
        else:
            assert len(found) == 50 + max(7, count)

    def test_cut_at_every_byte(self, eager):
        for size in range(len(DATA)):
            if size < 28:
                with pytest.raises(BitstreamError, match="cut" if size else "empty"):
                    decode(DATA[:size], eager=eager)
                continue
            events = self.read(DATA[:size], eager)
            whole = sum(end <= size for end in OFFSETS[2:8])
            there = min(57, whole * 10)
            tokens = tokens_in(events)
            if eager and whole < 6:
                arrived = max(0, size - OFFSETS[whole + 1] - 4) * 8 // 11
                assert len(tokens) == there + min(10 if whole < 5 else 7, arrived)
            assert np.array_equal(tokens[:57], TOKENS[: len(tokens)])
            assert len(tokens) >= there
            assert len(damage_in(events)) == 1
            assert isinstance(events[-1], Damage)
            assert f"byte {size}: " in events[-1].message
            assert "cut" in events[-1].message
            assert (NO_END in events[-1].message) == (size in OFFSETS[1:8])
            rest = size - max(offset for offset in OFFSETS if offset <= size)
            if not eager:
                silence = (rest - 8) * 8 // 11 if rest > 12 else 0
                assert events[-1].n_tokens == silence
            else:
                assert events[-1].n_tokens == 0

    def test_cut_behind_damage(self, eager):
        """Everything from the second block on is lost: as many tokens as fit."""
        data = damaged({OFFSETS[2]: 1, OFFSETS[3]: 1, OFFSETS[4]: 1})[: OFFSETS[4] + 15]
        events = self.read(data, eager)
        assert tokens_in(events).tolist() == TOKENS[:10].tolist()
        assert [event.n_tokens for event in damage_in(events)] == [20 + 7 * 8 // 11]

    @pytest.mark.parametrize("size", [1, 5, 21, 22, 23, 100])
    @pytest.mark.parametrize("fill", [0x00, 0xB1, 0xE5])
    def test_garbage_between_blocks(self, size, fill, eager):
        data = DATA[: OFFSETS[3]] + bytes([fill]) * size + DATA[OFFSETS[3] :]
        events = self.read(data, eager)
        assert np.array_equal(tokens_in(events), TOKENS)
        assert [event.n_tokens for event in damage_in(events)] == [0]
        assert f"byte {OFFSETS[3]}: {size} byte" in damage_in(events)[0].message
        assert "skipped" in damage_in(events)[0].message

    def test_garbage_before_the_end_record(self, eager):
        data = DATA[:END] + b"garbage" * 20 + DATA[-12:]
        events = self.read(data, eager)
        assert np.array_equal(timeline(events), TOKENS)
        assert len(damage_in(events)) == 1
        assert events[-1] == End(57 * SPT)

    def test_garbage_instead_of_a_block(self, eager):
        data = DATA[: OFFSETS[3]] + b"x" * 200 + DATA[OFFSETS[4] :]
        events = self.read(data, eager)
        assert [event.n_tokens for event in damage_in(events)] == [10]
        assert np.array_equal(
            np.delete(timeline(events), range(20, 30)), np.delete(TOKENS, range(20, 30))
        )

    def test_bytes_lost_inside_a_block(self, eager):
        """What follows keeps its place, though the block is shorter."""
        data = DATA[: OFFSETS[3] + 8] + DATA[OFFSETS[3] + 13 :]
        events = self.read(data, eager)
        found = timeline(events)
        assert len(found) == 57
        assert np.array_equal(found[:20], TOKENS[:20])
        assert np.array_equal(found[30:], TOKENS[30:])

    @pytest.mark.parametrize("missing", [1, 2, 3])
    def test_blocks_deleted(self, missing, eager):
        data = DATA[: OFFSETS[2]] + DATA[OFFSETS[2 + missing] :]
        events = self.read(data, eager)
        expected = np.delete(TOKENS, range(10, 10 + 10 * missing))
        assert np.array_equal(timeline(events), expected)
        assert [event.n_tokens for event in damage_in(events)] == [0]
        assert f"byte {OFFSETS[2]}: {missing} block" in damage_in(events)[0].message
        assert "missing before block" in damage_in(events)[0].message

    def test_last_blocks_deleted(self, eager):
        events = self.read(DATA[: OFFSETS[4]] + RECORDS[-1], eager)
        assert np.array_equal(timeline(events), TOKENS[:30])
        assert [event.n_tokens for event in damage_in(events)] == [0]
        assert "blocks are missing, 27 tokens" in damage_in(events)[0].message
        assert events[-1] == End(57 * SPT)

    def test_block_repeated(self, eager):
        data = DATA[: OFFSETS[3]] + RECORDS[2] + DATA[OFFSETS[3] :]
        events = self.read(data, eager)
        assert np.array_equal(timeline(events), np.insert(TOKENS, 20, TOKENS[10:20]))
        assert "block 1 where block 2 was expected" in damage_in(events)[0].message
        assert "missing" not in damage_in(events)[0].message

    def test_deleted_and_damaged(self, eager):
        """Only the bytes that are there warrant silence."""
        data = damaged({OFFSETS[2] + 8: 1})
        data = data[: OFFSETS[3]] + data[OFFSETS[5] :]
        events = self.read(data, eager)
        found = timeline(events)
        assert len(found) == 37
        assert np.array_equal(found[:10], TOKENS[:10])
        assert np.array_equal(found[20:], TOKENS[40:])

    def test_last_block_damaged_after_blocks_deleted(self, eager):
        """The sample count asks for more than the bytes warrant."""
        data = damaged({OFFSETS[6] + 8: 1})
        data = data[: OFFSETS[2]] + data[OFFSETS[4] :]
        events = self.read(data, eager)
        found = timeline(events)
        assert len(found) == 37
        assert np.array_equal(found[:30], np.delete(TOKENS[:50], range(10, 30)))
        if not eager:
            assert (found[30:] == -1).all()

    def test_empty_block(self, eager):
        """A count of 0 is not valid, even with a CRC that holds."""
        data = DATA[: OFFSETS[3]] + naive_block([], 11, 2) + DATA[OFFSETS[3] :]
        events = self.read(data, eager)
        assert np.array_equal(timeline(events), TOKENS)
        assert f"byte {OFFSETS[3]}: 8 bytes skipped" in damage_in(events)[0].message

    def test_sequence_starts_over(self, eager):
        """Block 256 follows block 255, be that one whole or damaged."""
        tokens = random_tokens(2600, 8)
        records = naive_file(tokens, header_of(8))
        start = len(b"".join(records[:256]))
        for change in ({}, {start + 6: 1}):
            data = damaged(change, b"".join(records[:258]))
            events = self.read(data, eager)
            assert np.array_equal(timeline(events)[2560:], tokens[2560:2570])
        repeated = self.read(b"".join([*records[:257], records[256], *records[257:]]), eager)
        assert "block 255 where block 0 was expected" in damage_in(repeated)[0].message

    def test_end_record(self, eager):
        for offset in range(END, len(DATA)):
            events = self.read(damaged({offset: 0x20}), eager)
            assert np.array_equal(tokens_in(events), TOKENS)
            assert [event.n_tokens for event in damage_in(events)] == [0]
            assert "the stream is cut" in events[-1].message

    def test_end_record_with_another_reserved_byte(self, eager):
        end = with_crc(b"\xe5\x01" + (57 * SPT).to_bytes(6, "little"))
        events = self.read(DATA[:-12] + end, eager)
        assert isinstance(events[-1], Damage)

    def test_end_record_turned_into_a_block(self, eager):
        data = bytearray(DATA)
        data[-12:-8] = b"\xb1\x06\x05\x00"
        events = self.read(bytes(data), eager)
        assert np.array_equal(tokens_in(events)[:57], TOKENS)
        assert len(timeline(events)) * 11 <= len(data) * 8
        assert len(damage_in(events)) == 1

    @pytest.mark.parametrize("tail", [b"x", DATA, b"\xb1" * 50])
    def test_bytes_after_the_end(self, tail, eager):
        events = self.read(DATA + tail, eager)
        assert np.array_equal(timeline(events), TOKENS)
        assert events[-2] == End(57 * SPT)
        assert events[-1].n_tokens == 0
        assert f"byte {len(DATA)}: bytes after the end record" in events[-1].message

    def test_partly_used_last_token(self, eager):
        """Silence for a lost last block is as long as the sample count says."""
        data = b"".join(naive_file(TOKENS, HEADER, n_samples=54 * SPT - 1))
        events = self.read(damaged({OFFSETS[6] + 1: 1}, data), eager)
        assert len(timeline(events)) == 54

    def test_narrow_tokens_at_the_end(self, eager):
        """At 3 bits, a block's bytes could hold two tokens more than it does."""
        tokens = random_tokens(11, 3)
        records = naive_file(tokens, header_of(3))
        data = damaged({len(b"".join(records[:2])): 2}, b"".join(records))
        events = self.read(data, eager)
        assert timeline(events).tolist() == [*tokens[:10].tolist(), -1]

    def test_300_damaged_blocks(self, eager):
        """The sequence starts over, so 256 blocks go missing; the rest is right."""
        tokens = random_tokens(400, 8)
        records = naive_file(tokens, header_of(8, 1))
        data = b"".join([*records[:51], b"?" * 9 * 300, *records[351:]])
        found = timeline(self.read(data, eager))
        assert found.tolist() == [*tokens[:50], *[-1] * 44, *tokens[350:]]

    def test_silence_never_outgrows_the_input(self, eager):
        """One byte of garbage and a jump in the sequence must not buy 4096 tokens each time."""
        header = header_of(16, 4096)
        blocks = [naive_block([n], 16, 2 * n) + b"?" for n in range(300)]
        data = b"".join([header.to_bytes(), *blocks, naive_end(1 << 40)])
        events = self.read(data, eager)
        assert len(tokens_in(events)) == 300
        assert len(timeline(events)) <= len(data) * 8 // 16

    def test_overlapping_blocks_are_not_played_again_and_again(self):
        """Behind each real block, a false head claims the 4096 tokens that follow."""
        header = header_of(16, 4096)
        false = [struct.pack("<BBH", 0xB1, (n + 1) % 256, 4096) for n in range(3000)]
        blocks = [naive_block([n], 16, n) + false[n] for n in range(3000)]
        data = b"".join([header.to_bytes(), *blocks])
        events = decode(data, eager=True)
        assert len(timeline(events)) * 16 <= 2 * len(data) * 8
        # The real ones are all there nevertheless.
        real = [e.tokens[0] for e in events if isinstance(e, Tokens) and len(e.tokens) == 1]
        assert set(range(3000)) <= set(real)


class TestStrict:
    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (damaged({OFFSETS[2] + 6: 1}), f"byte {OFFSETS[2]}:"),
            (DATA[:-1], f"byte {len(DATA) - 1}: the stream is cut"),
            (DATA[:-12], NO_END),
            (DATA + b"x", "bytes after the end record"),
            (DATA[: OFFSETS[2]] + DATA[OFFSETS[3] :], "1 block missing before block 2"),
            (DATA[: OFFSETS[3]] + b"x" + DATA[OFFSETS[3] :], "1 byte skipped"),
        ],
    )
    @pytest.mark.parametrize("step", [None, 1])
    def test_raises(self, data, message, step, eager):
        lenient = damage_in(decode(data, eager=eager))
        with pytest.raises(BitstreamError, match=message) as caught:
            decode(data, step=step, eager=eager, strict=True)
        assert str(caught.value) == lenient[0].message

    def test_events_before_the_damage(self):
        reader = BitstreamReader(strict=True)
        data = damaged({OFFSETS[3] + 6: 1})
        events = reader.feed(data[: OFFSETS[3] + 3])
        assert tokens_in(events).tolist() == TOKENS[:20].tolist()
        with pytest.raises(BitstreamError):
            reader.feed(data[OFFSETS[3] + 3 :])
        with pytest.raises(BitstreamError):
            reader.close()

    def test_undamaged(self, eager):
        assert np.array_equal(tokens_in(decode(DATA, eager=eager, strict=True)), TOKENS)


class TestReadEvents:
    def test_same_as_the_reader(self, eager):
        data = damaged({OFFSETS[3] + 6: 1})
        for chunk_bytes in (1, 7, 65536):
            events = list(read_events(io.BytesIO(data), eager=eager, chunk_bytes=chunk_bytes))
            assert merged(events) == merged(decode(data, eager=eager))

    def test_strict_and_header_errors(self):
        with pytest.raises(BitstreamError, match="byte"):
            list(read_events(io.BytesIO(DATA[:-1]), strict=True))
        with pytest.raises(BitstreamError, match="empty"):
            list(read_events(io.BytesIO()))

    def test_file_with_read_only(self):
        class Plain:
            def __init__(self):
                self.read = io.BytesIO(DATA).read

        assert np.array_equal(tokens_in(read_events(Plain())), TOKENS)


class TestDocument:
    @staticmethod
    def fields():
        example = DOC.read_text().split("## Worked example", 1)[1]
        pattern = r"^([0-9a-f]{4})    ((?:[0-9a-f]{2} )*[0-9a-f]{2})  +(\S.*)$"
        return re.findall(pattern, example, re.MULTILINE)

    def test_offsets(self):
        at = 0
        for offset, text, _ in self.fields():
            assert int(offset, 16) == at
            at += len(bytes.fromhex(text))
        assert at == 65

    @pytest.mark.parametrize("eager", [False, True])
    def test_decodes(self, eager):
        data = b"".join(bytes.fromhex(text) for _, text, _ in self.fields())
        header = Header(11, 320, 16000, 24000, bytes.fromhex("0123456789abcdef"), 4)
        events = decode(data, eager=eager)
        tokens = [1, 2047, 1024, 5, 1000, 513]
        assert merged(events) == [HeaderRead(header), tokens, End(1800)]
        assert encode(np.array(tokens, np.uint16), header, n_samples=1800) == data

    def test_meanings(self):
        """The numbers of the right column are those of the bytes."""
        for _, text, meaning in self.fields():
            value = int.from_bytes(bytes.fromhex(text), "little")
            if meaning.startswith("CRC"):
                assert meaning.endswith(f"{value:#010x}")
            elif re.match(r"\d+ ", meaning):
                assert int(meaning.split()[0]) == value

    def test_payload_example(self):
        section = DOC.read_text().split("### Payload", 1)[1]
        rows = dict(re.findall(r"^(tokens|bytes|hex) +([0-9a-f ]+)$", section, re.MULTILINE))
        tokens = [int(text, 2) for text in rows["tokens"].split()]
        packed = bytes(int(text, 2) for text in rows["bytes"].split())
        assert tokens == [1, 2047, 1024, 5]
        assert packed == bytes.fromhex(rows["hex"])
        assert pack_tokens(np.array(tokens, np.uint16), 11) == packed

    def test_crc_check_value(self):
        assert f"0x{zlib.crc32(b'123456789'):X}" in DOC.read_text()
