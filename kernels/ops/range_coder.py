"""A range coder of binary decisions: 32 bits, no carry, 16-bit probabilities.

The decisions so far narrow the interval of 32-bit numbers from `LOW` to `HIGH`. Leading bytes on
which both agree are settled, and leave it. A decoder has in `VALUE` the four bytes that follow the
settled ones; beyond the end it reads zeros (docs/reference/entropy-coding.md).
"""

from __future__ import annotations

from fcs_edge.kernels._types import I64, U8, U16
from fcs_edge.kernels.runtime._jit import inline

LOW, HIGH, VALUE, PLACE, SIZE, TOKENS = range(6)
"""Where a state holds the interval's ends, the decoder's four bytes, the place of the next byte,
the number of bytes that there are, or were written, and the number of tokens that fit."""

STATE = 6
"""Numbers of a state."""

BYTES = 4
"""Bytes that a decision settles at most, and bytes of the interval's ends."""

LIMIT = 2048
"""A logit, in 256ths, counts as at least -LIMIT and at most LIMIT - 1."""


@inline
def start_coder(decoding: bool, state: I64, data: U8) -> None:
    """Begin before the first decision; a decoder has `state[SIZE]` bytes of data."""
    state[LOW], state[HIGH], state[VALUE], state[PLACE] = 0, 0xFFFFFFFF, 0, 0
    if decoding:
        for i in range(4):
            byte = data[i] if i < state[SIZE] else 0
            state[VALUE] = (state[VALUE] << 8) | byte
        state[PLACE] = 4


@inline
def probability_of(logit: int, table: U16) -> int:
    """``table[min(max(logit, -LIMIT), LIMIT - 1) + LIMIT]``, in 65536ths."""
    at = min(max(logit, -LIMIT), LIMIT - 1) + LIMIT
    return int(table[at])


@inline
def code_decision(decoding: bool, one: int, probability: int, state: I64, data: U8) -> int:
    """Code the decision `one`, or decode it, and return it: 1 or 0.

    ``middle = low + floor((high - low) * probability / 65536)``

    A 1 leaves the numbers up to the middle, a 0 those above it. `probability` of a 1 is 1..65535.
    """
    middle = state[LOW] + ((state[HIGH] - state[LOW]) * probability >> 16)
    decision = one
    if decoding:
        decision = 1 if state[VALUE] <= middle else 0
    if decision == 1:
        state[HIGH] = middle
    else:
        state[LOW] = middle + 1
    while (state[LOW] ^ state[HIGH]) < 0x1000000:
        place = state[PLACE]
        if decoding:
            byte = data[place] if place < state[SIZE] else 0
            state[VALUE] = (state[VALUE] << 8 & 0xFFFFFFFF) | byte
        else:
            data[place] = state[HIGH] >> 24
        state[PLACE] = place + 1
        state[LOW] = state[LOW] << 8 & 0xFFFFFFFF
        state[HIGH] = (state[HIGH] << 8 & 0xFFFFFFFF) | 0xFF
    return decision


@inline
def finish_coder(state: I64, data: U8) -> int:
    """Write the fewest bytes that end the code here, at least one; return how many there are.

    They are the leading bytes of the interval's number with the most zeros at its end. The settled
    bytes stay, and coding may go on.
    """
    place = state[PLACE]
    for n in range(5):
        unit = 1 << (32 - 8 * n)
        number = (state[LOW] + unit - 1) // unit * unit
        if number <= state[HIGH]:
            break
    for i in range(n):
        data[place + i] = number >> (24 - 8 * i) & 0xFF
    size: int = place + n
    while size > 0 and data[size - 1] == 0:
        size -= 1
    if size == 0:
        data[0] = 0
        size = 1
    return size
