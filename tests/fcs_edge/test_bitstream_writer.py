"""The header, the writer, and what a reader makes of what was written."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest

from bitstream_cases import (
    ALL_BITS,
    DATA,
    DOC,
    END,
    HEADER,
    RECORDS,
    SPT,
    TOKENS,
    damage_in,
    damaged,
    decode,
    encode,
    header_of,
    naive_block,
    naive_end,
    naive_file,
    naive_header,
    random_tokens,
    tokens_in,
    with_crc,
)
from fcs_edge.bitstream.reader import (
    BitstreamReader,
    End,
    HeaderRead,
    Tokens,
)
from fcs_edge.bitstream.writer import BitstreamWriter, Header
from fcs_edge.errors import BitstreamError
from helpers import Recorded


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
