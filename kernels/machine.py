"""What one core can do: kernels that only read memory, or only multiply, and their rates."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import extending, types

from fcs_edge.kernels import int4_panel, int8_panel, simd
from fcs_edge.kernels._jit import kernel, reduction
from fcs_edge.kernels._types import F32
from fcs_edge.kernels.instructions import DEPTH, INT4_DEPTH, SPLIT, Instructions
from fcs_edge.kernels.int4_panel import NARROW
from fcs_edge.kernels.simd import FLOAT, I8, I16, I32, I64, Builder, Value

_ROWS = 4
_TURNS = 8
"""Sets of factors that the loop goes through, so that no product can be moved out of it."""
_LEAST_SECONDS = 0.002
"""What is timed as one run: far longer than a call, and than a step of the clock."""
_LEAST_RUNS = 5


@dataclass(frozen=True)
class Rate:
    """What several runs measured, in 10**9 a second."""

    best: float
    """What the core can do: others on the machine only take from it."""
    median: float


def read_rate(size: int, seconds: float = 0.3) -> Rate:
    """Measure how fast one core reads a buffer again and again, in GB/s.

    Parameters
    ----------
    size : int
        Bytes of the buffer: more than any cache holds, to measure memory.
    seconds : float
        How long to measure, about.
    """
    # Zeros might all be one page of memory.
    buffer = np.ones(max(size // 4, 1), np.float32)
    return _rate(lambda passes: read(buffer, passes), buffer.nbytes, seconds)


def rate(using: Instructions, bits: int, seconds: float = 0.3) -> Rate:
    """Measure how fast one core multiplies and adds as products do, in GMAC/s.

    Parameters
    ----------
    using : Instructions
        What it multiplies with.
    bits : int
        Of the weights: 32, float32; 8, by activations of 12 bits, some taken in two parts, so that
        two products count as one; or 4, by activations of 8 bits.
    seconds : float
        How long to measure, about.
    """
    multiply, sizes, dtypes, macs = multiplier(using, bits)
    factors, sums = (np.ones(n, t) for n, t in zip(sizes, dtypes, strict=True))
    parts = 2 if bits == 8 and using.int8_dot in SPLIT else 1
    return _rate(lambda count: multiply(factors, count, sums), macs // parts, seconds)


def _rate(run: Callable[[int], object], work: int, seconds: float) -> Rate:
    """Time `run`, which does `work` as many times as it is told."""
    run(1)
    count = 1
    while _time(run, count) < _LEAST_SECONDS:
        count *= 2
    times: list[float] = []
    while len(times) < _LEAST_RUNS or sum(times) < seconds:
        times.append(_time(run, count))
    done = work * count / 1e9
    return Rate(done / min(times), done / float(np.median(times)))


def _time(run: Callable[[int], object], count: int) -> float:
    start = time.perf_counter()
    run(count)
    return time.perf_counter() - start


@reduction
def read(x: F32, passes: int) -> Any:
    """Return ``passes * sum_k x[k]``: every number is read, in order, `passes` times."""
    total = np.float32(0)
    for _ in range(passes):
        for k in range(x.size):
            total += x[k]
    return total


class Multiplier(NamedTuple):
    """A kernel that only multiplies, ``kernel(factors, count, sums)``: see `_multiply`."""

    kernel: Callable[[Any, int, Any], None]
    sizes: tuple[int, int]
    """Numbers of factors, ``(_TURNS, _ROWS + vectors, lanes, depth)``, and of sums."""
    dtypes: tuple[Any, Any]
    macs: int
    """Multiply-accumulates that a count of one does."""


@cache
def multiplier(using: Instructions, bits: int) -> Multiplier:
    """Return what multiplies as the products with weights of so many bits do."""
    dtypes: tuple[Any, Any]
    if bits == 32:
        lanes, depth, dot, dtypes = using.lanes, 1, 0, (np.float32, np.float32)
    elif bits == 8:
        lanes, depth = using.int8_lanes, DEPTH[using.int8_dot]
        dot = int8_panel.DOTS.index(using.int8_dot)
        dtypes = (np.int8 if using.int8_dot in SPLIT else np.int16, np.int32)
    else:
        lanes, depth = using.int4_lanes, INT4_DEPTH[using.int4_dot]
        dot = int4_panel.DOTS.index(using.int4_dot)
        dtypes = (np.int8, np.int16 if using.int4_dot in NARROW else np.int32)
    # Sums of two registers each (smlal): fewer of them.
    vectors = 3 if lanes == using.lanes else 2

    @kernel
    def multiply(factors: Any, count: int, sums: Any) -> None:
        """Multiply ``count * _ROWS * vectors`` pairs of vectors."""
        _multiply(lanes, vectors, bits, dot, factors, count, sums)

    per_lane = 2 if bits == 4 and using.int4_dot == "pmaddubsw" else 1
    sizes = _TURNS * (_ROWS + vectors) * lanes * depth, _ROWS * vectors * lanes * per_lane
    return Multiplier(multiply, sizes, dtypes, _ROWS * vectors * lanes * depth)


def _intrinsic(function: Callable[..., Any]) -> Any:
    return extending.intrinsic(prefer_literal=True)(function)


@_intrinsic
def _multiply(
    typing: Any,
    lanes: Any,
    vectors: Any,
    bits: Any,
    dot: Any,
    factors: Any,
    count: Any,
    sums: Any,
) -> Any:
    """``sums[m, v] = sum_i x[i % _TURNS, m] * y[i % _TURNS, v]``, m < _ROWS, i < count.

    factors holds x and y of each turn, `_ROWS` and `vectors` vectors; like those of a product,
    they come from the nearest cache and the sums stay in registers. bits is 32, float32, or 8 or
    4, and dot a number of `int8_panel.DOTS` or `int4_panel.DOTS`.
    """
    n_lanes, n_vectors, n_bits, which = (a.literal_value for a in (lanes, vectors, bits, dot))
    eight, four = int8_panel.DOTS[which], int4_panel.DOTS[which]
    if n_bits == 32:
        factor = total = simd.vector(FLOAT, n_lanes)
    elif n_bits == 8:
        factor = simd.vector(I8 if eight in SPLIT else I16, n_lanes * DEPTH[eight])
        total = simd.vector(I32, n_lanes)
    else:
        factor = simd.vector(I8, n_lanes * INT4_DEPTH[four])
        narrow = simd.vector(I16, n_lanes * (2 if four == "pmaddubsw" else 1))
        total = narrow if four in NARROW else simd.vector(I32, n_lanes)

    def generate(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        x_at, out_at = (
            context.make_array(signature.args[i])(context, b, arguments[i]).data for i in (4, 6)
        )
        several = _ROWS + n_vectors

        def multiply_add(x: Value, y: Value, z: Value) -> Value:
            if n_bits == 32:
                return simd.multiply_add(b, x, y, z)
            if n_bits == 8:
                return simd.dot(b, eight, x, y, z)
            return simd.int4_dot(b, four, x, y, z)

        def step(i: Value, old: list[Value]) -> list[Value]:
            start = b.mul(b.and_(i, I64(_TURNS - 1)), I64(several * factor.count))
            x = [
                simd.load(b, x_at, b.add(start, I64(j * factor.count)), factor)
                for j in range(several)
            ]
            pairs = [(x[m], x[_ROWS + v]) for m in range(_ROWS) for v in range(n_vectors)]
            return [multiply_add(*pair, z) for pair, z in zip(pairs, old, strict=True)]

        zeros = [ir.Constant(total, None)] * (_ROWS * n_vectors)
        for j, value in enumerate(simd.repeat(b, arguments[5], zeros, step)):
            simd.store(b, value, out_at, I64(j * total.count))
        return context.get_dummy_value()

    return types.void(lanes, vectors, bits, dot, factors, types.intp, sums), generate
