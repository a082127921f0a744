"""The steps of `code_search`: hidden values and predictions panel by panel, and the beam.

Like the microkernels, this module needs Numba; the factory imports it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fcs_edge.kernels._types import F32, I64, Scalar
from fcs_edge.kernels.gemm.panels import Rows, float_panel, pointer
from fcs_edge.kernels.ops.sums import dot
from fcs_edge.kernels.runtime._jit import inline

_VECTORS = 4
"""Registers of hidden values that are summed at once."""


@inline
def start_row(lanes: int, latents: F32, network: Any, beam: F32, sums: F32) -> None:
    """``beam[0] = sign(latents)``; ``sums = first_bias + sum_kj first[k, j] beam[k, j]``.

    lanes is a constant of the caller.
    """
    for j in range(latents.size):
        beam[0, j] = np.float32(1) if latents[j] > 0 else np.float32(-1)
    for n in range(sums.size):
        sums[n] = network.first_bias[n]
    signs = Rows(pointer(beam, 0), 0)
    for n in range(0, sums.size, _VECTORS * lanes):
        panel, to = Rows(pointer(network.first, n), sums.size), Rows(pointer(sums, n), 0)
        float_panel(1, lanes, _VECTORS, signs, panel, network.first.shape[0], to)


@inline
def predict(
    rows: int, lanes: int, vectors: int, network: Any, target: F32, work: Any, count: int
) -> None:
    """``errors[i] = |active[i] second + second_bias - target| ** 2``, i < count.

    The first three arguments are constants of the caller.
    """
    active, predicted, second = work.active, work.predicted, network.second
    width, inner, outputs = lanes * vectors, second.shape[1], predicted.shape[1]
    for i in range((count + rows - 1) // rows * rows):
        for q in range(outputs):
            aim = target[q] if q < target.size else np.float32(0)
            predicted[i, q] = network.second_bias[q] - aim
    for i in range(0, count, rows):
        candidates = Rows(pointer(active, i * active.shape[1]), active.shape[1])
        for p in range(second.shape[0]):
            panel = Rows(pointer(second, p * inner * width), width)
            to = Rows(pointer(predicted, i * outputs + p * width), outputs)
            float_panel(rows, lanes, vectors, candidates, panel, inner, to)
    for i in range(count):
        work.errors[i] = dot(predicted[i], predicted[i])


@inline
def _insert_into_beam(costs: F32, origins: I64, n: int, cost: Scalar, beam: int, flips: int) -> int:
    """Insert a code once if it is among the cheapest; return how many there are."""
    for r in range(n):
        if origins[0, r] == beam and origins[1, r] == flips:
            return n
    at = n
    while at > 0 and cost < costs[at - 1]:
        at -= 1
    if at == costs.size:
        return n
    n = min(n + 1, costs.size)
    for r in range(n - 1, at, -1):
        costs[r], origins[0, r], origins[1, r] = costs[r - 1], origins[0, r - 1], origins[1, r - 1]
    costs[at], origins[0, at], origins[1, at] = cost, beam, flips
    return n


@inline
def _shortlist(costs: F32, flipped: int, size: int, listed: I64) -> int:
    """List the `size` bits of the least costs, other than `flipped`; return how many there are."""
    costs[flipped] = np.inf
    remaining = costs.size - 1
    while remaining > size:
        most = -1
        for j in range(costs.size):
            if costs[j] < np.inf and (most < 0 or costs[j] > costs[most]):
                most = j
        costs[most] = np.inf
        remaining -= 1
    count = 0
    for j in range(costs.size):
        if costs[j] < np.inf:
            listed[count] = j
            count += 1
    return count


@inline
def _rectify_candidates(now: F32, first: F32, work: Any, count: int) -> None:
    """``active[i] = relu(sums - 2 now[j] first[j])``, j = listed[i]; of no flip, ``relu(sums)``."""
    sums = work.sums
    for i in range(count):
        bit = max(work.listed[i], 0)
        change = np.float32(2) * now[bit] if work.listed[i] >= 0 else np.float32(0)
        flipped, active = first[bit], work.active[i]
        for n in range(sums.size):
            active[n] = max(sums[n] - change * flipped[n], np.float32(0))


@inline
def _flip(now: F32, bit: int, first: F32, sums: F32) -> None:
    """Flip a sign: ``sums -= 2 now[bit] first[bit]; now[bit] = -now[bit]``."""
    change, flipped = np.float32(2) * now[bit], first[bit]
    for n in range(sums.size):
        sums[n] -= change * flipped[n]
    now[bit] = -now[bit]


@inline
def search_row(
    rows: int,
    lanes: int,
    vectors: int,
    latents: F32,
    target: F32,
    network: Any,
    settings: Any,
    work: Any,
    new: int,
    beam: int,
    n: int,
) -> int:
    """Insert the visited codes of a row that follow a beam; return how many stay.

    The first three arguments are constants of the caller; settings are prior, max_flips, shortlist.
    """
    prior, max_flips, shortlist = settings
    twice, now = np.float32(2) * prior, work.beams[1 - new, beam, 0]
    costs, origins, listed, errors = work.costs[new], work.origins, work.listed, work.errors
    base, bits = work.costs[1 - new, beam], now.size
    start_row(lanes, latents, network, work.beams[1 - new, beam], work.sums)
    for i in range(1 + bits):
        listed[i] = i - 1
    count = 1 + bits if max_flips > 0 else 1
    _rectify_candidates(now, network.first, work, count)
    predict(rows, lanes, vectors, network, target, work, count)
    least = base + errors[0]
    n = _insert_into_beam(costs, origins, n, least, beam, 0)
    flips = 0
    for turn in range(max_flips):
        if turn > 0:
            _rectify_candidates(now, network.first, work, count)
            predict(rows, lanes, vectors, network, target, work, count)
        best, smallest = -1, least
        for i in range(0 if turn > 0 else 1, count):
            j = listed[i]
            cost = base + twice * now[j] * latents[j] + errors[i]
            if turn == 0:
                work.first_costs[j] = cost
            n = _insert_into_beam(costs, origins, n, cost, beam, flips ^ (1 << j))
            if cost < smallest:
                smallest, best = cost, j
        if best < 0:
            break
        if turn == 0:
            count = _shortlist(work.first_costs, best, shortlist, listed)
        base += twice * now[best] * latents[best]
        _flip(now, best, network.first, work.sums)
        flips ^= 1 << best
        least = smallest
    return n


@inline
def extend(latents: F32, flips: int, before: F32, after: F32) -> None:
    """``after[1] = sign(latents)`` with bits flipped; ``after[1 + i] = before[i]``, i > 0."""
    rows, bits = after.shape
    for i in range(2, rows):
        for j in range(bits):
            after[i, j] = before[i - 1, j]
    for j in range(bits):
        sign = np.float32(1) if latents[j] > 0 else np.float32(-1)
        after[1, j] = -sign if (flips >> j) & 1 else sign


@inline
def decide(beam: F32, past: F32, signs: F32) -> None:
    """``past[i] = beam[1 + i]``; ``signs[-1 - i] = beam[1 + i]``: a chunk's rows in order."""
    last = signs.shape[0] - 1
    for j in range(past.shape[1]):
        for i in range(past.shape[0]):
            past[i, j] = beam[1 + i, j]
        for i in range(signs.shape[0]):
            signs[last - i, j] = beam[1 + i, j]
