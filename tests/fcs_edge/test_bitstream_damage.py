"""Damaged streams: what is read, what is reported, and the same by strict reading."""

from __future__ import annotations

import random

import numpy as np
import pytest

from bitstream_cases import (
    DATA,
    END,
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
    naive_block,
    naive_end,
    naive_file,
    naive_general,
    naive_header,
    naive_streamed,
    offsets_of,
    random_tokens,
    read,
    speech_like,
    timeline,
    tokens_in,
    with_crc,
)
from fcs_edge.bitstream import Damage, End, HeaderRead, Tokens
from fcs_edge.errors import BitstreamError
from helpers import merged


@pytest.fixture(params=[False, True], ids=["verified", "eager"])
def eager(request):
    return request.param


def checked(data, eager=False, **options):
    """Read whole and byte by byte; return the events."""
    reader, events = read(data, eager=eager, **options)
    assert merged(decode(data, step=1, eager=eager, **options)) == merged(events)
    assert reader.damaged == len(damage_in(events))
    assert reader.n_tokens == len(timeline(events))
    return events


def losses(events):
    return [event.n_tokens for event in damage_in(events)]


FILES = {
    (seconds, form): (tokens, encode(tokens, header_of(16), **options))
    for seconds in (1, 6, 60)
    for form, options, make in (
        ("coded", {}, speech_like),
        ("raw", {"raw": True}, random_tokens),
        ("streamed", {"eager": True}, random_tokens),
    )
    for tokens in [make(50 * seconds - 3, 16, seconds)]
}
"""Tokens and bytes of files of 16-bit tokens, 50 a second, in blocks of 2 s."""

BLOCK = 200
"""The most tokens that one block has: those of a long streamed one."""


