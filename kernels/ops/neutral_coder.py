"""Codes tokens by predictors of each bit that know nothing at a block's start, and learn in it."""

from __future__ import annotations

from fcs_edge.kernels._types import I32, I64, U8, U16
from fcs_edge.kernels.ops.range_coder import (
    SIZE,
    TOKENS,
    code_decision,
    finish_coder,
    probability_of,
    start_coder,
)
from fcs_edge.kernels.runtime._jit import inline, kernel

HISTORY = 2
"""Tokens before the coded one whose bits of the same place are inputs."""

PERSISTENCE = 40960, 8192
"""First weights of the same bit one and two tokens ago, in 65536ths: bits last for a while."""

RATE, DELAY, LEAST = 262144, 28, 5120
"""A predictor that has learned from n tokens learns from the next one at
max(RATE // (n + DELAY), LEAST), in 65536ths."""


@inline
def _sign(token: int, j: int, bits: int) -> int:
    """Return 1 or -1 for bit j, the most significant first."""
    return 1 if token >> (bits - 1 - j) & 1 else -1


@inline
def _inputs(tokens: U16, t: int, i: int, bits: int, inputs: I32) -> None:
    """``inputs[:3] = 1, sign of bit i one token ago, two tokens ago``, 0 where there is none."""
    inputs[0] = 1
    for k in range(HISTORY):
        inputs[1 + k] = _sign(tokens[t - 1 - k], i, bits) if t > k else 0


@inline
def _code_token(
    tokens: U16,
    t: int,
    decoding: bool,
    rate: int,
    table: U16,
    weights: I32,
    inputs: I32,
    state: I64,
    data: U8,
) -> int:
    """Code token t of a block, or decode and return it, and learn from it.

    Bit i is 1 with probability ``p / 65536``:

    ``p = table[clip(floor(sum_k weights[i, k] x[k] / 256)) + 2048]``

    x is 1; the same bit's signs one and two tokens ago, 0 where the block has none; and the signs
    of the token's bits before i. Then, for ``e = 65536 bit - p``:

    ``weights[i, k] += x[k] floor(e rate / 65536)``, and for the bits of the same token
    ``weights[i, k] += x[k] floor(e rate / 131072)``
    """
    bits = weights.shape[0]
    coded = 0
    for i in range(bits):
        _inputs(tokens, t, i, bits, inputs)
        width = 1 + HISTORY + i
        total = 0
        for k in range(width):
            total += weights[i, k] * inputs[k]
        probability = probability_of(total >> 8, table)
        one = tokens[t] >> (bits - 1 - i) & 1
        one = code_decision(decoding, one, probability, state, data)
        coded = coded << 1 | one
        change = ((one << 16) - probability) * rate >> 16
        for k in range(width):
            learned = change if k <= HISTORY else change >> 1
            weights[i, k] += inputs[k] * learned
        if i + 1 < bits:
            inputs[width] = 1 if one == 1 else -1
    return coded


@kernel
def code_neutrally(
    tokens: U16,
    known: U8,
    decoding: bool,
    limit: int,
    table: U16,
    weights: I32,
    inputs: I32,
    state: I64,
    data: U8,
) -> None:
    """Code a block of tokens into data, or decode data into tokens.

    Each bit has a logistic regression, learned online by stochastic gradient descent; `_code_token`
    has the formulas. weights (bits, 2 + bits) and inputs (2 + bits,) are overwritten; the other
    arguments are those of `network_coder.code_with_network`. A block has at most 65,535 tokens, so
    that no weight leaves int32.
    """
    for i in range(weights.shape[0]):
        for k in range(weights.shape[1]):
            weights[i, k] = 0
        for k in range(HISTORY):
            weights[i, 1 + k] = PERSISTENCE[k]
    start_coder(decoding, state, data)
    state[TOKENS] = n_coded = 0
    for t in range(tokens.size):
        if known[t] == 0:
            rate = max(RATE // (n_coded + DELAY), LEAST)
            tokens[t] = _code_token(tokens, t, decoding, rate, table, weights, inputs, state, data)
            n_coded += 1
        if limit >= 0:
            if n_coded > 0 and finish_coder(state, data) > limit:
                return
            state[TOKENS] = t + 1
    if not decoding:
        state[SIZE] = finish_coder(state, data) if n_coded > 0 else 0
