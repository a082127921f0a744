"""Rates of one core: how fast it reads memory, and how fast it multiplies."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fcs_edge.kernels.gemm import peak
from fcs_edge.kernels.isa.instructions import Instructions

_LEAST_SECONDS = 0.002
"""Duration of one timed run: far longer than a call, and than a step of the clock."""
_LEAST_RUNS = 5


@dataclass(frozen=True)
class Rate:
    """A rate measured in several runs, in 10**9 a second."""

    best: float
    """What the core can do: other programs on the machine only reduce it."""
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
    return _rate(lambda count: peak.read(buffer, count), buffer.nbytes, seconds)


def multiply_rate(using: Instructions, bits: int, seconds: float = 0.3) -> Rate:
    """Measure how fast one core multiplies and adds as products do, in GMAC/s.

    Parameters
    ----------
    using : Instructions
        The instruction set.
    bits : int
        Of the weights. 32: float32. 8: by activations of 12 bits; where these are taken in two
        parts, two products count as one. 4: by activations of 8 bits.
    seconds : float
        How long to measure, about.
    """
    multiply, sizes, dtypes, macs = peak.multiplier(using, bits)
    factors, sums = (np.ones(n, t) for n, t in zip(sizes, dtypes, strict=True))
    parts = 2 if bits == 8 and using.int8_dot.split else 1
    return _rate(lambda count: multiply(factors, count, sums), macs // parts, seconds)


def _rate(run: Callable[[int], object], work: int, seconds: float) -> Rate:
    """Time ``run(count)``, which does `work` `count` times."""
    run(1)
    count = 1
    while _time(run, count) < _LEAST_SECONDS:
        count *= 2
    times: list[float] = []
    while len(times) < _LEAST_RUNS or sum(times) < seconds:
        times.append(_time(run, count))
    total = work * count / 1e9
    return Rate(total / min(times), total / float(np.median(times)))


def _time(run: Callable[[int], object], count: int) -> float:
    start = time.perf_counter()
    run(count)
    return time.perf_counter() - start
