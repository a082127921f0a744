"""The header, the writer, and what a reader makes of what was written."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest

from bitstream_cases import (
    ALL_BITS,
    DATA,
    END,
    HEADER,
    OFFSETS,
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
    naive_general,
    naive_header,
    naive_streamed,
    random_tokens,
    speech_like,
    timeline,
    tokens_in,
    with_crc,
)
from fcs_edge.bitstream import BitstreamReader, BitstreamWriter, End, Header, HeaderRead, Tokens
from fcs_edge.bitstream.blocks import block_record
from fcs_edge.bitstream.header import NON_CAUSAL
from fcs_edge.entropy import neutral_coder
from fcs_edge.errors import BitstreamError
from helpers import Recorded

COUNTS = [0, 1, 49, 50, 99, 100, 101, 317]
FORMS = [{}, {"raw": True}, {"eager": True}]


class TestHeader:
    @pytest.mark.parametrize(
        ("header", "size"),
        [
            (HEADER, 19),
            (header_of(16, prior=0xFFFFFFFF, settings=0xFFFF), 23),
            (Header(1, 1, 1, 1, bytes(8)), 27),
            (Header(16, 65535, (1 << 24) - 1, (1 << 24) - 1, b"\xff" * 8, 1), 31),
            *(
                (Header(9, n, 16000, r, bytes(8)), 19)
                for n in (320, 640, 1280)
                for r in (16000, 24000)
            ),
        ],
    )
    def test_bytes(self, header, size):
        data = header.to_bytes()
        assert data == naive_header(header)
        assert header.to_bytes(repeated=True) == naive_header(header, repeated=True)
        assert len(data) == size
        assert Header.from_bytes(data + bytes(40)) == header
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
            ("prior", 1 << 32),
            ("settings", 1 << 16),
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
            (b"RIFF" + bytes(1000), "not an .fcs file"),
            (b"\0", "not an .fcs file"),
            (b"F", "cut: 1 bytes where 19"),
            (DATA[:4], "cut: 4 bytes"),
            (DATA[:18], "cut: 18 bytes"),
            (damaged({4: 3}), "version 1 was never released: encode the sound again"),
            (damaged({4: 3})[:9], "version 1 was never released"),
            (damaged({4: 1, 8: 1})[:40], "version 3 is newer than this release reads"),
            (damaged({8: 3}), "CRC does not match"),
            (with_crc(damaged({5: 0x40})[:17]), "needs a newer fcs-edge"),
            (with_crc(damaged({5: 0x80})[:17]), "needs a newer fcs-edge"),
            (with_crc(damaged({6: 6})[:17]), "needs a newer fcs-edge"),
        ],
    )
    @pytest.mark.parametrize("step", [None, 1])
    def test_unreadable(self, data, message, step):
        with pytest.raises(BitstreamError, match=message) as caught:
            decode(data, step=step)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("fields", [bytes(8), b"\1\0" + bytes(6), b"\1\0\1\0\0\0\0\0"])
    def test_impossible_field_behind_a_good_crc(self, fields):
        data = with_crc(damaged({6: 1})[:17] + fields)
        with pytest.raises(BitstreamError, match=r"header is not valid: .* not 0$"):
            decode(data)

    def test_reader_stays_unusable(self):
        reader = BitstreamReader()
        with pytest.raises(BitstreamError, match="never released"):
            reader.feed(damaged({4: 3}))
        with pytest.raises(BitstreamError, match="cannot go on"):
            reader.feed(DATA)
        with pytest.raises(BitstreamError, match="cannot go on"):
            reader.close()
        assert reader.header is None


class TestBytes:
    @pytest.mark.parametrize("bits", ALL_BITS)
    @pytest.mark.parametrize("coded", [False, True])
    def test_of_all_bits(self, bits, coded):
        for count in COUNTS:
            tokens = (speech_like if coded else random_tokens)(count, bits, count)
            for size in (20, 50, 100, 200):
                data = encode(tokens, header_of(bits), block_tokens=size, raw=not coded)
                expected = naive_file(tokens, header_of(bits), block_tokens=size, coded=coded)
                assert data == b"".join(expected)

    @pytest.mark.parametrize("bits", [1, 4, 11, 16])
    @pytest.mark.parametrize("chunk", [1, 4, 9, 255])
    def test_streamed(self, bits, chunk):
        """Blocks of an eighth of the tokens so far, at least 24 and at most 200; then filler."""
        for count in (0, 1, 24, 317, 2000):
            tokens = random_tokens(count, bits, count)
            filled = np.concatenate((tokens, np.zeros(600, np.uint16)))
            expected, at, since = naive_header(header_of(bits)), 0, 0
            while at < count:
                n = min(max(at // 8 // chunk, -(-24 // chunk)), max(200 // chunk, 1)) * chunk
                if at - since >= 500:
                    expected += naive_header(header_of(bits), repeated=True)
                    since = at
                expected += naive_streamed(filled[at : at + n], bits, at, chunk)
                at += n
            data = encode(tokens, header_of(bits), eager=True, chunk_tokens=chunk)
            assert data == expected + naive_end(count * SPT)
            assert at - count < max(24, count / 8) + chunk

    def test_raw_where_coding_gains_nothing(self):
        tokens = np.concatenate((random_tokens(100, 16), speech_like(100, 16)))
        data = encode(tokens, header_of(16))
        assert data[19] == 0xA0
        assert data[19 + 205] == 0xA1
        assert tokens_in(decode(data)).tolist() == tokens.tolist()

    @pytest.mark.parametrize("count", [17, 50, 100, 200])
    def test_positions_start_over(self, count):
        """Places count to 65535 and positions to 2 ** 24 - 1."""
        tokens = random_tokens(count, 11)
        modulus = 1 << 24 if count == 17 else count << 16
        for position in (0, count, modulus - count, modulus, 5 * modulus + count):
            found = block_record(tokens, position, 11, None)
            assert found == naive_block(tokens, 11, position)
            assert found == block_record(tokens, position % modulus, 11, None)

    @pytest.mark.parametrize("n_bytes", [10, 20, 51, 222, 263])
    @pytest.mark.parametrize("bits", [1, 11, 16])
    def test_blocks_of_bytes(self, n_bytes, bits):
        """As many tokens as fit, in whole chunks, in any order."""
        tokens = speech_like(700, bits)
        found = []
        data = encode(tokens, header_of(bits), block_bytes=n_bytes)
        decode(data, records=lambda _, record: found.append(record))
        blocks = found[1:-1]
        assert max(map(len, blocks)) <= n_bytes
        assert all(block[0] in (0xAC, 0xAD) for block in blocks)
        assert tokens_in(decode(data)).tolist() == tokens.tolist()
        coder = neutral_coder(bits)
        for block in blocks[:-1]:
            at, n = int.from_bytes(block[1:4], "little"), block[4]
            more = tokens[at : at + n + 4]
            assert n % 4 == 0 or n < 4
            if n + 4 <= 252 and n >= 4:
                assert min(len(coder.encode(more)), -(-more.size * bits // 8)) + 8 > n_bytes

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("bits", [1, 3, 11, 16])
    def test_pieces_do_not_matter(self, form, bits):
        rng = np.random.default_rng(bits)
        tokens = speech_like(337, bits)
        pauses = np.zeros(337, bool)
        pauses[40:90] = True
        tokens[pauses] = tokens[40]
        whole = encode(tokens, header_of(bits), pauses=pauses, **form)
        for _ in range(6):
            cuts = np.sort(rng.integers(0, 338, rng.integers(1, 30)))
            pieces = np.diff([0, *cuts, 337]).tolist()
            again = encode(tokens, header_of(bits), pieces=pieces, pauses=pauses, **form)
            assert again == whole

    def test_copies_of_the_header(self):
        """One for each 64 s; none in a minute."""
        copy = naive_header(HEADER, repeated=True)
        tokens = speech_like(10_000, 11)
        assert copy not in encode(tokens[:3000], HEADER)
        assert encode(tokens, HEADER).count(copy) == 3
        assert encode(tokens[:3000], HEADER, eager=True).count(copy) >= 4


class TestPauses:
    @pytest.mark.parametrize("bits", [1, 8, 9, 16])
    @pytest.mark.parametrize("block_tokens", [20, 50, 100, 200])
    @pytest.mark.parametrize("raw", [False, True])
    def test_round_trip(self, bits, block_tokens, raw):
        rng = np.random.default_rng(bits)
        for share in (0.1, 0.5, 0.9, 1):
            tokens = random_tokens(730, bits, bits)
            pauses = np.repeat(rng.random(73) < share, 10)
            tokens[pauses] = 1
            plain = encode(tokens, header_of(bits), block_tokens=block_tokens, raw=raw)
            data = encode(
                tokens, header_of(bits), pauses=pauses, block_tokens=block_tokens, raw=raw
            )
            assert len(data) <= len(plain)
            events = decode(data, step=11)
            assert tokens_in(events).tolist() == tokens.tolist()
            assert not damage_in(events)

    def test_bytes(self):
        """A list of pauses, then the tokens between; of a block that is all pause the list."""
        header = header_of(11)
        tokens = random_tokens(200, 11)
        pauses = np.zeros(200, bool)
        pauses[[*range(10, 40), *range(70, 200)]] = True
        tokens[pauses] = 0x123
        data = encode(tokens, header, pauses=pauses, raw=True)
        first = bytes([2, 0x23, 0x01, 10, 30, 30, 30])
        rest = np.concatenate((tokens[:10], tokens[40:70]))
        payload = first + encode(rest, header, raw=True, block_tokens=40)[19 + 6 : -8 - 2]
        blocks = [
            with_crc(b"\xb0\0\0" + bytes([len(payload)]) + payload),
            with_crc(b"\xb0\1\0\3\0\x23\x01"),
        ]
        assert data == b"".join([naive_header(header), *blocks, naive_end(200 * SPT)])

    def test_pauses_of_other_tokens(self):
        """They are tokens like others."""
        tokens = np.repeat([5, 6, 5, 7, 5], 20).astype(np.uint16)
        pauses = np.ones(100, bool)
        data = encode(tokens, HEADER, pauses=pauses, raw=True)
        assert data[19:24] == bytes([0xB0, 0, 0, 3 + 6 + 55, 3])
        assert tokens_in(decode(data)).tolist() == tokens.tolist()

    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            b"\0",
            b"\0\1",
            bytes([0, 1, 0, 0]),
            bytes([16, 1, 0]) + bytes([1, 1]) * 16,
            bytes([1, 0, 8, 0, 50]),
            bytes([1, 1, 0, 0, 0]),
            bytes([1, 1, 0, 0, 51]),
            bytes([1, 1, 0, 200, 10]),
            bytes([1, 1, 0, 0, 49, 0, 0, 0]),
            bytes([2, 1, 0, 0, 49]),
        ],
    )
    def test_lists_that_are_not_valid(self, payload):
        """Behind a good CRC too: such a block is none."""
        block = with_crc(bytes([0xB4, 6, 0, len(payload)]) + payload)
        data = DATA[: OFFSETS[7]] + block + naive_end(317 * SPT)
        assert timeline(decode(data)).tolist() == [*TOKENS[:300], *[-1] * 17]
        good = with_crc(bytes([0xB4, 6, 0, 5, 1, 1, 0, 0, 50]))
        found = decode(DATA[: OFFSETS[7]] + good + naive_end(350 * SPT))
        assert timeline(found).tolist() == [*TOKENS[:300], *[1] * 50]


class TestWriter:
    @pytest.mark.parametrize("form", FORMS)
    def test_bad_tokens_change_nothing(self, form):
        file = io.BytesIO()
        writer = BitstreamWriter(file, HEADER, **form)
        writer.write(TOKENS[:15])
        before = file.getvalue()
        with pytest.raises(ValueError, match="does not fit 11 bits"):
            writer.write(np.array([1] * 30 + [2048], np.uint16))
        for pauses in (np.ones(3, bool), np.ones(2), [True, 1]):
            with pytest.raises(ValueError, match="one bool for each token"):
                writer.write(TOKENS[:2], np.asarray(pauses))
        assert file.getvalue() == before
        assert writer.n_tokens == 15
        writer.write(TOKENS[15:].astype(np.int64))
        writer.close(317 * SPT)
        assert np.array_equal(tokens_in(decode(file.getvalue()))[:317], TOKENS)

    @pytest.mark.parametrize(
        ("name", "values"),
        [("block_tokens", (0, 256)), ("chunk_tokens", (0, 256)), ("block_bytes", (9, 264))],
    )
    def test_arguments(self, name, values):
        for value in values:
            with pytest.raises(ValueError, match=name):
                BitstreamWriter(io.BytesIO(), HEADER, **{name: value})

    def test_a_coder_of_another_prior(self):
        coder = neutral_coder(12)
        with pytest.raises(ValueError, match="coder"):
            BitstreamWriter(io.BytesIO(), HEADER, coder=coder)

    def test_close(self):
        file = io.BytesIO()
        writer = BitstreamWriter(file, HEADER, raw=True)
        writer.write(TOKENS[:3])
        for bad in (-1, 3 * SPT + 1, 1 << 48):
            with pytest.raises(ValueError, match=r"n_samples must be 0\.\.960"):
                writer.close(bad)
        assert len(file.getvalue()) == 19
        writer.close(3 * SPT)
        assert file.getvalue() == b"".join(naive_file(TOKENS[:3], HEADER))
        assert not file.closed
        with pytest.raises(ValueError, match="closed"):
            writer.close(0)
        with pytest.raises(ValueError, match="closed"):
            writer.write(TOKENS[:1])

    def test_samples_of_a_model_that_is_not_causal(self):
        """The count may exceed what the tokens represent by less than two tokens."""
        header = header_of(11, settings=NON_CAUSAL)
        most = 100 * SPT + 2 * SPT - 1
        data = encode(TOKENS[:100], header, n_samples=most)
        assert decode(data)[-1] == End(most)
        assert not damage_in(decode(data))
        with pytest.raises(ValueError, match=f"0..{most}"):
            encode(TOKENS[:100], header, n_samples=most + 1)
        data = data[:-8] + naive_end(most + 1)
        assert [event.n_tokens for event in damage_in(decode(data))] == [2]

    def test_one_write_and_flush_per_block(self):
        calls = []

        class Spy(io.BytesIO):
            def write(self, data):
                calls.append(len(data))
                return super().write(data)

            def flush(self):
                calls.append("flush")

        writer = BitstreamWriter(Spy(), HEADER, block_tokens=50, raw=True)
        assert calls == [19, "flush"]
        writer.write(TOKENS[:49])
        assert calls == [19, "flush"]
        writer.write(TOKENS[49:125])
        assert calls[2:] == [74, "flush", 74, "flush"]
        writer.close(125 * SPT)
        assert calls[6:] == [43, "flush", 8, "flush"]

    @pytest.mark.parametrize("eager", [False, True])
    @pytest.mark.parametrize("count", [0, 3, 7, 25, 57])
    def test_last_tokens_come_with_the_end(self, eager, count):
        """Those of a chunk half full: who plays them before the end plays too many."""
        file = Recorded()
        writes = file.writes
        tokens = random_tokens(3 + count, 11)
        writer = BitstreamWriter(file, HEADER, eager=eager, raw=True)
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

    @pytest.mark.parametrize("form", FORMS)
    def test_memory_is_constant(self, form):
        class Null(io.RawIOBase):
            def write(self, data):
                return len(data)

        tokens = speech_like(6_000, 16)
        writer = BitstreamWriter(Null(), header_of(16), **form)
        writer.write(tokens[:200])
        tracemalloc.start()
        try:
            for _ in range(3):
                writer.write(tokens)
            assert tracemalloc.get_traced_memory()[1] < 60_000
        finally:
            tracemalloc.stop()


class TestMetadata:
    def test_bytes(self):
        tags = {"title": "Größe", "x-1_y": "", "note": "a=b\nc"}
        data = encode(TOKENS[:0], HEADER, tags=tags)
        body = "title=Größe\0x-1_y=\0note=a=b\nc".encode()
        assert data[19:-8] == naive_general(0xC1, body)
        assert decode(data)[1].tags == tags

    def test_long_ones_take_several_records(self):
        tags = {f"k{n}": "y" * 3000 for n in range(4)}
        found = [e.tags for e in decode(encode(TOKENS, HEADER, tags=tags)) if hasattr(e, "tags")]
        assert len(found) == 4
        assert {k: v for part in found for k, v in part.items()} == tags

    @pytest.mark.parametrize(
        ("key", "value"),
        [("", "x"), ("Title", "x"), ("a b", "x"), ("a" * 33, "x"), ("a", "\0"), ("a", "x" * 4095)],
    )
    def test_refused(self, key, value):
        with pytest.raises(ValueError, match=r"a key has|value of a|a takes"):
            encode(TOKENS, HEADER, tags={key: value})

    def test_foreign_ones(self):
        """What is no entry is left out; bytes that are no text are replaced."""
        body = b"a=1\0\0=2\0B=3\0c\0d=\xff\0a=4"
        data = naive_header(HEADER) + naive_general(0xC1, body) + b"".join(RECORDS[1:])
        assert decode(data)[1].tags == {"a": "4", "d": "\ufffd"}
        data = naive_header(HEADER) + naive_general(0xC1, b"") + b"".join(RECORDS[1:])
        assert isinstance(decode(data)[1], Tokens)


def test_largest_sample_count():
    most = (1 << 40) - 1
    events = decode(DATA[:END] + naive_end(most))
    assert events[-1] == End(most)
