"""Tokens packed to bytes, and unpacked."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from bitstream_cases import (
    ALL_BITS,
    naive_pack,
    random_tokens,
)
from fcs_edge.bitstream.bitpack import pack_tokens, packed_size, unpack_tokens


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
