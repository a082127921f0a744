"""Kernels that only read memory, or only multiply: what one core can do at most.

`fcs_edge.bench.core_limits` times them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.gemm.peak_shape import ROWS, TURNS
from fcs_edge.kernels.isa.instructions import Dot, Instructions
from fcs_edge.kernels.ops import sums
from fcs_edge.kernels.runtime._jit import factory, kernel

FLOAT32 = -1
"""Stands for float32 factors where a number of `DOTS` is expected."""


@kernel
def read(x: F32, passes: int) -> Any:
    """Return ``passes * sum_k x[k]``: every number is read, in order, `passes` times."""
    total = np.float32(0)
    for _ in range(passes):
        total += sums.total(x)
    return total


class Multiplier(NamedTuple):
    """A kernel that only multiplies, ``kernel(factors, count, sums)``: see `multiply`."""

    kernel: Callable[[Any, int, Any], None]
    sizes: tuple[int, int]
    """Numbers of factors, ``(TURNS, ROWS + vectors, lanes, depth)``, and of sums."""
    dtypes: tuple[Any, Any]
    """Of factors and of sums."""
    macs: int
    """Multiply-accumulates of a count of one."""


def multiplier(using: Instructions, bits: int) -> Multiplier:
    """Return the kernel that multiplies as the products with weights of so many bits do.

    Parameters
    ----------
    using : Instructions
        The instruction set.
    bits : int
        Of the weights: 32 (float32), 8 or 4.
    """
    lanes, vectors, _ = arguments = multiplier_arguments(using, bits)
    dot = integer_dot(using, bits)
    n_sums = ROWS * vectors * lanes
    depth, per_lane = (dot.depth, dot.sums_per_lane) if dot else (1, 1)
    sizes = TURNS * (ROWS + vectors) * lanes * depth, n_sums * per_lane
    return Multiplier(multiply(*arguments), sizes, multiplier_dtypes(dot), n_sums * depth)


def integer_dot(using: Instructions, bits: int) -> Dot | None:
    """Return what multiplies weights of so many bits, None for float32."""
    return {8: using.int8_dot, 4: using.int4_dot}.get(bits)


def products_saved(using: Instructions) -> int:
    """Return how many products with 12-bit activations one with 8-bit activations takes as long as.

    8 bits by 8 multiply twice as fast as 12 by 8, which take two products or factors of 16 bits.
    """
    return 2 if using.grouped[-1].factor_bits == 8 else 1


def multiplier_arguments(using: Instructions, bits: int) -> tuple[int, int, int]:
    """Return the arguments of `multiply` for weights of so many bits: 32, 8 or 4."""
    lanes = {8: using.int8_lanes, 4: using.int4_lanes}.get(bits, using.lanes)
    dot = integer_dot(using, bits)
    # A sum of more lanes than a register has takes two registers: fewer of them fit.
    return lanes, 3 if lanes <= using.lanes else 2, dot.number if dot else FLOAT32


def multiplier_dtypes(dot: Dot | None) -> tuple[Any, Any]:
    """Return the types of factors and of sums."""
    if dot is None:
        return np.float32, np.float32
    factor = np.int8 if dot.factor_bits == 8 else np.int16
    return factor, np.int16 if dot.fold_after else np.int32


@factory
def multiply(lanes: int, vectors: int, dot: int) -> Callable[[Any, int, Any], None]:
    """Return the kernel for one record of `DOTS`, or for `FLOAT32`."""
    global multiply_panel
    from fcs_edge.kernels.gemm.multiply_microkernel import multiply_panel

    @kernel
    def multiply(factors: Any, count: int, sums: Any) -> None:
        """Multiply ``count * ROWS * vectors`` pairs of vectors."""
        multiply_panel(lanes, vectors, dot, factors, count, sums)

    compiled: Callable[[Any, int, Any], None] = multiply
    return compiled
