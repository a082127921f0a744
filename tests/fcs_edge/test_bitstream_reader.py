"""Reading as bytes arrive, reading files, and what a reader needs of priors and of memory."""

from __future__ import annotations

import binascii
import io
import os
import time
import tracemalloc

import numpy as np
import pytest

from bitstream_cases import (
    ALL_BITS,
    DATA,
    HEADER,
    NO_END,
    OFFSETS,
    RECORDS,
    SPT,
    TOKENS,
    damage_in,
    damaged,
    decode,
    encode,
    header_of,
    most_tokens,
    naive_block,
    naive_end,
    naive_general,
    naive_header,
    random_tokens,
    read,
    speech_like,
    timeline,
    tokens_in,
)
from fcs_edge.bitstream import (
    BitstreamReader,
    BitstreamWriter,
    End,
    HeaderRead,
    Tokens,
    read_events,
)
from fcs_edge.entropy import neutral_coder
from fcs_edge.errors import BitstreamError
from helpers import merged


class TestRoundTrip:
    @pytest.mark.parametrize("bits", ALL_BITS)
    @pytest.mark.parametrize("eager", [False, True])
    def test_all_bits(self, bits, eager):
        for count in (0, 1, 49, 50, 101, 330):
            tokens = speech_like(count, bits, count)
            n_samples = max(0, count * SPT - 100)
            data = encode(tokens, header_of(bits), n_samples=n_samples)
            for step in (None, 1, 13):
                reader, events = read(data, step=step, eager=eager)
                assert events[0] == HeaderRead(header_of(bits))
                assert reader.header == header_of(bits)
                assert events[-1] == End(n_samples)
                assert not damage_in(events)
                assert np.array_equal(tokens_in(events), tokens)
                assert reader.ended
                assert not reader.joined
                assert reader.damaged == 0
                assert reader.n_tokens == count

    def test_block_by_block(self):
        sizes = [len(event.tokens) for event in decode(DATA) if isinstance(event, Tokens)]
        assert sizes == [50] * 6 + [17]
        assert all(e.tokens.dtype == np.uint16 for e in decode(DATA) if isinstance(e, Tokens))
        assert all(e.chunk_tokens == 0 for e in decode(DATA) if isinstance(e, Tokens))

    def test_blocks_of_any_size_in_a_row(self):
        sizes = [3, 50, 47, 100, 1, 99, 100, 200]
        edges = np.cumsum([0, *sizes]).tolist()
        tokens = random_tokens(600, 11)
        blocks = [naive_block(tokens[i : i + n], 11, i) for i, n in zip(edges, sizes, strict=False)]
        data = b"".join([naive_header(HEADER), *blocks, naive_end(600 * SPT)])
        events = decode(data, step=9)
        assert not damage_in(events)
        assert np.array_equal(tokens_in(events), tokens)

    def test_zero_bytes_behind_a_coded_payload(self):
        payload = neutral_coder(11).encode(TOKENS[:50])
        for extra in (0, 1, 9):
            block = naive_block(TOKENS[:50], 11, 0, coding=1, payload=payload + bytes(extra))
            data = naive_header(HEADER) + block + naive_end(50 * SPT)
            assert np.array_equal(tokens_in(decode(data)), TOKENS[:50])


