"""The inverse real transform against float64, for transforms of every kind of factor."""

from collections.abc import Callable

import numpy as np
import pytest

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.ops import fourier
from fcs_edge.model.vocos import prime_factors

SIZES = (2, 4, 6, 8, 10, 62, 64, 90, 194, 210, 480, 1000, 1024, 2048)


def transformed(x: F32) -> F32:
    size = x.shape[1] - 2
    turns = np.exp(2j * np.pi * np.arange(size) / size)
    roots = np.stack([turns.real, turns.imag], 1).astype(np.float32)
    factors = np.array(prime_factors(size // 2), np.int64)
    work = np.full((2, size // 2, 2, fourier.LANES), np.nan, np.float32)
    out = np.full((len(x), size), np.nan, np.float32)
    fourier.inverse_real(x, factors, roots, work, out)
    return out


@pytest.mark.parametrize("size", SIZES)
def test_against_numpy(size: int, normal: Callable[..., F32]) -> None:
    """The imaginary parts of the first and the last bin count as zeros."""
    for rows in (1, 7, 8, 9):
        x = normal(rows, size + 2)
        bins = x[:, : size // 2 + 1] + 1j * x[:, size // 2 + 1 :].astype(np.float64)
        bins[:, [0, -1]] = bins[:, [0, -1]].real
        expected = np.fft.irfft(bins, size)
        error = np.abs(transformed(x) - expected).max()
        assert error < 4e-7 * np.sqrt(np.mean(expected**2)) * np.log2(2 * size)


def test_against_the_formula(normal: Callable[..., F32]) -> None:
    size, half = 14, 7
    x = normal(2, size + 2).astype(np.float64)
    re, im = x[:, : half + 1], x[:, half + 1 :]
    n = np.arange(size)
    expected = re[:, :1] + (-1.0) ** n * re[:, half:]
    for k in range(1, half):
        angle = 2 * np.pi * k * n / size
        expected = expected + 2 * (
            re[:, k : k + 1] * np.cos(angle) - im[:, k : k + 1] * np.sin(angle)
        )
    assert np.abs(transformed(x.astype(np.float32)) - expected / size).max() < 1e-6


def test_rows_do_not_meet(
    normal: Callable[..., F32], assert_same_bits: Callable[[F32, F32], None]
) -> None:
    x = normal(19, 66)
    together = transformed(x)
    for m in range(19):
        assert_same_bits(transformed(x[m : m + 1]), together[m : m + 1])


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 8, 31, 49, 512, 8191, 8192])
def test_prime_factors(n: int) -> None:
    factors = prime_factors(n)
    assert np.prod([1, *factors]) == n
    assert factors.count(2) <= 1
    assert all(f == 4 or all(f % d for d in range(2, f)) for f in factors if f < 100)
