"""Loops that train a prior, compiled by Numba when training starts.

Training may reorder sums; its integers are checked afterwards. So these loops use fast mathematics,
and are in no compiled library.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from fcs_edge.errors import FcsError
from fcs_edge.kernels.ops.network_coder import HISTORY, POSITIONS

ONE = 64
"""What 1 is as an input."""
_NAT = math.log(2)
"""Of a bit."""


class TrainingKernels(NamedTuple):
    """The compiled loops: `inputs_of`, `gradients`, `cost_of` and `update`."""

    inputs_of: Callable[..., None]
    gradients: Callable[..., float]
    cost_of: Callable[..., float]
    update: Callable[..., None]


@cache
def kernels() -> TrainingKernels:
    """Compile the loops.

    Raises
    ------
    FcsError
        There is no Numba, or it may not compile.
    """
    try:
        import numba
        from numba.core import config
    except ImportError:
        raise FcsError("training a prior needs Numba: pip install numba") from None
    if config.DISABLE_JIT:
        raise FcsError("NUMBA_DISABLE_JIT is set, but training a prior needs Numba: unset it")
    from fcs_edge.kernels.runtime.numba_cache import KernelCache

    compiled = []
    for function in (_inputs_of, _gradients, _cost_of, _update):
        loop: Any = numba.njit(nogil=True, fastmath=True, error_model="numpy")(function)
        loop._cache = KernelCache(function)
        compiled.append(loop)
    return TrainingKernels(*compiled)


def _inputs_of(tokens: Any, bits: int, inputs: Any, signs: Any) -> None:
    """Write a block's inputs, in 64ths, and the signs of its bits.

    ``inputs[t] = [signs of tokens t - 1 ... t - 8, place t mod 4, mean, recent mean]``

    tokens (n,); inputs (n, 8 bits + 4 + 2 bits) int8, zeros before; signs (n, bits) int8. The mean
    is 64 sum / (t + 8), cut towards zero; the recent one e / 64, rounded down, of
    ``e += (4096 sign - e) 10 / 64``, rounded down.
    """
    sums = np.zeros(bits, np.int64)
    recent = np.zeros(bits, np.int64)
    past = HISTORY * bits
    for t in range(len(tokens)):
        for j in range(bits):
            signs[t, j] = 1 if (tokens[t] >> (bits - 1 - j)) & 1 else -1
        for k in range(min(t, HISTORY)):
            for j in range(bits):
                inputs[t, k * bits + j] = ONE * signs[t - 1 - k, j]
        inputs[t, past + t % POSITIONS] = ONE
        for j in range(bits):
            size = (ONE * abs(sums[j])) // (t + 8)
            inputs[t, past + POSITIONS + j] = size if sums[j] >= 0 else -size
            inputs[t, past + POSITIONS + bits + j] = recent[j] >> 6
            sums[j] += signs[t, j]
            recent[j] += ((signs[t, j] * 4096 - recent[j]) * 10) >> 6


def _gradients(
    hidden: Any,
    logits: Any,
    signs: Any,
    step: Any,
    output: Any,
    step_skip: Any,
    to_step: Any,
    to_output: Any,
    to_skip: Any,
) -> float:
    """Return the bits that tokens cost, and replace `hidden` and `logits` by the gradients to them.

    ``z_i = logits_i + relu(h_i) . output_i + sum_(j < i) step_skip[j, i] signs_j``
    ``h_0 = hidden, h_(i + 1) = h_i + signs_i step_i; cost = sum_i log(1 + exp(-signs_i z_i))``

    hidden (n, H), logits and signs (n, bits), step and output (bits, H), step_skip (bits, bits).
    The gradients to step, output and step_skip are added to the last three.
    """
    count, width = hidden.shape
    bits = signs.shape[1]
    states = np.empty((bits, width), np.float32)
    slopes = np.empty(bits, np.float32)
    back = np.empty(width, np.float32)
    cost: float = 0.0
    for m in range(count):
        states[0] = hidden[m]
        for i in range(bits):
            state, weights = states[i], output[i]
            z = logits[m, i]
            for n in range(width):
                z += max(state[n], np.float32(0)) * weights[n]
            for j in range(i):
                z += step_skip[j, i] * signs[m, j]
            sign = np.float32(signs[m, i])
            z *= sign
            cost += max(-z, np.float32(0)) + np.log1p(np.exp(-abs(z)))
            slopes[i] = -sign / (np.float32(1) + np.exp(z))
            if i + 1 < bits:
                after, change = states[i + 1], step[i]
                for n in range(width):
                    after[n] = state[n] + sign * change[n]
        back[:] = 0
        for i in range(bits - 1, -1, -1):
            state, weights, slope = states[i], output[i], slopes[i]
            sign = np.float32(signs[m, i])
            into_output, into_step = to_output[i], to_step[i]
            for n in range(width):
                into_step[n] += sign * back[n]
                on = np.float32(1) if state[n] > 0 else np.float32(0)
                into_output[n] += slope * on * state[n]
                back[n] += slope * on * weights[n]
            for j in range(i):
                to_skip[j, i] += slope * signs[m, j]
            logits[m, i] = slope
        hidden[m] = back
    return cost / _NAT


def _cost_of(
    hidden: Any, logits: Any, signs: Any, step: Any, output: Any, step_skip: Any, costs: Any
) -> float:
    """Return the bits that tokens cost, and write those of each to costs (n,)."""
    count, width = hidden.shape
    bits = signs.shape[1]
    state = np.empty(width, np.float32)
    total: float = 0.0
    for m in range(count):
        state[:] = hidden[m]
        cost = 0.0
        for i in range(bits):
            weights, change = output[i], step[i]
            z = logits[m, i]
            for n in range(width):
                z += max(state[n], np.float32(0)) * weights[n]
            for j in range(i):
                z += step_skip[j, i] * signs[m, j]
            sign = np.float32(signs[m, i])
            z *= sign
            cost += max(-z, np.float32(0)) + np.log1p(np.exp(-abs(z)))
            for n in range(width):
                state[n] += sign * change[n]
        costs[m] = cost / _NAT
        total += cost / _NAT
    return total


def _update(
    values: Any,
    slopes: Any,
    mean: Any,
    square: Any,
    limits: Any,
    rate: float,
    decay: float,
    steps: int,
) -> None:
    """Change values by Adam with decoupled decay, and hold each within its limit.

    D. Kingma, J. Ba, "Adam: a method for stochastic optimization", 2014; I. Loshchilov, F. Hutter,
    "Decoupled weight decay regularization", 2017.
    """
    first = np.float32(1 / (1 - 0.9**steps))
    second = np.float32(1 / (1 - 0.999**steps))
    speed, shrink = np.float32(rate), np.float32(1 - rate * decay)
    for n in range(len(values)):
        slope = slopes[n]
        mean[n] += np.float32(0.1) * (slope - mean[n])
        square[n] += np.float32(0.001) * (slope * slope - square[n])
        change = mean[n] * first / (np.sqrt(square[n] * second) + np.float32(1e-8))
        value = values[n] * shrink - speed * change
        values[n] = min(max(value, -limits[n]), limits[n])