class TestLive:
    @pytest.mark.parametrize("bits", ALL_BITS)
    @pytest.mark.parametrize("chunk", [1, 4, 7])
    def test_whole_chunks_arrive_at_once(self, bits, chunk):
        tokens = random_tokens(20 * chunk, bits)
        file = io.BytesIO()
        writer = BitstreamWriter(file, header_of(bits), eager=True, chunk_tokens=chunk)
        reader = BitstreamReader(eager=True)
        seen = 0
        for start in range(0, tokens.size, chunk):
            writer.write(tokens[start : start + chunk])
            data = file.getvalue()
            got = [e for e in reader.feed(data[seen:]) if isinstance(e, Tokens)]
            seen = len(data)
            assert [e.chunk_tokens for e in got] == [chunk]
            assert got[0].tokens.tolist() == tokens[start : start + chunk].tolist()
        writer.close(tokens.size * SPT - 5)
        events = reader.feed(file.getvalue()[seen:])
        assert events[-1] == End(tokens.size * SPT - 5)
        assert not tokens_in(events).any()
        assert reader.damaged == 0

    def test_after_damage_and_after_joining(self):
        """One block has to be whole; the next is played early again."""
        tokens = random_tokens(240, 11)
        data = encode(tokens, HEADER, eager=True)
        cuts = []
        decode(data, records=lambda offset, _: cuts.append(offset))
        first_chunk = tokens[24 * 8 : 24 * 8 + 4].tolist()
        joined = BitstreamReader(eager=True, join=HEADER)
        hurt = BitstreamReader(eager=True)
        before = tokens_in(joined.feed(data[cuts[2] + 1 : cuts[9]]))
        assert before.tolist() == tokens[48 : 24 * 8].tolist()
        hurt.feed(damaged({cuts[2] + 9: 1}, data)[: cuts[9]])
        for reader in (joined, hurt):
            events = reader.feed(data[cuts[9] : cuts[9] + 12])
            assert tokens_in(events).tolist() == first_chunk

    @pytest.mark.parametrize("buffering", [0, -1])
    def test_pipe(self, buffering):
        read_end, write_end = os.pipe()
        with (
            os.fdopen(write_end, "wb") as sink,
            os.fdopen(read_end, "rb", buffering) as source,
        ):
            events = read_events(source, eager=True)
            writer = BitstreamWriter(sink, header_of(16), eager=True, chunk_tokens=1)
            assert next(events) == HeaderRead(header_of(16))
            for token in range(60000, 60025):
                writer.write(np.array([token], np.uint16))
                assert next(events).tokens.tolist() == [token]
            writer.close(25 * SPT)
            sink.close()
            rest = list(events)
        assert tokens_in(rest).tolist() == [0] * 23
        assert rest[-1] == End(25 * SPT)

    def test_blocks_arrive_through_a_pipe_that_stays_open(self):
        read_end, write_end = os.pipe()
        with os.fdopen(write_end, "wb") as sink, os.fdopen(read_end, "rb") as source:
            events = read_events(source)
            writer = BitstreamWriter(sink, HEADER, block_tokens=50)
            assert next(events) == HeaderRead(HEADER)
            writer.write(TOKENS[:125])
            assert next(events).tokens.tolist() == TOKENS[:50].tolist()
            assert next(events).tokens.tolist() == TOKENS[50:100].tolist()
            writer.close(125 * SPT)
            assert next(events).tokens.tolist() == TOKENS[100:125].tolist()
            assert next(events) == End(125 * SPT)

    def test_writer_that_is_never_closed(self):
        file = io.BytesIO()
        writer = BitstreamWriter(file, HEADER, block_tokens=50)
        writer.write(TOKENS)
        events = decode(file.getvalue())
        assert tokens_in(events).tolist() == TOKENS[:300].tolist()
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


class _Shifted:
    """A coder of a prior in name: that of no prior, of tokens turned over."""

    bits, check = 11, 0xBEEF

    def __init__(self):
        self._coder = neutral_coder(11)

    def encode(self, tokens, known=None):
        return self._coder.encode(tokens ^ 2047, known)

    def decode(self, data, count, known=None):
        known = None if known is None else np.where(known < 0, -1, known ^ 2047)
        return self._coder.decode(data, count, known) ^ np.uint16(2047)

    def fit(self, tokens, n_bytes):
        return self._coder.fit(tokens ^ 2047, n_bytes)


class TestPriors:
    PRIOR = header_of(11, prior=0xBEEF)

    def test_known(self):
        tokens = speech_like(250, 11)
        data = encode(tokens, self.PRIOR, coder=_Shifted())
        assert data[23] == 0xA2
        headers = []
        coders = lambda header: headers.append(header) or _Shifted()  # noqa: E731
        assert tokens_in(decode(data, coders=coders)).tolist() == tokens.tolist()
        assert headers == [self.PRIOR]

    def test_unknown(self):
        """Raw and neutral blocks play; the others are silence."""
        tokens = np.concatenate((speech_like(100, 11), random_tokens(100, 11), speech_like(50, 11)))
        data = encode(tokens, self.PRIOR, coder=_Shifted())
        for coders in (None, lambda _: None):
            reader, events = read(data, coders=coders)
            found = timeline(events)
            assert found.tolist() == [*[-1] * 100, *tokens[100:200].tolist(), *[-1] * 50]
            assert reader.unknown_priors == {0xBEEF}
            assert "prior 0000beef" in damage_in(events)[0].message
        assert tokens_in(decode(encode(tokens, self.PRIOR))).tolist() == tokens.tolist()

    def test_a_header_without_a_prior(self):
        block = naive_block(TOKENS[:50], 11, 0, coding=2, payload=b"abc")
        events = decode(naive_header(HEADER) + block + naive_end(50 * SPT))
        assert [event.n_tokens for event in damage_in(events)] == [50]


