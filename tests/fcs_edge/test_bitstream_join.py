"""Streams without their header, or with a damaged one, and raw blocks played as they are."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from bitstream_cases import (
    DATA,
    END,
    HEADER,
    OFFSETS,
    SPT,
    TOKENS,
    damage_in,
    damaged,
    decode,
    encode,
    header_of,
    naive_end,
    naive_file,
    naive_header,
    random_tokens,
    read,
    speech_like,
    timeline,
    tokens_in,
)
from fcs_edge.bitstream import End, HeaderRead
from fcs_edge.bitstream.crc import with_crc
from fcs_edge.errors import BitstreamError
from helpers import merged

EAGER = pytest.mark.parametrize("eager", [False, True])


def checked(data, **options):
    """Read whole and in pieces; return reader and events."""
    reader, events = read(data, **options)
    for step in (1, 5, 63):
        assert merged(decode(data, step=step, **options)) == merged(events), step
    return reader, events


@EAGER
class TestWithoutAHeader:
    def test_from_each_byte(self, eager):
        """Reading starts at the next whole block, without silence, and the end is right."""
        for start in range(1, OFFSETS[4], 5):
            reader, events = checked(DATA[start:], join=HEADER, eager=eager)
            block = next(n for n in range(1, 9) if OFFSETS[n] >= start)
            first = 50 * (block - 1)
            assert reader.joined
            assert tokens_in(events).tolist() == TOKENS[first:].tolist()
            if start > 3:  # else the header is near enough to be a damaged one
                assert events[0] == HeaderRead(HEADER)
            assert [event.n_tokens for event in damage_in(events)] == [0]
            assert f"{first / 50:.2f} s after the start" in events[1].message
            assert events[-1] == End((317 - first) * SPT)

    def test_a_copy_of_the_header_says_more(self, eager):
        """A wrong model holds until the copy; without a guess, reading starts there."""
        right = replace(header_of(11, settings=9), fingerprint=b"another!")
        copy = naive_header(right, copy=True)
        data = DATA[OFFSETS[2] + 3 : OFFSETS[5]] + copy + DATA[OFFSETS[5] :]
        _, events = checked(data, join=HEADER, eager=eager)
        assert [e.header for e in events if isinstance(e, HeaderRead)] == [HEADER, right]
        assert tokens_in(events).tolist() == TOKENS[100:].tolist()
        _, events = checked(data, eager=eager)
        assert events[0] == HeaderRead(right)
        assert "the header is missing; its copy follows" in events[1].message
        assert tokens_in(events).tolist() == TOKENS[200:].tolist()
        assert events[-1] == End(117 * SPT)

    def test_other_forms(self, eager):
        for options in ({}, {"block_bytes": 40}, {"eager": True}):
            tokens = speech_like(330, 11)
            data = encode(tokens, HEADER, **options)
            _, events = checked(data[60:], join=HEADER, eager=eager)
            found = tokens_in(events)
            assert 90 <= found.size < 330
            assert tokens.tobytes().endswith(found.tobytes()) or options == {"eager": True}
            assert not any(event.n_tokens for event in damage_in(events))

    def test_without_a_guess(self, eager):
        for data in (DATA[19:], DATA[40:], b"RIFF", b"\0" * 70_000):
            for step in (1000, None):
                with pytest.raises(BitstreamError, match=r"not an \.fcs file"):
                    decode(data, eager=eager, step=step)

    def test_nothing_at_all(self, eager):
        with pytest.raises(BitstreamError, match=r"not an \.fcs file"):
            decode(b"\xa4\x01" * 40_000, join=HEADER, eager=eager, step=7777)

    def test_bytes_without_a_whole_record(self, eager):
        """The same however the bytes are cut: none of it is read, or all of it in the same form."""
        rng = random.Random(0)
        for _ in range(60):
            data = bytes(rng.choices([0xA0, 0xAC, 0xE5, 0, 1, 7], k=rng.randrange(1, 90)))
            data += naive_end(9) * rng.randrange(2)
            try:
                whole = merged(decode(data, join=HEADER, eager=eager))
            except BitstreamError as error:
                whole = str(error)
            for step in (1, 2, 5, 63):
                try:
                    pieces = merged(decode(data, join=HEADER, eager=eager, step=step))
                except BitstreamError as error:
                    pieces = str(error)
                assert pieces == whole

    def test_a_long_stream_in_its_middle(self, eager):
        """The kind of bad-fcs-1-8197: records that overlap, and a search that fails at the end."""
        rng = random.Random(8197)
        for _ in range(6):
            data = encode(speech_like(900, 11), HEADER, eager=rng.random() < 0.5)
            cut = data[rng.randrange(400) : rng.randrange(700, len(data))]
            checked(cut + b"\xaf\0\0\0", join=HEADER, eager=eager)


@EAGER
class TestDamagedHeader:
    def test_one_bit(self, eager):
        """It is corrected: nothing is lost, with any model or none."""
        header = header_of(11, prior=0xABCDEF12, settings=77)
        data = b"".join(naive_file(TOKENS, header, coded=True))
        for bit in range(23 * 8):
            _, events = checked(damaged({bit // 8: 1 << bit % 8}, data[:180]), eager=eager)
            assert events[0] == HeaderRead(header)
            assert "one bit of the header" in events[1].message

    def test_more(self, eager):
        """It counts as damaged, not as missing: what is lost at the start is silence."""
        for changes in ({5: 7}, {9: 3, 10: 3}, {0: 0x0F}):
            _, events = checked(damaged(changes | {OFFSETS[1] + 9: 1}), join=HEADER, eager=eager)
            expected = [*[-1] * 50, *TOKENS[50:].tolist()]
            assert timeline(events).tolist() == expected
            assert events[1].message == "byte 0: the header is damaged"
            _, events = checked(damaged(changes), join=HEADER, eager=eager)
            assert timeline(events).tolist() == TOKENS.tolist()
            assert len(damage_in(events)) == 1

    def test_without_a_guess(self, eager):
        with pytest.raises(BitstreamError, match="header is damaged"):
            decode(damaged({9: 3}), eager=eager)

    def test_version(self, eager):
        """Two wrong bits, one of them the version's: the block behind it says what it is."""
        _, events = checked(damaged({4: 1, 9: 1}), join=HEADER, eager=eager)
        assert np.array_equal(timeline(events), TOKENS)
        for guess in (None, HEADER):
            with pytest.raises(BitstreamError, match="version 1 was never released"):
                decode(damaged({4: 3}), join=guess, eager=eager)
            with pytest.raises(BitstreamError, match=r"version 9 is newer .* update fcs-edge"):
                decode(damaged({4: 11})[: OFFSETS[1]] + bytes(900), join=guess, eager=eager)
        with pytest.raises(BitstreamError, match="version 3 is newer"):
            decode(damaged({4: 1, 9: 1}), eager=eager)
        # A later version whose CRC holds is no damage, though its blocks look like ours.
        later = with_crc(damaged({4: 1})[: OFFSETS[1] - 2]) + DATA[OFFSETS[1] :]
        with pytest.raises(BitstreamError, match="version 3 is newer"):
            decode(later, join=HEADER, eager=eager)


