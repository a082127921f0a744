"""Damaged streams: what is read, what is reported, and the same by strict reading."""

from __future__ import annotations

import io
import struct

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
    header_of,
    naive_block,
    naive_end,
    naive_file,
    random_tokens,
    timeline,
    tokens_in,
    with_crc,
)
from fcs_edge.bitstream.reader import (
    BitstreamReader,
    Damage,
    End,
    Tokens,
    read_events,
)
from fcs_edge.errors import BitstreamError
from helpers import merged


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