class TestRecords:
    def test_each_accepted_record_once(self):
        copy = naive_header(HEADER, copy=True)
        inserted = [*RECORDS[:3], copy, RECORDS[1], naive_general(0xC3, b"x"), *RECORDS[3:]]
        found = []
        data = b"".join(inserted) + DATA
        for eager in (False, True):
            found.clear()
            decode(data, step=7, eager=eager, records=lambda *record: found.append(record))
            assert [record for _, record in found] == [*inserted, *RECORDS]
            assert all(data[at:].startswith(record) for at, record in found)

    def test_damaged_ones_are_not_among_them(self):
        found = []
        decode(damaged({OFFSETS[3] + 6: 1}), records=lambda _, record: found.append(record))
        assert found == [*RECORDS[:3], *RECORDS[4:]]


class TestReadEvents:
    @pytest.mark.parametrize("eager", [False, True])
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

    def test_events_before_the_damage(self):
        reader = BitstreamReader(strict=True)
        data = damaged({OFFSETS[3] + 6: 1})
        events = reader.feed(data[: OFFSETS[3] + 3])
        assert tokens_in(events).tolist() == TOKENS[:100].tolist()
        with pytest.raises(BitstreamError):
            reader.feed(data[OFFSETS[3] + 3 :])
        with pytest.raises(BitstreamError):
            reader.close()

    def test_file_with_read_only(self):
        class Plain:
            def __init__(self):
                self.read = io.BytesIO(DATA).read

        assert np.array_equal(tokens_in(read_events(Plain())), TOKENS)


def with_crc(data):
    return data + binascii.crc_hqx(data, 0xFFFF).to_bytes(2, "little")


def one_token(n):
    return with_crc(bytes([0xAC]) + n.to_bytes(3, "little") + bytes([1, 2, 0, 0]))


def false_blocks(size):
    """Return real blocks of one token, each with a false head of a large block behind it."""
    heads = [bytes([0xAF]) + (n + 1).to_bytes(3, "little") + b"\xff\x01" for n in range(size // 16)]
    return b"".join(one_token(n) + head for n, head in enumerate(heads))


def silent_blocks(size):
    """Return blocks of the most tokens in the fewest bytes."""
    heads = (
        bytes([0xAD]) + (255 * n).to_bytes(3, "little") + b"\xff\1\7" for n in range(size // 9)
    )
    return b"".join(map(with_crc, heads))


@pytest.mark.parametrize("options", [{}, {"eager": True}, {"salvage": True}])
class TestHostile:
    """The bounds are ten times what they need to be; a quadratic search takes far longer."""

    SIZE = 24_000
    BODIES = {  # noqa: RUF012
        "long coded blocks": b"\xa9" * SIZE,
        "written counts": b"\xae" * SIZE,
        "streamed": b"\xaf\xaf\xaf\xaf\xff\xff" * (SIZE // 6),
        "end records": b"\xe5" * SIZE,
        "headers": b"FCS\x1a\x02\x30\x00" * (SIZE // 7),
        "whole headers": header_of(16).to_bytes() * (SIZE // 19),
        "general records": b"\xc1\xff\x0f" * (SIZE // 3),
        "false blocks": false_blocks(SIZE),
        "silent blocks": silent_blocks(SIZE),
        "random": np.random.default_rng(0).bytes(SIZE),
    }

    @pytest.mark.parametrize("body", BODIES)
    def test_time(self, options, body):
        data = naive_header(header_of(16)) + self.BODIES[body]
        start = time.process_time()
        reader, _ = read(data, step=1000, **options)
        assert time.process_time() - start < 4
        assert reader.damaged > 0
        assert reader.n_tokens <= most_tokens(reader, data, eager="eager" in options)

    @pytest.mark.parametrize("body", ["written counts", "false blocks", "random"])
    def test_memory(self, options, body):
        """One record and what a call to feed brings, whatever the length of the input."""
        data = naive_header(header_of(16)) + self.BODIES[body]
        reader = BitstreamReader(**options)
        reader.feed(data[:1000])
        tracemalloc.start()
        try:
            for start in range(1000, 12_000, 1000):
                reader.feed(data[start : start + 1000])
            assert tracemalloc.get_traced_memory()[0] < 30_000
            assert tracemalloc.get_traced_memory()[1] < 400_000
        finally:
            tracemalloc.stop()

    def test_memory_of_a_long_file(self, options):
        data = encode(speech_like(20_000, 11), HEADER)
        reader = BitstreamReader(**options)
        reader.feed(data[:4096])
        tracemalloc.start()
        try:
            for start in range(4096, len(data), 4096):
                reader.feed(data[start : start + 4096])
            assert reader.ended
            for _ in range(100):
                reader.feed(bytes(4096))
            assert tracemalloc.get_traced_memory()[1] < 200_000
        finally:
            tracemalloc.stop()
