"""The network of a prior in floats: its parameters, one training step, and its costs."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fcs_edge.convert.prior_kernels import ONE, kernels
from fcs_edge.entropy.prior import rows, specs
from fcs_edge.kernels._types import F32

Signs = NDArray[np.int8]

WEIGHT_ONE = 64
"""What 1 is as an integer weight of the hidden values."""
SKIP_ONE = 256
"""What 1 is as an integer weight of a logit."""
_WEIGHT_LIMIT = 127 / WEIGHT_ONE
_BIAS_LIMIT = 8191 / WEIGHT_ONE
_SKIP_LIMIT = 16383 / SKIP_ONE
_EVALUATED = 4096


class Parameters(NamedTuple):
    """Parameters of a network with H hidden values, in the order of `specs`."""

    context: F32
    """(rows, H); rows = 8 bits + 4 + 2 bits: signs of the last 8 tokens, place, means."""
    bias: F32
    """(H,)"""
    step: F32
    """(bits, H)"""
    output: F32
    """(bits, H)"""
    context_skip: F32
    """(rows, bits)"""
    bias_skip: F32
    """(bits,)"""
    step_skip: F32
    """(bits, bits): row j, column i is the weight of bit j in the logit of bit i > j."""


def views(flat: F32, bits: int, hidden: int) -> Parameters:
    """Return the parameters that a flat array holds one after the other."""
    at, found = 0, []
    for _, shape in specs(bits, hidden).values():
        size = math.prod(shape)
        found.append(flat[at : at + size].reshape(shape))
        at += size
    return Parameters(*found)


class Network:
    """A network that learns.

    Parameters
    ----------
    bits : int
        Bits of a token, 1 to 16.
    hidden : int
        Hidden values.
    rng : numpy.random.Generator
        Of the first weights.
    """

    def __init__(self, bits: int, hidden: int, rng: np.random.Generator) -> None:
        n_rows = rows(bits)
        spread = n_rows**-0.5
        sizes = [math.prod(shape) for _, shape in specs(bits, hidden).values()]
        self.bits, self.hidden = bits, hidden
        self._flat = np.zeros(sum(sizes), np.float32)
        self.parameters = views(self._flat, bits, hidden)
        self.parameters.context[:] = rng.uniform(-spread, spread, (n_rows, hidden))
        self.parameters.step[:] = 0.1 * rng.standard_normal((bits, hidden))
        self.parameters.output[:] = 0.05 * rng.standard_normal((bits, hidden))
        ones = [WEIGHT_ONE] * 4 + [SKIP_ONE] * 3
        limits = [_WEIGHT_LIMIT, _BIAS_LIMIT, *[_WEIGHT_LIMIT] * 2, *[_SKIP_LIMIT] * 3]
        self._ones = np.repeat(np.asarray(ones, np.float32), sizes)
        self._limits = np.repeat(np.asarray(limits, np.float32), sizes)
        self._slopes, self._mean, self._square = (np.zeros_like(self._flat) for _ in range(3))
        self._gradients = views(self._slopes, bits, hidden)
        self._rounded = np.zeros_like(self._flat)
        self._steps = 0

    def rounded(self) -> Parameters:
        """Return the parameters rounded to what integers can hold."""
        np.multiply(self._flat, self._ones, out=self._rounded)
        np.rint(self._rounded, out=self._rounded)
        self._rounded /= self._ones
        return views(self._rounded, self.bits, self.hidden)

    def values(self) -> F32:
        """Return a copy of all parameters."""
        copied: F32 = self._flat.copy()
        return copied

    def restore(self, values: F32) -> None:
        """Take all parameters from what `values` returned."""
        self._flat[:] = values

    def learn(
        self, inputs: Signs, signs: Signs, rate: float, decay: float, *, as_integers: bool
    ) -> float:
        """Take one step; return the bits that a token of this batch costs.

        Parameters
        ----------
        inputs : numpy.ndarray
            (n, rows) int8, in 64ths.
        signs : numpy.ndarray
            (n, bits) int8.
        rate, decay : float
            Of `update` in prior_kernels.
        as_integers : bool
            Whether the cost is that of the rounded parameters; the gradients go past the rounding
            (Y. Bengio et al., "Estimating or propagating gradients through stochastic neurons",
            2013).
        """
        count = len(inputs)
        used = self.rounded() if as_integers else self.parameters
        given = inputs.astype(np.float32)
        given *= np.float32(1 / ONE)
        hidden, logits = _first(given, used)
        slopes = self._gradients
        for zeroed in (slopes.step, slopes.output, slopes.step_skip):
            zeroed[:] = 0
        cost: float = kernels().gradients(
            hidden,
            logits,
            signs,
            used.step,
            used.output,
            used.step_skip,
            slopes.step,
            slopes.output,
            slopes.step_skip,
        )
        np.matmul(given.T, hidden, out=slopes.context)
        np.matmul(given.T, logits, out=slopes.context_skip)
        hidden.sum(0, out=slopes.bias)
        logits.sum(0, out=slopes.bias_skip)
        self._slopes *= np.float32(1 / count)
        self._steps += 1
        kernels().update(
            self._flat,
            self._slopes,
            self._mean,
            self._square,
            self._limits,
            rate,
            decay,
            self._steps,
        )
        return cost / count


def costs(used: Parameters, inputs: Signs, signs: Signs) -> F32:
    """Return the bits that each token costs; inputs (n, rows) in 64ths, signs (n, bits)."""
    found = np.zeros(len(inputs), np.float32)
    for at in range(0, len(inputs), _EVALUATED):
        part = slice(at, at + _EVALUATED)
        hidden, logits = _first(inputs[part].astype(np.float32) * np.float32(1 / ONE), used)
        kernels().cost_of(
            hidden, logits, signs[part], used.step, used.output, used.step_skip, found[part]
        )
    return found


def _first(given: F32, used: Parameters) -> tuple[F32, F32]:
    """Return the hidden values and the logits before the first bit."""
    hidden: F32 = given @ used.context
    logits: F32 = given @ used.context_skip
    hidden += used.bias
    logits += used.bias_skip
    return hidden, logits
