"""Reading as bytes arrive, reading files, and the document of the format."""

from __future__ import annotations

import io
import os
import re
import zlib

import numpy as np
import pytest

from bitstream_cases import (
    ALL_BITS,
    DATA,
    DOC,
    HEADER,
    NO_END,
    OFFSETS,
    SPT,
    TOKENS,
    damage_in,
    damaged,
    decode,
    encode,
    header_of,
    naive_file,
    random_tokens,
    tokens_in,
)
from fcs_edge.bitstream.bitpack import pack_tokens
from fcs_edge.bitstream.reader import (
    BitstreamReader,
    End,
    HeaderRead,
    read_events,
)
from fcs_edge.bitstream.writer import BitstreamWriter, Header
from helpers import merged


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
