"""Trains a prior: which tokens follow which, in blocks that begin anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from fcs_edge.convert.prior_kernels import kernels
from fcs_edge.convert.prior_network import Network, Parameters, Signs, costs
from fcs_edge.entropy.prior import rows
from fcs_edge.kernels.ops.network_coder import POSITIONS
from fcs_edge.model.layers import U16

_LEAST_BATCH, _MOST_BATCH = 32, 512
_STEPS = 2000
"""Steps that training has at least, where its batches can be so small."""
_POOL_TOKENS = 40 * _MOST_BATCH
"""Tokens that are drawn from together: 100 blocks or more."""
_RATE, _LAST_RATE, _DECAY = 2.5e-3, 0.01, 1e-2
_WARM_SHARE = 0.02
_INTEGER_SHARE = 0.4
"""The last part of training, which learns with rounded weights."""
_BLOCK_SECONDS, _LEAST_BLOCK = 2, 24
_HIDDEN = (1_000_000, 512), (200_000, 256), (50_000, 128), (0, 64)
"""Least number of tokens, and the hidden values that they are enough for."""
_LEARNT = 60e6
"""Tokens that are learnt from in all, each a number of times from the least to the most."""
_LEAST_PASSES, _MOST_PASSES = 6.0, 60.0
_MEASURED = 200_000
"""Held-out tokens that are measured during training."""
_CHECKS = 12
"""How often the held-out share is measured."""


class Plan(NamedTuple):
    """How a prior is trained."""

    hidden: int = 512
    minutes: float = 45.0
    """Most minutes of training."""
    passes: float = 10.0
    """Most times that each token is learnt from."""
    block: int = 100
    """Tokens of a block."""
    seed: int = 0


def plan_for(
    n_tokens: int,
    token_rate: float,
    hidden: int | None = None,
    minutes: float = 45.0,
    passes: float | None = None,
    seed: int = 0,
) -> Plan:
    """Return a plan for so many tokens: what is None follows from their number."""
    if hidden is None:
        hidden = next(size for least, size in _HIDDEN if n_tokens >= least)
    if passes is None:
        passes = min(_MOST_PASSES, max(_LEAST_PASSES, _LEARNT / max(1, n_tokens)))
    block = POSITIONS * round(_BLOCK_SECONDS * token_rate / POSITIONS)
    return Plan(hidden, minutes, passes, max(_LEAST_BLOCK, block), seed)


class Progress(NamedTuple):
    """How far training is."""

    share: float
    """Of the whole training, 0 to 1."""
    bits: float
    """That a token costs in training now."""
    held_out: float
    """That a held-out token costs; NaN before the first measurement."""


def train(
    recordings: Sequence[U16],
    held_out: Sequence[U16],
    bits: int,
    plan: Plan,
    show: Callable[[Progress], None] = lambda _: None,
) -> Parameters:
    """Train a network.

    Parameters
    ----------
    recordings : sequence of numpy.ndarray
        Tokens of each recording.
    held_out : sequence of numpy.ndarray
        Other tokens. The parameters returned are those that cost them least.
    bits : int
        Bits of a token.
    plan : Plan
    show : callable
        Called now and then.

    Returns
    -------
    fcs_edge.convert.prior_network.Parameters
        Rounded to what integers hold.
    """
    rng = np.random.default_rng(plan.seed)
    network = Network(bits, plan.hidden, rng)
    measured = block_inputs(_first_of(held_out, _MEASURED), bits, plan.block)
    total = sum(map(len, recordings)) * plan.passes
    size = int(np.clip(total / _STEPS, _LEAST_BATCH, _MOST_BATCH))
    began, learnt, recent, checked = time.monotonic(), 0, 0.0, 0
    best, best_bits = network.values(), float("nan")
    for inputs, signs in _batches(recordings, bits, plan.block, size, rng):
        spent = (time.monotonic() - began) / (60 * plan.minutes)
        share = min(1.0, max(learnt / total, spent))
        rate = _RATE * max(_LAST_RATE, float(np.cos(share * np.pi / 2)) ** 2)
        rate *= min(1.0, 0.1 + share / _WARM_SHARE)
        integers = share > 1 - _INTEGER_SHARE
        cost = network.learn(inputs, signs, rate, _DECAY, as_integers=integers)
        recent = cost if not learnt else recent + 0.01 * (cost - recent)
        learnt += len(inputs)
        if share < 1 and share * _CHECKS < checked + 1:
            continue
        checked += 1
        found = float(np.mean(costs(network.rounded(), *measured)))
        if not best_bits <= found:
            best, best_bits = network.values(), found
        show(Progress(share, recent, found))
        if share >= 1:
            break
    network.restore(best)
    return Parameters(*(values.copy() for values in network.rounded()))


def _first_of(recordings: Sequence[U16], count: int) -> list[U16]:
    """Return the first recordings, until they have `count` tokens; the last one is cut."""
    found: list[U16] = []
    for tokens in recordings:
        found.append(tokens[:count])
        count -= len(found[-1])
        if not count:
            break
    return found


def block_inputs(
    recordings: Sequence[U16], bits: int, block: int, first: int | None = None
) -> tuple[Signs, Signs]:
    """Return the inputs and the signs of tokens in blocks; see `inputs_of` in prior_kernels.

    The first block of each recording has `first` tokens, where this is given.
    """
    parts = [
        tokens[begin:end]
        for tokens in recordings
        for begin, end in _spans(len(tokens), block, block if first is None else first)
    ]
    return _inputs(parts, bits)


def _spans(count: int, block: int, first: int) -> Iterator[tuple[int, int]]:
    """Yield where blocks begin and end."""
    begin, end = 0, first
    while begin < count:
        yield begin, min(end, count)
        begin, end = end, end + block


def _inputs(parts: Sequence[U16], bits: int) -> tuple[Signs, Signs]:
    total = sum(map(len, parts))
    inputs = np.zeros((total, rows(bits)), np.int8)
    signs = np.zeros((total, bits), np.int8)
    at = 0
    for tokens in parts:
        end = at + len(tokens)
        kernels().inputs_of(np.asarray(tokens, np.int64), bits, inputs[at:end], signs[at:end])
        at = end
    return inputs, signs


def _batches(
    recordings: Sequence[U16], bits: int, block: int, size: int, rng: np.random.Generator
) -> Iterator[tuple[Signs, Signs]]:
    """Yield batches without end. In each pass blocks begin elsewhere, and come in another order."""
    while True:
        places = _places(recordings, block, rng)
        for at in range(0, len(places), max(1, _POOL_TOKENS // block)):
            chosen = places[at : at + max(1, _POOL_TOKENS // block)]
            parts = [recordings[index][begin:end] for index, begin, end in chosen]
            inputs, signs = _inputs(parts, bits)
            order = rng.permutation(len(inputs))
            for begin in range(0, max(1, len(order) - size // 2), size):
                drawn = order[begin : begin + size]
                yield inputs[drawn], signs[drawn]


def _places(
    recordings: Sequence[U16], block: int, rng: np.random.Generator
) -> list[tuple[int, int, int]]:
    """Return recording, begin and end of each block of a pass, in random order."""
    found = []
    for index, tokens in enumerate(recordings):
        first = POSITIONS * int(rng.integers(1, max(2, block // POSITIONS + 1)))
        found += [(index, *span) for span in _spans(len(tokens), block, first)]
    return [found[place] for place in rng.permutation(len(found))]
