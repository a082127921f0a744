"""The search for codes near the latents whose predicted spectrum is closest to a target."""

from typing import Any, NamedTuple

import numpy as np

from fcs_edge.kernels._types import F32, I64, Scalar
from fcs_edge.kernels.runtime._jit import inline, kernel


class Predictor(NamedTuple):
    """The network ``relu(first_bias + sum_kj first[k, j] s[k, j]) second + second_bias``."""

    first: F32
    """(history, bits, inner) float32."""
    first_bias: F32
    """(inner,) float32."""
    second: F32
    """(inner, width) float32."""
    second_bias: F32
    """(width,) float32."""


class Settings(NamedTuple):
    """How the search goes."""

    prior: Scalar
    """Weight of the latents, float32."""
    max_flips: int
    """Rounds of a row's greedy search; each flips one bit."""
    shortlist: int
    """Bits that all rounds but the first look at."""
    chunk: int
    """Rows after which one sequence of codes is decided on."""


class Workspace(NamedTuple):
    """Memory that a search overwrites."""

    beams: F32
    """(2, n, reach, bits): signs of the last rows, n the beam width, reach max(history, chunk)."""
    costs: F32
    """(2, n): costs of the beams, in rising order."""
    origins: I64
    """(2, n): the beam that each new one continues, and the bits flipped in its row."""
    bits: F32
    """(2, bits): costs of the first round, and signs."""
    sums: F32
    """(inner,)."""
    predicted: F32
    """(width,)."""


def search_codes(
    latents: F32,
    target: F32,
    predictor: Predictor,
    settings: Settings,
    past: F32,
    workspace: Workspace,
    signs: F32,
) -> None:
    """Write the signs s of codes that minimise the sum of J over each chunk, of those visited.

    ``J(s) = |predicted(s) - target[m]| ** 2 - prior sum_j s[j] latents[m, j]``
    ``predicted(s) = relu(first_bias + sum_kj first[k, j] past[k, j]) second + second_bias``

    where past[0] = s, and past[k] is the choice k rows before. Of a row the search visits the
    signs of the latents, then up to `max_flips` times each flip of one bit. The flip with the
    smallest J stays; the rounds end where none reduces J. The first round visits all bits; later
    ones the `shortlist` best of the first, without the bit that it flipped. Up to the chunk's end
    the n cheapest sequences continue (the M-algorithm: Jelinek, Anderson, Instrumentable tree
    encoding of information sources, IEEE Trans. Inf. Theory 17, 1971).

    Parameters
    ----------
    latents : numpy.ndarray
        (rows, bits) float32, whole chunks.
    target : numpy.ndarray
        (rows, width) float32.
    predictor, settings : Predictor, Settings
        The network, and how to search.
    past : numpy.ndarray
        (history, bits) float32: the last rows of signs, the newest first; 0 before the first one.
        The call advances it by all rows.
    workspace : Workspace
        Overwritten.
    signs : numpy.ndarray
        (rows, bits) float32, may be `latents`.
    """
    arguments: tuple[Any, ...] = (*predictor, *settings, past, *workspace, signs)
    _search(latents, target, *arguments)


@inline
def _squared_error(
    sums: F32,
    sign: Scalar,
    flipped: F32,
    second: F32,
    second_bias: F32,
    target: F32,
    predicted: F32,
) -> Scalar:
    """Return ``|relu(sums - 2 sign flipped) second + second_bias - target| ** 2``."""
    for q in range(predicted.size):
        predicted[q] = second_bias[q] - target[q]
    for n in range(sums.size):
        active = sums[n] - np.float32(2) * sign * flipped[n]
        if active > 0:
            for q in range(predicted.size):
                predicted[q] += active * second[n, q]
    squares = np.float32(0)
    for q in range(predicted.size):
        squares += predicted[q] * predicted[q]
    return squares


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
def _shortlist(costs: F32, flipped: int, size: int) -> None:
    """Set all costs to infinity but the `size` least of the bits other than `flipped`."""
    costs[flipped] = np.inf
    remaining = costs.size - 1
    while remaining > size:
        most = -1
        for j in range(costs.size):
            if costs[j] < np.inf and (most < 0 or costs[j] > costs[most]):
                most = j
        costs[most] = np.inf
        remaining -= 1


