"""Sums in lanes and fused multiply-add, to the bit; and that compilers add none of their own."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.isa import lanes
from fcs_edge.kernels.ops import sums, vecmath
from fcs_edge.kernels.runtime import _jit

SIZES = (0, 1, 5, 15, 16, 17, 31, 32, 33, 48, 195, 512, 1031)
KERNELS = Path(_jit.__file__).parents[1]


def fused(x: F32, y: F32, z: F32) -> F32:
    """Return ``x * y + z`` rounded once: the product is exact in long double."""
    exact = x.astype(np.longdouble) * y.astype(np.longdouble) + z.astype(np.longdouble)
    return exact.astype(np.float32)


def in_lanes(terms: Callable[[slice, F32], F32], size: int) -> np.float32:
    """Return the sum whose step adds the terms of some numbers to the first lanes."""
    acc = np.zeros(lanes.LANES, np.float32)
    for start in range(0, size, acc.size):
        part = slice(start, min(start + acc.size, size))
        n = part.stop - part.start
        acc[:n] = terms(part, acc[:n])
    while acc.size > 1:
        acc = acc[: acc.size // 2] + acc[acc.size // 2 :]
    return np.float32(acc[0])


@numba.njit(error_model="numpy")
def compiled_sums(x: F32, y: F32, mean: np.float32) -> Any:
    return sums.total(x), sums.squares(x, mean), sums.dot(x, y)


@numba.njit(error_model="numpy")
def compiled_fused(x: F32, y: F32, z: F32, out: F32) -> None:
    for i in range(x.size):
        out[i] = vecmath.multiply_add(x[i], y[i], z[i])


@pytest.mark.parametrize("size", SIZES)
def test_sums_have_one_order(size: int, normal: Callable[..., F32]) -> None:
    x, y, mean = normal(size), normal(size), np.float32(0.3)
    total, squares, dot = compiled_sums(x, y, mean)
    assert total == in_lanes(lambda at, acc: acc + x[at], size)
    assert dot == in_lanes(lambda at, acc: fused(x[at], y[at], acc), size)
    distance = x - mean
    assert squares == in_lanes(lambda at, acc: fused(distance[at], distance[at], acc), size)


def test_multiply_add_rounds_once(normal: Callable[..., F32]) -> None:
    x, y, z = normal(5000), normal(5000), normal(5000)
    out = np.full_like(x, np.nan)
    compiled_fused(x, y, z, out)
    np.testing.assert_array_equal(out, fused(x, y, z))
    assert np.any(out != x * y + z)


def test_only_float32_is_summed_and_fused(normal: Callable[..., F32]) -> None:
    x = normal(20)
    with pytest.raises(numba.core.errors.TypingError):
        compiled_sums(x.astype(np.float64), x, np.float32(0))
    with pytest.raises(numba.core.errors.TypingError):
        compiled_sums(np.stack([x, x])[:, ::2].T[0], x, np.float32(0))


def chained(x: F32, y: F32, out: F32) -> None:
    """``out[0] = sum_i x[i]``, ``out[1] = sum_i x[i] * y[i]``, ``out[2 + i] = x[i] * y[i] + 1``."""
    for i in range(x.size):
        out[0] += x[i]
        out[1] += x[i] * y[i]
        out[2 + i] = x[i] * y[i] + np.float32(1)


def test_the_compiler_reorders_and_fuses_nothing(normal: Callable[..., F32]) -> None:
    x, y = normal(1000), normal(1000)
    expected, out = np.zeros(1002, np.float32), np.zeros(1002, np.float32)
    chained(x, y, expected)
    _jit._compiled(chained)(x, y, out)
    np.testing.assert_array_equal(out, expected)


FORBIDDEN = (
    r"""reassoc|\bcontract\b|"(fast|nnan|ninf|arcp|afn)"|np\.(exp|log|sin|cos|tanh|sum|dot)\("""
)
"""Names of LLVM's flags, and functions of NumPy whose last bits depend on the CPU."""


def test_no_kernel_has_other_rules() -> None:
    """What lets LLVM reorder or fuse would make results depend on the CPU."""
    for path in KERNELS.rglob("*.py"):
        text = path.read_text()
        assert not re.search(FORBIDDEN, text), path
        assert path.name == "_jit.py" or not re.search(r"fastmath|\bn?jit\(|@n?jit", text), path
    assert Path(_jit.__file__).read_text().count("fastmath=False") == 1
    assert Path(_jit.__file__).read_text().count("fastmath") == 1
