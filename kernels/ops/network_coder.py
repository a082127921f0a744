"""Codes tokens by a static network of integers that predicts each bit from those before it."""

from __future__ import annotations

import numpy as np

from fcs_edge.kernels._types import I8, I16, I32, I64, U8, U16, Scalar
from fcs_edge.kernels.ops.range_coder import (
    SIZE,
    TOKENS,
    code_decision,
    finish_coder,
    probability_of,
    start_coder,
)
from fcs_edge.kernels.runtime._jit import inline, kernel

HISTORY = 8
"""Tokens before the coded one whose bits are inputs."""

POSITIONS = 4
"""Inputs that are 1 for a token's number in the block modulo their number."""

SHIFT = 4
"""Fractional bits of a dot product beyond those of a logit, which has 8."""


@inline
def _add(row: I8 | I16, sums: I16 | I32) -> None:
    """Compute ``sums += row``."""
    for n in range(sums.size):
        sums[n] += row[n]


@inline
def _subtract(row: I8 | I16, sums: I16 | I32) -> None:
    """Compute ``sums -= row``."""
    for n in range(sums.size):
        sums[n] -= row[n]


@inline
def _add_scaled(row: I8, scale: int, sums: I16) -> None:
    """Compute ``sums += floor((scale row + 32) / 64)``, scale -64..64."""
    factor = np.int16(scale)
    for n in range(sums.size):
        sums[n] += np.int16(np.int16(np.int16(row[n]) * factor) + np.int16(32)) >> np.int16(6)


@inline
def _add_scaled_skip(row: I16, scale: int, sums: I32) -> None:
    """Compute ``sums += floor((scale row + 32) / 64)``, scale -64..64."""
    for n in range(sums.size):
        sums[n] += (row[n] * scale + 32) >> 6


@inline
def _rectified_dot(sums: I16, weights: I8) -> Scalar:
    """``sum_n max(sums[n], 0) weights[n]``, in int32."""
    total = np.int32(0)
    for n in range(sums.size):
        active = max(sums[n], np.int16(0))
        total = np.int32(total + np.int32(np.int32(active) * np.int32(weights[n])))
    return total


@inline
def _start_token(
    tokens: U16,
    t: int,
    bits: int,
    context: I8,
    bias: I16,
    context_skip: I16,
    bias_skip: I16,
    memory: I32,
    sums: I16,
    logits: I32,
) -> None:
    """Sum the rows of what stands before token t of a block, over the biases."""
    for n in range(sums.size):
        sums[n] = bias[n]
    for j in range(bits):
        logits[j] = bias_skip[j]
    for k in range(min(t, HISTORY)):
        token = tokens[t - 1 - k]
        for j in range(bits):
            r = k * bits + j
            if token >> (bits - 1 - j) & 1:
                _add(context[r], sums)
                _add(context_skip[r], logits)
            else:
                _subtract(context[r], sums)
                _subtract(context_skip[r], logits)
    r = HISTORY * bits + t % POSITIONS
    _add(context[r], sums)
    _add(context_skip[r], logits)
    for j in range(bits):
        mean = 64 * abs(memory[0, j]) // (t + 8)
        for i in range(2):
            scale = (mean if memory[0, j] >= 0 else -mean) if i == 0 else memory[1, j] >> 6
            if scale != 0:
                r = HISTORY * bits + POSITIONS + i * bits + j
                _add_scaled(context[r], scale, sums)
                _add_scaled_skip(context_skip[r], scale, logits)


@inline
def _remember(token: int, bits: int, memory: I32) -> None:
    """Bring the sum of each bit's signs and their decaying average up to date."""
    for j in range(bits):
        sign = 1 if token >> (bits - 1 - j) & 1 else -1
        memory[0, j] += sign
        memory[1, j] += (sign * 4096 - memory[1, j]) * 10 >> 6


@kernel
def code_with_network(
    tokens: U16,
    known: U8,
    decoding: bool,
    limit: int,
    context: I8,
    bias: I16,
    step: I8,
    output: I8,
    context_skip: I16,
    bias_skip: I16,
    step_skip: I16,
    table: U16,
    sums: I16,
    logits: I32,
    memory: I32,
    state: I64,
    data: U8,
) -> None:
    """Code a block of tokens into data, or decode data into tokens.

    With ``y[j] = 1`` for each bit that is 1 and -1 for one that is 0, the most significant first,
    bit i of a token is 1 with probability ``table[clip(logit[i]) + 2048] / 65536``:

    ``h[i] = bias + inputs context + sum_j<i y[j] step[j]``
    ``logit[i] = floor(sum_n max(h[i, n], 0) output[i, n] / 16) + skip[i]``
    ``skip[i] = bias_skip[i] + inputs context_skip[:, i] + sum_j<i y[j] step_skip[j, i]``

    inputs are the signs of the 8 tokens before, the newest first, 0 where the block has none; 1 for
    the token's number modulo 4; and twice ``bits`` averages of the block so far, in 64ths, each
    product rounded. The network is that of Larochelle and Murray, The neural autoregressive
    distribution estimator, AISTATS 2011.

    Parameters
    ----------
    tokens : numpy.ndarray
        (n,) uint16: what is coded. A decoder reads the known ones and writes the others.
    known : numpy.ndarray
        (n,) uint8: 1 for a token that is not coded.
    decoding : bool
        Whether data is decoded.
    limit : int
        A coder counts in state[TOKENS] the first tokens that fit so many bytes, and stops after
        them; -1 is no limit.
    context, bias, step, output, context_skip, bias_skip, step_skip : numpy.ndarray
        (14 bits + 4, ...); see `fcs_edge.entropy.prior.Prior`.
    table : numpy.ndarray
        (4096,) uint16.
    sums, logits, memory : numpy.ndarray
        (hidden,) int16, (bits,) int32 and (2, bits) int32; overwritten.
    state : numpy.ndarray
        (6,) int64; a decoder's state[SIZE] is how many bytes data holds. A coder writes it.
    data : numpy.ndarray
        uint8; a coder needs four bytes for each decision, and four more.
    """
    bits = output.shape[0]
    start_coder(decoding, state, data)
    for i in range(2):
        for j in range(bits):
            memory[i, j] = 0
    state[TOKENS] = n_coded = 0
    for t in range(tokens.size):
        if known[t] == 0:
            _start_token(
                tokens, t, bits, context, bias, context_skip, bias_skip, memory, sums, logits
            )
            token = 0
            for i in range(bits):
                logit = (_rectified_dot(sums, output[i]) >> SHIFT) + logits[i]
                one = tokens[t] >> (bits - 1 - i) & 1
                one = code_decision(decoding, one, probability_of(logit, table), state, data)
                token = token << 1 | one
                if i + 1 < bits and one == 1:
                    _add(step[i], sums)
                    _add(step_skip[i], logits)
                elif i + 1 < bits:
                    _subtract(step[i], sums)
                    _subtract(step_skip[i], logits)
            tokens[t] = token
            n_coded += 1
        _remember(tokens[t], bits, memory)
        if limit >= 0:
            if n_coded > 0 and finish_coder(state, data) > limit:
                return
            state[TOKENS] = t + 1
    if not decoding:
        state[SIZE] = finish_coder(state, data) if n_coded > 0 else 0
