"""What one core can do: kernels that only read memory, or only multiply, and their rates."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, types

from fcs_edge.kernels import simd
from fcs_edge.kernels._jit import kernel, reduction
from fcs_edge.kernels._types import F32
from fcs_edge.kernels.instructions import DEPTH, Instructions
from fcs_edge.kernels.panels import DOTS
from fcs_edge.kernels.simd import FLOAT, I8, I16, I32, I64, Builder, Value

_ROWS = 4
_FLOATS = -1
"""Beside the numbers of `DOTS`: float32."""
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


def float_rate(using: Instructions, seconds: float = 0.3) -> Rate:
    """Measure how fast one core multiplies and adds float32, in GMAC/s."""
    return _multiply_rate(_FLOATS, using.lanes, 1, 3, seconds)


def integer_rate(using: Instructions, seconds: float = 0.3) -> Rate:
    """Measure how fast one core multiplies and adds integers as the products do, in GMAC/s.

    That is weights of 8 bits by activations of 12: sdot takes those in two parts, so that two of
    its products count as one.
    """
    # Sums of two registers each (smlal): fewer of them.
    vectors = 3 if using.integer_lanes == using.lanes else 2
    kind, lanes = DOTS.index(using.dot), using.integer_lanes
    rate = _multiply_rate(kind, lanes, DEPTH[using.dot], vectors, seconds)
    parts = 2 if using.dot == "sdot" else 1
    return Rate(rate.best / parts, rate.median / parts)


def _multiply_rate(kind: int, lanes: int, depth: int, vectors: int, seconds: float) -> Rate:
    multiply = multiplier(lanes, vectors, kind)
    dtype = np.float32 if kind == _FLOATS else np.int8 if DOTS[kind] == "sdot" else np.int16
    factors: Any = np.ones(_TURNS * (_ROWS + vectors) * lanes * depth, dtype)
    sums: Any = np.zeros(_ROWS * vectors * lanes, np.float32 if kind == _FLOATS else np.int32)
    macs = _ROWS * vectors * lanes * depth
    return _rate(lambda count: multiply(factors, count, sums), macs, seconds)


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


@cache
def multiplier(lanes: int, vectors: int, kind: int) -> Callable[[Any, int, Any], None]:
    """Return the kernel ``multiply(factors, count, sums)`` for one instruction; see `_multiply`."""

    @kernel
    def multiply(factors: Any, count: int, sums: Any) -> None:
        """Multiply ``count * _ROWS * vectors`` pairs of vectors."""
        _multiply(lanes, vectors, kind, factors, count, sums)

    made: Callable[[Any, int, Any], None] = multiply
    return made


def _intrinsic(function: Callable[..., Any]) -> Any:
    return extending.intrinsic(prefer_literal=True)(function)


@_intrinsic
def _multiply(
    typing: Any, lanes: Any, vectors: Any, kind: Any, factors: Any, count: Any, sums: Any
) -> Any:
    """``sums[m, v] = sum_i x[i % _TURNS, m] * y[i % _TURNS, v]``, m < _ROWS, i < count.

    factors holds x and y of each turn, `_ROWS` and `vectors` vectors; like those of a product,
    they come from the nearest cache and the sums stay in registers. kind is `_FLOATS`, float32,
    or a number of `DOTS`: int16, or int8 for sdot, with sums in int32.
    """
    n_lanes, n_vectors, which = (a.literal_value for a in (lanes, vectors, kind))
    if which == _FLOATS:
        factor = total = simd.vector(FLOAT, n_lanes)
    else:
        dot = DOTS[which]
        factor = simd.vector(I8 if dot == "sdot" else I16, n_lanes * DEPTH[dot])
        total = simd.vector(I32, n_lanes)

    def generate(context: Any, b: Builder, signature: Any, arguments: Any) -> Value:
        x_at, out_at = (
            context.make_array(signature.args[i])(context, b, arguments[i]).data for i in (3, 5)
        )
        several = _ROWS + n_vectors

        def multiply_add(x: Value, y: Value, z: Value) -> Value:
            if which == _FLOATS:
                return simd.multiply_add(b, x, y, z)
            return simd.dot(b, DOTS[which], x, y, z)

        def step(i: Value, old: list[Value]) -> list[Value]:
            start = b.mul(b.and_(i, I64(_TURNS - 1)), I64(several * factor.count))
            x = [
                simd.load(b, x_at, b.add(start, I64(j * factor.count)), factor)
                for j in range(several)
            ]
            pairs = [(x[m], x[_ROWS + v]) for m in range(_ROWS) for v in range(n_vectors)]
            return [multiply_add(*pair, z) for pair, z in zip(pairs, old, strict=True)]

        zeros = [ir.Constant(total, None)] * (_ROWS * n_vectors)
        for j, value in enumerate(simd.repeat(b, arguments[4], zeros, step)):
            simd.store(b, value, out_at, I64(j * n_lanes))
        return context.get_dummy_value()

    return types.void(lanes, vectors, kind, factors, types.intp, sums), generate
