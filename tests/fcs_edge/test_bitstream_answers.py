"""One vector for each question that an earlier form of the format left open."""

from __future__ import annotations

import numpy as np
import pytest

from bitstream_cases import (
    DATA,
    HEADER,
    SPT,
    TOKENS,
    damage_in,
    decode,
    header_of,
    naive_block,
    naive_end,
    naive_general,
    naive_header,
    timeline,
    tokens_in,
)
from fcs_edge.bitstream import Damage, End, HeaderRead, Tokens
from fcs_edge.bitstream.header import NON_CAUSAL
from fcs_edge.errors import BitstreamError

FIFTY = naive_block(TOKENS[:50], 11, 0)
NEXT = naive_block(TOKENS[50:100], 11, 50)


def kinds(events):
    """Events in short: tokens and silence as numbers, the end as its samples."""
    out = []
    for event in events:
        if isinstance(event, Tokens):
            out.append(len(event.tokens))
        elif isinstance(event, Damage):
            out.append(-event.n_tokens)
        elif isinstance(event, End):
            out.append(f"end {event.n_samples}")
        else:
            out.append(type(event).__name__)
    return out


@pytest.mark.parametrize("eager", [False, True])
class TestAnswers:
    def test_1_no_end_record(self, eager):
        """The output is as long as the tokens; nothing is padded."""
        events = decode(naive_header(HEADER) + FIFTY + NEXT[:-1], eager=eager)
        assert kinds(events) == ["HeaderRead", 50, 0]
        assert "the stream is cut" in events[-1].message

    def test_1_fewer_tokens_than_the_count_needs(self, eager):
        """Silence for those that are missing, to the token."""
        for samples, silence in ((50 * SPT, None), (50 * SPT + 1, 1), (60 * SPT, 10)):
            events = decode(naive_header(HEADER) + FIFTY + naive_end(samples), eager=eager)
            expected = ["HeaderRead", 50, -(silence or 0), f"end {samples}"]
            assert kinds(events) == (expected if silence else [*expected[:2], expected[3]])

    def test_1_a_model_that_is_not_causal(self, eager):
        """The last token may represent more: padded, and no damage."""
        header = header_of(11, settings=NON_CAUSAL)
        for more, silence in ((1, 0), (2 * SPT - 1, 0), (2 * SPT, 2)):
            data = naive_header(header) + FIFTY + naive_end(50 * SPT + more)
            assert sum(e.n_tokens for e in damage_in(decode(data, eager=eager))) == silence

    def test_2_silence_is_an_event_in_its_place(self, eager):
        """The decoder's state runs on through it: tests/fcs_edge/test_event_decoder.py."""
        data = (
            naive_header(HEADER) + FIFTY + naive_block(TOKENS[:50], 11, 150) + naive_end(200 * SPT)
        )
        assert kinds(decode(data, eager=eager)) == ["HeaderRead", 50, -100, 50, f"end {200 * SPT}"]

    def test_3_a_count_that_is_too_large_or_too_small(self, eager):
        """Too small: the rest is cut. Far too large or small, and followed by more: no record."""
        data = naive_header(HEADER) + FIFTY
        assert kinds(decode(data + naive_end(7), eager=eager)) == ["HeaderRead", 50, "end 7"]
        for samples in (1 << 39, 1 << 30):
            events = decode(data + naive_end(samples) + NEXT + naive_end(100 * SPT), eager=eager)
            assert kinds(events) == ["HeaderRead", 50, 0, 50, f"end {100 * SPT}"]

    def test_4_joining(self, eager):
        """From the first block that the next head confirms, without silence in front."""
        third = naive_block(TOKENS[100:150], 11, 100)
        data = FIFTY[9:] + NEXT + third + naive_end(150 * SPT)
        events = decode(data, join=HEADER, eager=eager)
        assert kinds(events) == ["HeaderRead", 0, 50, 50, f"end {100 * SPT}"]
        assert tokens_in(events).tolist() == TOKENS[50:150].tolist()

    def test_5_each_value_is_a_token(self, eager):
        tokens = np.array([0, 2047] * 25, np.uint16)
        data = naive_header(HEADER) + naive_block(tokens, 11, 0) + naive_end(50 * SPT)
        assert tokens_in(decode(data, eager=eager)).tolist() == tokens.tolist()

    def test_6_a_header_that_is_cut(self, eager):
        for size in (1, 4, 18):
            with pytest.raises(BitstreamError, match=f"cut: {size} bytes where 19 are needed"):
                decode(DATA[:size], eager=eager)
        # Its end is cut out: then it is damaged, and the model that is named holds.
        events = decode(DATA[:10] + DATA[19:], join=HEADER, eager=eager)
        assert events[0] == HeaderRead(HEADER)
        assert np.array_equal(timeline(events), TOKENS)

    def test_7_records_of_later_versions(self, eager):
        """Odd types are skipped, even ones end the reading."""
        start = naive_header(HEADER) + FIFTY
        rest = NEXT + naive_end(100 * SPT)
        events = decode(start + naive_general(0xDF, b"later") + rest, eager=eager)
        assert kinds(events) == ["HeaderRead", 50, 50, f"end {100 * SPT}"]
        events = decode(start + naive_general(0xDE, b"later") + rest, eager=eager)
        assert kinds(events) == ["HeaderRead", 50, 0]
        assert "needs a newer fcs-edge" in events[-1].message