@pytest.mark.parametrize(("seconds", "form"), FILES)
class TestOneBlockAtMost:
    """One fault costs at most one block, and what follows keeps its place; it never goes unseen."""

    @staticmethod
    def check(data, tokens, form, *, end_hit=False):
        events = decode(data, join=header_of(16))
        assert damage_in(events)
        found = timeline(events)[: tokens.size]
        assert found.size == tokens.size or end_hit
        lost = tokens.size - np.count_nonzero(found == tokens[: found.size])
        assert lost <= (BLOCK if form == "streamed" else 100)
        assert isinstance(events[-1], End) or end_hit

    def test_a_flipped_bit(self, seconds, form):
        tokens, data = FILES[seconds, form]
        n_bits = 8 * len(data)
        bits = range(n_bits) if seconds == 1 else random.Random(1).sample(range(n_bits), 400)
        for bit in {*bits, *range(19 * 8), *range(n_bits - 64, n_bits)}:
            out = damaged({bit // 8: 1 << bit % 8}, data)
            self.check(out, tokens, form, end_hit=bit >= n_bits - 64)

    def test_a_cut(self, seconds, form):
        """The tokens of whole blocks are there, nothing wrong is, and no silence is added."""
        tokens, data = FILES[seconds, form]
        rng = random.Random(2)
        for size in range(len(data)) if seconds == 1 else rng.sample(range(len(data)), 150):
            if size < 31:
                with pytest.raises(BitstreamError, match="cut" if size else "empty"):
                    decode(data[: min(size, 18)])
                continue
            events = decode(data[:size])
            found = timeline(events)
            assert np.array_equal(found[: tokens.size], tokens[: found.size])
            assert losses(events) == [0]
            assert "cut" in events[-1].message or NO_END in events[-1].message
            there = sum(len(e.tokens) for e in decode(data) if isinstance(e, Tokens))
            whole = size / len(data) * there
            assert found.size >= whole - 1.6 * (BLOCK if form == "streamed" else 100)

    def test_a_removed_block(self, seconds, form):
        tokens, data = FILES[seconds, form]
        found = []
        decode(data, records=lambda offset, record: found.append((offset, len(record))))
        blocks = [span for span in found if 0xA0 <= data[span[0]] < 0xC0]
        assert len(blocks) >= seconds // 4
        for offset, size in blocks:
            self.check(data[:offset] + data[offset + size :], tokens, form)

    def test_a_removed_header(self, seconds, form):
        tokens, data = FILES[seconds, form]
        events = decode(data[19:], join=header_of(16))
        assert np.array_equal(timeline(events)[: tokens.size], tokens)
        assert losses(events) == [0]
        assert "the header is missing; reading starts at byte 0, 0.00 s" in events[1].message


class TestBlocks:
    """Six raw blocks of 50 tokens and one of 17; every test also feeds the bytes one by one."""

    @pytest.mark.parametrize("block", range(1, 8))
    def test_every_byte(self, block, eager):
        """One damage, silence of the block's exact length, all else in its place."""
        first, count = (block - 1) * 50, 50 if block < 7 else 17
        for offset in range(OFFSETS[block], OFFSETS[block + 1], 3):
            events = checked(damaged({offset: 0x10}), eager)
            found = timeline(events)
            same = np.ones(317, bool)
            same[first : first + count] = False
            assert len(found) == 317
            assert np.array_equal(found[same], TOKENS[same])
            assert (found[~same] == -1).all()
            assert losses(events) == [count]
            size = OFFSETS[block + 1] - OFFSETS[block]
            text = f"{size} bytes damaged, replaced by {count} tokens of silence"
            assert events[block].message == f"byte {OFFSETS[block]}: {text}"
            assert events[-1] == End(317 * SPT)

    def test_adjacent_blocks(self, eager):
        events = checked(damaged({OFFSETS[2] + 9: 1, OFFSETS[3] + 9: 1}), eager)
        assert losses(events) == [100]
        assert np.array_equal(timeline(events)[150:], TOKENS[150:])

    def test_all_blocks(self, eager):
        events = checked(damaged(dict.fromkeys(OFFSETS[1:8], 1)), eager)
        assert timeline(events).tolist() == [-1] * 317
        assert len(damage_in(events)) == 1

    @pytest.mark.parametrize("missing", [1, 2, 3])
    def test_blocks_cut_out(self, missing, eager):
        """Silence of the right length."""
        data = DATA[: OFFSETS[2]] + DATA[OFFSETS[2 + missing] :]
        events = checked(data, eager)
        expected = TOKENS.astype(int)
        expected[50 : 50 + 50 * missing] = -1
        assert np.array_equal(timeline(events), expected)
        n = 50 * missing
        assert f"byte {OFFSETS[2]}: {n} tokens missing, replaced by {n}" in events[2].message

    def test_last_blocks_cut_out(self, eager):
        events = checked(DATA[: OFFSETS[4]] + RECORDS[-1], eager)
        assert timeline(events).tolist() == [*TOKENS[:150].tolist(), *[-1] * 167]
        assert events[-1] == End(317 * SPT)

    def test_the_last_token_cut_out(self, eager):
        """A causal model's count of samples says it."""
        events = checked(b"".join([RECORDS[0], RECORDS[1], naive_end(50 * SPT + 1)]), eager)
        assert losses(events) == [1]

    def test_repeated_and_swapped(self, eager):
        """No token twice, none before its place."""
        repeated = DATA[: OFFSETS[3]] + RECORDS[2] + DATA[OFFSETS[3] :]
        events = checked(repeated, eager)
        assert np.array_equal(timeline(events), TOKENS)
        assert "a block of 1.00 s is repeated or out of order" in damage_in(events)[0].message
        order = [0, 1, 3, 2, *range(4, 9)]
        events = checked(b"".join(RECORDS[i] for i in order), eager)
        found = timeline(events)
        assert found.tolist() == [*TOKENS[:50].tolist(), *[-1] * 50, *TOKENS[100:].tolist()]
        assert len(damage_in(events)) == 2

    @pytest.mark.parametrize("size", [1, 5, 21, 74, 100])
    @pytest.mark.parametrize("fill", [0x00, 0xA4, 0xE5, 0xC1])
    def test_garbage_between_blocks(self, size, fill, eager):
        data = DATA[: OFFSETS[3]] + bytes([fill]) * size + DATA[OFFSETS[3] :]
        events = checked(data, eager)
        assert np.array_equal(tokens_in(events), TOKENS)
        assert losses(events) == [0]
        assert f"byte {OFFSETS[3]}: {size} byte" in damage_in(events)[0].message
        assert "skipped" in damage_in(events)[0].message

    def test_garbage_in_place_of_a_block(self, eager):
        data = DATA[: OFFSETS[3]] + b"x" * 200 + DATA[OFFSETS[4] :]
        assert losses(checked(data, eager)) == [50]

    def test_bytes_lost_inside_a_block(self, eager):
        events = checked(DATA[: OFFSETS[3] + 8] + DATA[OFFSETS[3] + 13 :], eager)
        assert losses(events) == [50]
        assert np.array_equal(timeline(events)[150:], TOKENS[150:])

    def test_every_byte_of_the_end_record(self, eager):
        for offset in range(END, len(DATA)):
            events = checked(damaged({offset: 0x20}), eager)
            assert np.array_equal(tokens_in(events), TOKENS)
            assert losses(events) == [0]
            assert "the stream is cut" in events[-1].message

    @pytest.mark.parametrize("tail", [b"x", b"\xa4" * 50, bytes(100)])
    def test_bytes_after_the_end(self, tail, eager):
        events = checked(DATA + tail, eager)
        assert np.array_equal(timeline(events), TOKENS)
        assert events[-2] == End(317 * SPT)
        assert f"byte {len(DATA)}: {len(tail)} byte" in events[-1].message

    def test_partly_used_last_token(self, eager):
        """Silence for a lost last block is as long as the sample count says."""
        data = b"".join(naive_file(TOKENS, HEADER, n_samples=310 * SPT - 1, block_tokens=50))
        events = checked(damaged({OFFSETS[7] + 1: 1}, data), eager)
        assert len(timeline(events)) == 310

    def test_positions_start_over(self, eager):
        """Behind place 65535 comes place 0."""
        header = header_of(2)
        blocks = [naive_block(random_tokens(50, 2, n), 2, n * 50) for n in range(65534, 65539)]
        events = checked(b"".join(blocks), eager, join=header)
        assert timeline(events).size == 250
        events = checked(b"".join([blocks[0], blocks[1], *blocks[3:]]), eager, join=header)
        assert losses(events) == [0, 50, 0]


class TestPlausible:
    """A CRC of 16 bits holds by chance now and then: that must not cost the stream."""

    FAR = naive_block(random_tokens(50, 11, 9), 11, 50 * 1000)

    def test_a_far_block_that_nothing_confirms(self, eager):
        for place in (OFFSETS[3], OFFSETS[3] + 20):
            data = DATA[:place] + self.FAR + DATA[place + len(self.FAR) :]
            found = timeline(checked(data, eager))
            assert len(found) == 317
            assert np.array_equal(found[250:], TOKENS[250:])

    def test_a_far_block_that_the_next_confirms(self, eager):
        """After a long loss the stream goes on, and the hour of silence is the most."""
        position = 50 * 5000
        data = b"".join(RECORDS[:2])
        blocks = [naive_block(TOKENS[:50], 11, position + 50 * n) for n in range(2)]
        events = checked(data + b"".join(blocks) + naive_end((position + 100) * SPT), eager)
        affordable = 180_000 + len(data) * 8 // 11
        assert losses(events) == [affordable]
        assert f"{position - 50 - affordable} tokens more are missing" in events[2].message
        assert tokens_in(events).size == 150
        assert isinstance(events[-1], End)

    def test_an_end_record_that_is_not_plausible(self, eager):
        for samples in (0, 1 << 39):
            data = DATA[: OFFSETS[6]] + naive_end(samples) + DATA[OFFSETS[6] :]
            events = checked(data, eager)
            assert np.array_equal(tokens_in(events), TOKENS)

    def test_promises_cost_nothing(self, eager):
        """A few bytes that claim a year of speech make an hour of silence at most."""
        data = naive_header(header_of(1)) + naive_end((1 << 40) - 1)
        events = checked(data, eager)
        assert 0 < timeline(events).size <= 180_000 + 8 * len(data)
        assert events[-1] == End((1 << 40) - 1)

    def test_silence_is_limited_in_all(self, eager):
        blocks = [naive_block(TOKENS[:50], 11, 50 * 55 * n) for n in range(100)]
        events = checked(naive_header(HEADER) + b"".join(blocks), eager)
        assert sum(losses(events)) <= 180_000 + len(b"".join(blocks)) * 8 // 11
        assert tokens_in(events).size == 5000


class TestStreamed:
    TOKENS = random_tokens(72, 11)
    BLOCKS = tuple(naive_streamed(TOKENS[n : n + 24], 11, n, 4) for n in (0, 24, 48))
    DATA = b"".join([naive_header(HEADER), *BLOCKS, naive_end(72 * SPT)])
    AT = offsets_of([naive_header(HEADER), *BLOCKS])

    def test_tokens_that_were_played(self):
        """The silence does not come on top of what was played."""
        data = damaged({self.AT[2] + 8: 0x40}, self.DATA)
        events = checked(data, True)
        assert losses(events) == [0]
        assert "its 24 tokens were already played" in damage_in(events)[0].message
        found = timeline(events)
        assert np.flatnonzero(found != self.TOKENS).size == 1

    def test_a_cut_block(self):
        for size in range(self.AT[2], self.AT[3]):
            played = tokens_in(checked(self.DATA[:size], True))
            chunks = max(0, size - self.AT[2] - 6) // 6
            assert played.tolist() == self.TOKENS[: 24 + min(24, 4 * chunks)].tolist()

    def test_overlapping_blocks_are_not_played_again_and_again(self):
        """Behind each real block, a false head claims the 255 tokens that follow."""
        pieces = []
        for n in range(800):
            pieces.append(naive_block([7 * n], 16, n))
            pieces.append(bytes([0xAF]) + (n + 1).to_bytes(3, "little") + bytes([255, 1]))
        data = naive_header(header_of(16)) + b"".join(pieces)
        events = decode(data, eager=True)
        assert len(timeline(events)) * 16 <= 2 * len(data) * 8
        real = [e.tokens[0] for e in events if isinstance(e, Tokens) and len(e.tokens) == 1]
        assert set(range(0, 5600, 7)) <= set(real)


class TestParts:
    def test_chained_files(self, eager):
        other = header_of(7)
        more = random_tokens(120, 7)
        events = checked(DATA + encode(more, other) + DATA, eager)
        assert not damage_in(events)
        heads = [e.header for e in events if isinstance(e, HeaderRead)]
        assert heads == [HEADER, other, HEADER]
        ends = [e.n_samples for e in events if isinstance(e, End)]
        assert ends == [317 * SPT, 120 * SPT, 317 * SPT]
        assert tokens_in(events).tolist() == [*TOKENS, *more, *TOKENS]

    @pytest.mark.parametrize("bytes_hit", [1, 2, 10])
    def test_a_damaged_header_of_a_later_part(self, bytes_hit, eager):
        """One bit is corrected; else the header of the part before is taken."""
        changes = {len(DATA) + 5 + n: 0x40 for n in range(bytes_hit)}
        events = checked(damaged(changes, DATA + DATA), eager)
        assert losses(events) == [0]
        assert [e.header for e in events if isinstance(e, HeaderRead)] == [HEADER] * 2
        assert tokens_in(events).tolist() == [*TOKENS, *TOKENS]

    def test_an_end_record_twice(self, eager):
        events = checked(DATA + RECORDS[-1] + DATA, eager)
        assert losses(events) == [0]
        assert tokens_in(events).tolist() == [*TOKENS, *TOKENS]
        events = checked(DATA + RECORDS[-1], eager)
        assert "8 bytes after the end record" in events[-1].message

    def test_a_burst_over_an_end_and_a_header(self, eager):
        data = DATA[:END] + b"?" * 27 + DATA[19:]
        events = checked(data, eager)
        assert tokens_in(events).tolist() == [*TOKENS, *TOKENS]
        assert sum(isinstance(e, HeaderRead) for e in events) == 2

    def test_a_part_without_an_end(self, eager):
        events = checked(DATA[:END] + DATA, eager)
        assert tokens_in(events).tolist() == [*TOKENS, *TOKENS]
        assert "the part before has no end record" in damage_in(events)[0].message

    def test_a_copy_of_the_header(self, eager):
        copy = naive_header(HEADER, repeated=True)
        for at in OFFSETS[1:8]:
            events = checked(DATA[:at] + copy + DATA[at:], eager)
            assert not damage_in(events)
            assert np.array_equal(tokens_in(events), TOKENS)
        # Behind a damaged block it does not end the search.
        data = damaged({OFFSETS[2] + 5: 1}, DATA[: OFFSETS[3]]) + copy + DATA[OFFSETS[3] :]
        assert losses(checked(data, eager)) == [50]

    def test_a_copy_of_another_header(self, eager):
        """The stream was joined with the wrong one, or something is missing between."""
        copy = naive_header(header_of(11, settings=5), repeated=True)
        events = checked(DATA[: OFFSETS[3]] + copy + DATA[OFFSETS[3] :], eager)
        assert [e.header.settings for e in events if isinstance(e, HeaderRead)] == [0, 5]
        assert np.array_equal(tokens_in(events), TOKENS)
        assert events[-1] == End(217 * SPT)


class TestOtherRecords:
    def test_a_record_that_may_be_skipped(self, eager):
        for at in OFFSETS[1:9]:
            data = DATA[:at] + naive_general(0xC3, b"later" * 9) + DATA[at:]
            events = checked(data, eager)
            assert not damage_in(events)
            assert np.array_equal(tokens_in(events), TOKENS)

    @pytest.mark.parametrize("record", [naive_general(0xC2, b"x"), None])
    def test_what_only_a_later_version_reads(self, record, eager):
        """What came before stays."""
        if record is None:
            record = with_crc(b"FCS\x1a\x02\x8a\x01\0\0" + bytes(8))
        events = checked(DATA[: OFFSETS[3]] + record + DATA[OFFSETS[3] :], eager)
        assert tokens_in(events).tolist() == TOKENS[:100].tolist()
        assert "needs a newer fcs-edge" in events[-1].message
        assert isinstance(events[-1], Damage)

    def test_a_damaged_one(self, eager):
        record = bytearray(naive_general(0xC2, b"x" * 300))
        record[9] ^= 1
        events = checked(DATA[: OFFSETS[3]] + bytes(record) + DATA[OFFSETS[3] :], eager)
        assert np.array_equal(tokens_in(events), TOKENS)
        assert losses(events) == [0]

    def test_a_body_that_is_too_long(self, eager):
        data = DATA[: OFFSETS[3]] + naive_general(0xC3, bytes(4097)) + DATA[OFFSETS[3] :]
        events = checked(data, eager)
        assert losses(events) == [0]


class TestStrict:
    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (damaged({OFFSETS[2] + 6: 1}), f"byte {OFFSETS[2]}:"),
            (damaged({6: 1}), "one bit of the header"),
            (DATA[:-1], f"byte {len(DATA) - 1}: the stream is cut"),
            (DATA[:-8], NO_END),
            (DATA + b"x", "1 byte after the end record"),
            (DATA[: OFFSETS[2]] + DATA[OFFSETS[3] :], "50 tokens missing"),
            (DATA[: OFFSETS[3]] + b"x" + DATA[OFFSETS[3] :], "1 byte skipped"),
        ],
    )
    @pytest.mark.parametrize("step", [None, 1])
    def test_raises(self, data, message, step, eager):
        lenient = damage_in(decode(data, eager=eager))
        with pytest.raises(BitstreamError, match=message) as caught:
            decode(data, step=step, eager=eager, strict=True)
        assert str(caught.value) == lenient[0].message

    def test_undamaged(self, eager):
        assert np.array_equal(tokens_in(decode(DATA, eager=eager, strict=True)), TOKENS)