RAW = encode(TOKENS, HEADER, block_tokens=50, raw=True)


class TestSalvage:
    def test_one_bit_costs_one_token(self):
        for bit in range(19 * 8, 8 * END):
            _, events = read(damaged({bit // 8: 1 << bit % 8}, RAW), salvage=True)
            found = timeline(events)
            assert found.size == 317
            tail = bit // 8 in (
                OFFSETS[7] + 4,
                OFFSETS[7] + 5,
            )  # count and length of the last block
            assert np.count_nonzero(found != TOKENS) <= (17 if tail else 1)
            assert len(damage_in(events)) == 1

    @pytest.mark.parametrize(
        ("form", "rate", "share"),
        [
            ({"raw": True}, 1e-4, 0.005),
            ({"raw": True}, 1e-3, 0.02),
            ({"raw": True}, 1e-2, 0.15),
            ({"eager": True}, 1e-4, 0.01),
            ({"eager": True}, 1e-3, 0.02),
            ({"eager": True}, 1e-2, 0.3),
        ],
    )
    def test_random_bits(self, form, rate, share):
        """At each rate of errors, most tokens come through; 11 bits are a token."""
        tokens = random_tokens(500, 11)
        data = encode(tokens, HEADER, **form)
        rng = np.random.default_rng(5)
        wrong = 0
        for _ in range(10):
            flips = np.packbits(rng.random(8 * len(data)) < rate).tobytes()
            out = bytes(a ^ b for a, b in zip(data, flips, strict=True))
            _, events = checked(out, salvage=True, join=HEADER)
            found = timeline(events)[:500]
            wrong += 500 - np.count_nonzero(found == tokens[: found.size])
        assert wrong <= 10 * 500 * share

    def test_copies_of_the_header(self):
        """A damaged one is passed over."""
        tokens = random_tokens(1200, 11)
        data = encode(tokens, HEADER, eager=True)
        copy = naive_header(HEADER, copy=True)
        hits = {data.index(copy) + n: 4 for n in (0, 7, 9)}
        block = data.index(copy) + len(copy)
        _, events = checked(damaged(hits | {block + 9: 8, block - 30: 1}, data), salvage=True)
        assert np.count_nonzero(timeline(events)[:1200] != tokens) == 2
        assert "a copy of the header is damaged" in damage_in(events)[1].message

    def test_a_cut_block(self):
        """All whole tokens that are there."""
        for size in range(OFFSETS[2] + 12, OFFSETS[3]):
            _, events = checked(RAW[:size], salvage=True)
            assert (
                tokens_in(events).tolist()
                == TOKENS[: 50 + min(50, (size - OFFSETS[2] - 3) * 8 // 11)].tolist()
            )

    def test_coded_blocks_are_not_played(self):
        tokens = speech_like(300, 11)
        data = encode(tokens, HEADER)
        for offset in range(19, len(data) - 8, 3):
            _, events = read(damaged({offset: 4}, data), salvage=True)
            found = timeline(events)
            assert np.array_equal(found[found >= 0], tokens[found >= 0])
            assert np.count_nonzero(found < 0) == 100

    def test_undamaged(self):
        for data in (
            DATA,
            encode(speech_like(300, 11), HEADER),
            encode(TOKENS, HEADER, eager=True),
        ):
            _, events = checked(data, salvage=True)
            assert not damage_in(events)


@EAGER
def test_a_repeated_header_completes_the_assumed_one(eager):
    """Settings that were assumed wrongly begin no new part; another model does."""
    header = header_of(settings=1065)
    tokens = random_tokens(700, 11)
    data = encode(tokens, header, eager=True)
    start = len(header.to_bytes())
    reader, events = checked(data[start:], eager=eager, join=header_of())
    assert [event.header for event in events if isinstance(event, HeaderRead)] == [header_of()]
    assert len(damage_in(events)) == 1
    assert np.array_equal(tokens_in(events)[:700], tokens)
    assert reader.header == header
    other = replace(header_of(), fingerprint=b"another!")
    _, events = checked(data[start:], eager=eager, join=other)
    assert [event.header for event in events if isinstance(event, HeaderRead)] == [other, header]