@inline
def _start_row(latents: F32, beam: F32, first: F32, first_bias: F32, now: F32, sums: F32) -> None:
    """``now = sign(latents)``; ``sums = first_bias + sum_kj first[k, j] past[k, j]``.

    past[0] is now, and past[k] row k - 1 of the beam.
    """
    for j in range(now.size):
        now[j] = np.float32(1) if latents[j] > 0 else np.float32(-1)
    for n in range(sums.size):
        sums[n] = first_bias[n]
    for k in range(first.shape[0]):
        for j in range(now.size):
            sign = beam[k - 1, j] if k else now[j]
            for n in range(sums.size):
                sums[n] += sign * first[k, j, n]


@inline
def _search_row(
    latents: F32,
    target: F32,
    network: Predictor,
    settings: Settings,
    work: Workspace,
    new: int,
    beam: int,
    n: int,
    base: Scalar,
) -> int:
    """Insert the visited codes of a row that follow a beam of cost `base`; return how many stay."""
    twice, now, first_costs = np.float32(2) * np.float32(settings.prior), work.bits[1], work.bits[0]
    sums, predicted = work.sums, work.predicted
    first, second, second_bias = network.first, network.second, network.second_bias
    costs, origins = work.costs[new], work.origins
    none = np.float32(0)
    flips = 0
    error = _squared_error(sums, none, first[0, 0], second, second_bias, target, predicted)
    least = base + error
    n = _insert_into_beam(costs, origins, n, least, beam, flips)
    for turn in range(settings.max_flips):
        best, smallest = -1, least
        for j in range(now.size):
            if turn and first_costs[j] == np.inf:
                continue
            cost = base + twice * now[j] * latents[j]
            cost += _squared_error(
                sums, now[j], first[0, j], second, second_bias, target, predicted
            )
            if not turn:
                first_costs[j] = cost
            n = _insert_into_beam(costs, origins, n, cost, beam, flips ^ (1 << j))
            if cost < smallest:
                smallest, best = cost, j
        if best < 0:
            break
        if not turn:
            _shortlist(first_costs, best, settings.shortlist)
        for i in range(sums.size):
            sums[i] -= np.float32(2) * now[best] * first[0, best, i]
        base += twice * now[best] * latents[best]
        now[best] = -now[best]
        flips ^= 1 << best
        least = smallest
    return n


@inline
def _extend(latents: F32, flips: int, before: F32, after: F32) -> None:
    """``after[0] = sign(latents)`` with bits flipped; ``after[i] = before[i - 1]``."""
    reach, bits = after.shape
    for i in range(1, reach):
        for j in range(bits):
            after[i, j] = before[i - 1, j]
    for j in range(bits):
        sign = np.float32(1) if latents[j] > 0 else np.float32(-1)
        after[0, j] = -sign if (flips >> j) & 1 else sign


@kernel
def _search(
    latents: F32,
    target: F32,
    first: F32,
    first_bias: F32,
    second: F32,
    second_bias: F32,
    prior: Scalar,
    max_flips: int,
    shortlist: int,
    chunk: int,
    past: F32,
    beams: F32,
    costs: F32,
    origins: I64,
    bits: F32,
    sums: F32,
    predicted: F32,
    signs: F32,
) -> None:
    """Search codes; see `search_codes`, whose named tuples are flat here, as libraries need it."""
    network = Predictor(first, first_bias, second, second_bias)
    settings = Settings(prior, max_flips, shortlist, chunk)
    work = Workspace(beams, costs, origins, bits, sums, predicted)
    n_beams = 1
    for m in range(latents.shape[0]):
        old, new = m % 2, (m + 1) % 2
        if m % chunk == 0:
            n_beams = 1
            costs[old, 0] = 0
            for i in range(past.shape[0]):
                for j in range(past.shape[1]):
                    beams[old, 0, i, j] = past[i, j]
        n = 0
        for beam in range(n_beams):
            _start_row(latents[m], beams[old, beam], first, first_bias, bits[1], sums)
            base = costs[old, beam]
            n = _search_row(latents[m], target[m], network, settings, work, new, beam, n, base)
        is_last = (m + 1) % chunk == 0
        n_beams = 1 if is_last else n
        for beam in range(n_beams):
            _extend(latents[m], origins[1, beam], beams[old, origins[0, beam]], beams[new, beam])
        if is_last:
            for j in range(past.shape[1]):
                for i in range(past.shape[0]):
                    past[i, j] = beams[new, 0, i, j]
                for i in range(chunk):
                    signs[m - i, j] = beams[new, 0, i, j]
