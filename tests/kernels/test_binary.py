"""Binary spherical quantisation: latents, tokens, codes."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge.kernels._types import F32, U16
from fcs_edge.kernels.ops import binary

ALL_BITS = range(1, 17)
# A square root, a division and a short sum, each rounded.
TOLERANCE = 4e-7


def normalized(x: F32) -> F32:
    out = np.full_like(x, np.nan)
    binary.normalize(x, out)
    return out


def quantized(latents: F32) -> U16:
    tokens = np.full(latents.shape[0], 0xFFFF, np.uint16)
    binary.quantize(latents, tokens)
    return tokens


def coded(tokens: U16, bits: int) -> F32:
    out = np.full((tokens.size, bits), np.nan, np.float32)
    binary.codes(tokens, out)
    return out


@pytest.mark.parametrize("bits", ALL_BITS)
def test_normalize_against_formula(
    bits: int,
    normal: Callable[..., F32],
    assert_near: Callable[[F32, NDArray[np.float64], float], None],
) -> None:
    for rows in range(1, 10):
        x = 7 * normal(rows, bits)
        wide = x.astype(np.float64)
        expected = wide / np.sqrt((wide**2).sum(1, keepdims=True))
        assert_near(normalized(x), expected, TOLERANCE)


def test_normalize_of_zeros_gives_zeros(normal: Callable[..., F32]) -> None:
    x = normal(3, 12)
    x[1] = 0
    out = normalized(x)
    np.testing.assert_array_equal(out[1], np.zeros(12, np.float32))
    np.testing.assert_allclose(np.linalg.norm(out[[0, 2]], axis=1), 1, rtol=TOLERANCE)


def test_normalize_keeps_signs_of_tiny_rows() -> None:
    x = np.array([[1e-30, -1e-30, 0, 1e-25]], np.float32)
    np.testing.assert_array_equal(np.sign(normalized(x)), np.sign(x))


@pytest.mark.parametrize("bits", ALL_BITS)
def test_all_tokens_round_trip(bits: int) -> None:
    tokens = np.arange(1 << bits).astype(np.uint16)
    np.testing.assert_array_equal(quantized(coded(tokens, bits)), tokens)


@pytest.mark.parametrize("bits", ALL_BITS)
def test_codes_are_signs_of_unit_length(bits: int) -> None:
    tokens = np.random.default_rng(bits).integers(0, 1 << bits, 99).astype(np.uint16)
    signs = [[1 if token >> (bits - 1 - j) & 1 else -1 for j in range(bits)] for token in tokens]
    expected = np.array(signs, np.float32) * np.float32(1 / np.sqrt(bits))
    np.testing.assert_array_equal(coded(tokens, bits), expected)


@pytest.mark.parametrize("bits", ALL_BITS)
def test_quantize_against_formula(bits: int, normal: Callable[..., F32]) -> None:
    latents = normal(99, bits)
    expected = [sum(int(v > 0) << (bits - 1 - j) for j, v in enumerate(row)) for row in latents]
    np.testing.assert_array_equal(quantized(latents), expected)


def test_first_column_is_the_most_significant_bit() -> None:
    latents = np.array([[1, -1, -1], [-1, -1, 1]], np.float32)
    assert quantized(latents).tolist() == [0b100, 0b001]


def test_ties_give_bit_zero() -> None:
    smallest = np.float32(1e-45)
    latents = np.array([[0.0, -0.0, smallest, -smallest], [0, 0, 0, 0]], np.float32)
    assert quantized(latents).tolist() == [0b0010, 0]
