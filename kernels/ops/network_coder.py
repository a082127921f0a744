"""Codes tokens by a static network of integers that predicts each bit from those before it.

The network is that of Larochelle and Murray, The neural autoregressive distribution estimator,
AISTATS 2011, with inputs from the tokens before.
"""

from __future__ import annotations

from typing import Any

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
def _add_two_twice(x: I8 | I16, y: I8 | I16, sums: I16 | I32) -> None:
    """Compute ``sums += 2 (x + y)``."""
    for n in range(sums.size):
        sums[n] += 2 * (x[n] + y[n])


@inline
def _add_scaled(row: I8, scale: int, products: I16, sums: I16) -> None:
    """Compute ``sums += floor((scale row + 32) / 64)``, scale -64..64.

    All is done in 16 bits: LLVM would widen a single loop to 64.
    """
    factor = np.int8(scale)
    for n in range(sums.size):
        products[n] = row[n] * factor + 32
    for n in range(sums.size):
        sums[n] += products[n] >> 6


@inline
def _add_scaled_skip(row: I16, scale: int, sums: I32) -> None:
    """Compute the same as `_add_scaled` of a 16-bit row."""
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
def _list_ones(tokens: U16, t: int, bits: int, n_past: int, listed: I64) -> int:
    """List the rows of the bits that are 1 among the tokens before t; return how many there are."""
    n_listed = 0
    for k in range(n_past):
        token = tokens[t - 1 - k]
        for j in range(bits):
            listed[n_listed] = k * bits + j
            n_listed += token >> (bits - 1 - j) & 1
    return n_listed


@inline
def _start_token(
    tokens: U16,
    t: int,
    bits: int,
    rows: Any,
    skips: Any,
    memory: I32,
    listed: I64,
    products: I16,
    sums: I16,
    logits: I32,
) -> None:
    """Sum the rows of what stands before token t of a block, over the biases.

    rows is (context, starts) and skips (context_skip, start_skips). The starts have all bits as 0.
    So a row is added, twice, only where its bit is 1.
    """
    context, starts = rows
    context_skip, start_skips = skips
    n_past = min(t, HISTORY)
    position = HISTORY * bits + t % POSITIONS
    for n in range(sums.size):
        sums[n] = starts[n_past, n] + context[position, n]
    for j in range(bits):
        logits[j] = start_skips[n_past, j] + context_skip[position, j]
    n_listed = _list_ones(tokens, t, bits, n_past, listed)
    for i in range(0, n_listed - 1, 2):
        x, y = listed[i], listed[i + 1]
        _add_two_twice(context[x], context[y], sums)
        _add_two_twice(context_skip[x], context_skip[y], logits)
    if n_listed % 2 == 1:
        x = listed[n_listed - 1]
        for _ in range(2):
            _add(context[x], sums)
            _add(context_skip[x], logits)
    r = HISTORY * bits + POSITIONS
    for j in range(bits):
        mean = 64 * abs(memory[0, j]) // (t + 8)
        memory[2, j] = mean if memory[0, j] >= 0 else -mean
        memory[3, j] = memory[1, j] >> 6
    for i in range(2):
        for j in range(bits):
            scale = memory[2 + i, j]
            if scale != 0:
                _add_scaled(context[r], scale, products, sums)
                _add_scaled_skip(context_skip[r], scale, logits)
            r += 1


@inline
def _remember(token: int, bits: int, memory: I32) -> None:
    """Bring the sum of each bit's signs and their decaying average up to date."""
    for j in range(bits):
        sign = 1 if token >> (bits - 1 - j) & 1 else -1
        memory[0, j] += sign
        memory[1, j] += (sign * 4096 - memory[1, j]) * 10 >> 6


@inline
def _code_token(
    token: int,
    decoding: bool,
    rows: Any,
    table: U16,
    sums: I16,
    logits: I32,
    state: I64,
    data: U8,
) -> int:
    """Code a token, or decode and return it, from the sums h and logits s before its first bit.

    Bit i, the most significant first, is 1 with probability ``table[clip(logit) + 2048] / 65536``:

    ``logit = floor(sum_n max(h[n], 0) output[i, n] / 16) + s[i]``

    Then ``h += y step[i]`` and ``s += y step_skip[i]``, y being 1 or -1 as the bit is 1 or 0.
    rows is (step, output, step_skip).
    """
    step, output, step_skip = rows
    bits = output.shape[0]
    coded = 0
    for i in range(bits):
        logit = (_rectified_dot(sums, output[i]) >> SHIFT) + logits[i]
        one = token >> (bits - 1 - i) & 1
        one = code_decision(decoding, one, probability_of(logit, table), state, data)
        coded = coded << 1 | one
        if i + 1 < bits and one == 1:
            _add(step[i], sums)
            _add(step_skip[i], logits)
        elif i + 1 < bits:
            _subtract(step[i], sums)
            _subtract(step_skip[i], logits)
    return coded


@kernel
def code_with_network(
    tokens: U16,
    known: U8,
    decoding: bool,
    limit: int,
    context: I8,
    starts: I16,
    step: I8,
    output: I8,
    context_skip: I16,
    start_skips: I32,
    step_skip: I16,
    table: U16,
    memory: I32,
    listed: I64,
    products: I16,
    sums: I16,
    logits: I32,
    state: I64,
    data: U8,
) -> None:
    """Code a block of tokens into data, or decode data into tokens.

    The first sums h and logits s of a token are ``bias + inputs context`` and
    ``bias_skip + inputs context_skip``; `_code_token` has the rest. inputs are the signs of the
    bits of 8 tokens before, the newest first, 0 where the block has none; 1 for the token's number
    modulo 4; the mean of each bit's signs and its decaying average, in 64ths, products rounded.

    known (n,) is 1 for tokens that are not coded. limit: state[TOKENS] counts the first tokens that
    fit so many bytes; -1 is none. starts (9, hidden) and start_skips (9, bits) are the biases, less
    the rows of all bits of 0 to 8 tokens. A decoder's data has state[SIZE] bytes; a coder needs
    four for each decision and four more, and writes state[SIZE]. The others are in
    `fcs_edge.entropy.prior`, or overwritten.
    """
    bits = output.shape[0]
    rows, skips, steps = (context, starts), (context_skip, start_skips), (step, output, step_skip)
    start_coder(decoding, state, data)
    for j in range(bits):
        memory[0, j], memory[1, j] = 0, 0
    state[TOKENS] = n_coded = 0
    for t in range(tokens.size):
        if known[t] == 0:
            _start_token(tokens, t, bits, rows, skips, memory, listed, products, sums, logits)
            tokens[t] = _code_token(tokens[t], decoding, steps, table, sums, logits, state, data)
            n_coded += 1
        _remember(tokens[t], bits, memory)
        if limit >= 0:
            if n_coded > 0 and finish_coder(state, data) > limit:
                return
            state[TOKENS] = t + 1
    if not decoding:
        state[SIZE] = finish_coder(state, data) if n_coded > 0 else 0
