"""What one core can do: kernels that only read memory, or only multiply, and their rates."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.isa.instructions import (
    DEPTH,
    DOTS,
    INT4_DEPTH,
    INT4_DOTS,
    NARROW,
    SPLIT,
    Instructions,
)
from fcs_edge.kernels.runtime._jit import factory, kernel, reduction

ROWS = 4
TURNS = 8
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
    """A kernel that only multiplies, ``kernel(factors, count, sums)``: see `multiply`."""

    kernel: Callable[[Any, int, Any], None]
    sizes: tuple[int, int]
    """Numbers of factors, ``(TURNS, ROWS + vectors, lanes, depth)``, and of sums."""
    dtypes: tuple[Any, Any]
    macs: int
    """Multiply-accumulates that a count of one does."""


def multiplier(using: Instructions, bits: int) -> Multiplier:
    """Return what multiplies as the products with weights of so many bits do."""
    arguments, dtypes = multiplier_arguments(using, bits)
    lanes, vectors = arguments[:2]
    depth = {32: 1, 8: DEPTH[using.int8_dot], 4: INT4_DEPTH[using.int4_dot]}[bits]
    per_lane = 2 if bits == 4 and using.int4_dot == "pmaddubsw" else 1
    sums = ROWS * vectors * lanes
    sizes = TURNS * (ROWS + vectors) * lanes * depth, sums * per_lane
    return Multiplier(multiply(*arguments), sizes, dtypes, sums * depth)


def multiplier_arguments(
    using: Instructions, bits: int
) -> tuple[tuple[int, int, int, int], tuple[Any, Any]]:
    """Return what `multiply` is to be called with, and the types of factors and sums."""
    dtypes: tuple[Any, Any]
    if bits == 32:
        lanes, dot, dtypes = using.lanes, 0, (np.float32, np.float32)
    elif bits == 8:
        lanes, dot = using.int8_lanes, DOTS.index(using.int8_dot)
        dtypes = (np.int8 if using.int8_dot in SPLIT else np.int16, np.int32)
    else:
        lanes, dot = using.int4_lanes, INT4_DOTS.index(using.int4_dot)
        dtypes = (np.int8, np.int16 if using.int4_dot in NARROW else np.int32)
    # Sums of two registers each (smlal): fewer of them.
    return (lanes, 3 if lanes == using.lanes else 2, bits, dot), dtypes


@factory
def multiply(lanes: int, vectors: int, bits: int, dot: int) -> Callable[[Any, int, Any], None]:
    """Return the kernel for weights of so many bits and one way to multiply them."""
    global multiply_panel
    from fcs_edge.kernels.gemm.multiply_microkernel import multiply_panel

    @kernel
    def multiply(factors: Any, count: int, sums: Any) -> None:
        """Multiply ``count * ROWS * vectors`` pairs of vectors."""
        multiply_panel(lanes, vectors, bits, dot, factors, count, sums)

    made: Callable[[Any, int, Any], None] = multiply
    return made
