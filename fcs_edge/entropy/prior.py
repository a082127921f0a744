"""A prior: a static network of integers that predicts the bits of a model's tokens."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcs_edge.entropy.coder import MAX_BITS, TokenCoder
from fcs_edge.entropy.probabilities import probabilities
from fcs_edge.kernels.ops import network_coder as kernels

VERSION = 1
"""Version of the arithmetic, which the check covers."""

MAX_HIDDEN = 512
"""Hidden values at most."""

MEMORY = 2
"""Averages of each bit that are inputs."""

FIELDS = (
    *("context", "bias", "step", "output"),
    *("context_skip", "bias_skip", "step_skip"),
)
"""Names of the arrays, in the order of the check."""

_LARGEST = 32767


def rows(bits: int) -> int:
    """Return the number of inputs: history, position, memory."""
    return kernels.HISTORY * bits + kernels.POSITIONS + MEMORY * bits


@dataclass(frozen=True, eq=False)
class Prior:
    """The weights of a network; docs/reference/entropy-coding.md has the arithmetic.

    The inputs, in the order of the rows of `context`: the signs of the bits of the 8 tokens before,
    the newest token and the most significant bit first; the token's number in the block modulo 4;
    the mean of each bit's signs in the block so far; their decaying average.

    The arrays are copied, and are read-only. Weights are in 64ths, skips in 256ths.

    Raises
    ------
    ValueError
        An array has another type or shape, a weight is -128, there are more than 512 hidden values,
        or a sum of 16 bits could overflow for some tokens.
    """

    context: NDArray[np.int8]
    """(rows, hidden), rows = 10 bits + 4."""
    bias: NDArray[np.int16]
    """(hidden,)."""
    step: NDArray[np.int8]
    """(bits, hidden): added or subtracted after each bit; the last row is not used."""
    output: NDArray[np.int8]
    """(bits, hidden)."""
    context_skip: NDArray[np.int16]
    """(rows, bits): from the inputs to the logits."""
    bias_skip: NDArray[np.int16]
    """(bits,)."""
    step_skip: NDArray[np.int16]
    """(bits, bits): row j is added to or subtracted from the logits after bit j."""

    def __post_init__(self) -> None:
        """Check the arrays, and copy them."""
        if np.ndim(self.output) != 2:
            raise ValueError("output must have two dimensions")
        bits, hidden = self.output.shape
        if not 1 <= bits <= MAX_BITS or not 1 <= hidden <= MAX_HIDDEN:
            raise ValueError(
                f"a prior has 1..{MAX_BITS} bits and 1..{MAX_HIDDEN} hidden values, "
                f"not {bits} and {hidden}"
            )
        for name, (dtype, shape) in specs(bits, hidden).items():
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != shape:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, not {dtype} {shape}")
            if dtype == np.int8 and array.min() < -127:
                raise ValueError(f"{name} has -128; its integers are -127 to 127")
            # Also from a file of the other byte order.
            copied = np.array(array, dtype, order="C")
            copied.flags.writeable = False
            object.__setattr__(self, name, copied)
        if self.largest_sum > _LARGEST:
            raise ValueError(f"a sum could be {self.largest_sum}, beyond {_LARGEST}")

    @property
    def bits(self) -> int:
        """Bits per token."""
        return int(self.output.shape[0])

    @property
    def hidden(self) -> int:
        """Number of hidden values."""
        return int(self.output.shape[1])

    @property
    def largest_sum(self) -> int:
        """A bound of each hidden value's magnitude, before the rectifier, for any tokens.

        Every partial sum, in any order, is within it too. An average is at most 64, so its row
        counts once; of the position's rows one counts.
        """
        first = kernels.HISTORY * self.bits
        last = first + kernels.POSITIONS
        inputs = np.abs(self.context.astype(np.int32))
        total = np.abs(self.bias.astype(np.int32)) + inputs[:first].sum(0) + inputs[last:].sum(0)
        total += inputs[first:last].max(0) + np.abs(self.step.astype(np.int32)).sum(0)
        return int(total.max())

    @cached_property
    def check(self) -> int:
        """What a bitstream names the prior by: a CRC-32 of all that decides the probabilities."""
        crc = zlib.crc32(self.head())
        for _, array in self.arrays():
            crc = zlib.crc32(array.astype(array.dtype.newbyteorder("<"), copy=False).data, crc)
        return crc or 1

    def head(self) -> bytes:
        """Return the eight bytes that the check covers before the arrays."""
        head = [VERSION, self.bits, *self.hidden.to_bytes(2, "little")]
        return bytes([*head, kernels.HISTORY, kernels.POSITIONS, MEMORY, kernels.SHIFT])

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield each array's name and the array, in the order of the check."""
        for name in FIELDS:
            yield name, getattr(self, name)

    def coder(self) -> TokenCoder:
        """Return a new coder; it has work arrays of its own."""
        starts = _starts(self.context, self.bias, np.dtype(np.int16))
        start_skips = _starts(self.context_skip, self.bias_skip, np.dtype(np.int32))
        arguments: tuple[NDArray[Any], ...] = (
            *(self.context, starts, self.step, self.output),
            *(self.context_skip, start_skips, self.step_skip, probabilities()),
            np.zeros((2 * MEMORY, self.bits), np.int32),
            np.zeros(kernels.HISTORY * self.bits + 1, np.int64),
            np.zeros(self.hidden, np.int16),
            np.zeros(self.hidden, np.int16),
            np.zeros(self.bits, np.int32),
        )
        return TokenCoder(self.bits, self.check, kernels.code_with_network, arguments)


def specs(bits: int, hidden: int) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Return the type and shape of each array of a prior, by name."""
    n, weights, sums = rows(bits), np.dtype(np.int8), np.dtype(np.int16)
    return {
        "context": (weights, (n, hidden)),
        "bias": (sums, (hidden,)),
        "step": (weights, (bits, hidden)),
        "output": (weights, (bits, hidden)),
        "context_skip": (sums, (n, bits)),
        "bias_skip": (sums, (bits,)),
        "step_skip": (sums, (bits, bits)),
    }


def _starts(context: NDArray[Any], bias: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the bias less the rows of all bits of the last 0, 1, ... 8 tokens."""
    history = context[: -kernels.POSITIONS]
    bits = history.shape[0] // (kernels.HISTORY + MEMORY)
    rows_of_tokens = history[: kernels.HISTORY * bits].reshape(kernels.HISTORY, bits, -1)
    starts = np.empty((kernels.HISTORY + 1, bias.size), dtype)
    starts[0] = bias
    starts[1:] = bias - rows_of_tokens.sum(1, dtype=np.int32).cumsum(0)
    starts.flags.writeable = False
    return starts
