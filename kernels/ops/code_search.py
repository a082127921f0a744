"""The choice of codes by what a small network tells of them (analysis by synthesis)."""

import numpy as np

from fcs_edge.kernels._types import F32, I64, Scalar
from fcs_edge.kernels.runtime._jit import inline, reduction


@inline
def _apart(
    sums: F32, sign: Scalar, flipped: F32, second: F32, second_bias: F32, wanted: F32, told: F32
) -> Scalar:
    """Return ``|relu(sums - 2 sign flipped) second + second_bias - wanted| ** 2``."""
    for q in range(told.size):
        told[q] = second_bias[q] - wanted[q]
    for n in range(sums.size):
        active = sums[n] - np.float32(2) * sign * flipped[n]
        if active > 0:
            for q in range(told.size):
                told[q] += active * second[n, q]
    squares = np.float32(0)
    for q in range(told.size):
        squares += told[q] * told[q]
    return squares


@inline
def _kept(costs: F32, found: I64, n: int, cost: Scalar, way: int, flips: int) -> int:
    """Keep a way's code where it is among the cheapest, once; return how many are kept."""
    for r in range(n):
        if found[0, r] == way and found[1, r] == flips:
            return n
    at = n
    while at > 0 and cost < costs[at - 1]:
        at -= 1
    if at == costs.size:
        return n
    n = min(n + 1, costs.size)
    for r in range(n - 1, at, -1):
        costs[r], found[0, r], found[1, r] = costs[r - 1], found[0, r - 1], found[1, r - 1]
    costs[at], found[0, at], found[1, at] = cost, way, flips
    return n


@inline
def _leave(judged: F32, taken: int, tries: int) -> None:
    """Set all of `judged` to infinity but the least `tries` of those that were not taken."""
    judged[taken] = np.inf
    left = judged.size - 1
    while left > tries:
        most = -1
        for j in range(judged.size):
            if judged[j] < np.inf and (most < 0 or judged[j] > judged[most]):
                most = j
        judged[most] = np.inf
        left -= 1


@reduction
def choose(
    latents: F32,
    wanted: F32,
    first: F32,
    first_bias: F32,
    second: F32,
    second_bias: F32,
    prior: Scalar,
    passes: int,
    tries: int,
    chunk: int,
    past: F32,
    ways: F32,
    costs: F32,
    found: I64,
    bit: F32,
    sums: F32,
    told: F32,
    signs: F32,
) -> None:
    """Write for each chunk of rows the signs s, of those looked at, of which the sum of J is least.

    ``J(s) = |told(s) - wanted[m]| ** 2 - prior sum_j s[j] latents[m, j]``
    ``told(s) = relu(first_bias + sum_kj first[k, j] past[k, j]) second + second_bias``

    where past[0] = s, and past[k] is what was chosen k rows before, 0 before the first. Of a row
    are looked at: the signs of the latents, and what they are with each flip of up to `passes`
    times; each time the one flip that makes J smallest is taken, and it ends where none makes it
    smaller. All flips are tried the first time; after it only `tries`, those that were best in it
    but for the one taken. Up to the chunk's end the n cheapest ways are kept, and gone on from (the
    M-algorithm; Jelinek, Anderson, Instrumentable tree encoding of information sources, IEEE Trans.
    Inf. Theory 17, 1971).

    latents, signs (rows, bits), whole chunks, and they may be the same; wanted (rows, wide); first
    (history, bits, inner); first_bias and sums (inner,); second (inner, wide); second_bias and told
    (wide,); past (history, bits) is moved on by all rows. Written over are ways (2, n, reach,
    bits), where reach is the larger of history and chunk, costs (2, n), found (2, n), bit (2,
    bits), sums and told.
    """
    rows, bits = latents.shape
    history, reach = first.shape[0], ways.shape[2]
    none, twice = np.float32(0), np.float32(2) * np.float32(prior)
    judged, now = bit[0], bit[1]
    n_ways = 1
    for m in range(rows):
        here, there = m % 2, (m + 1) % 2
        if m % chunk == 0:
            n_ways = 1
            costs[here, 0] = 0
            for i in range(history):
                for j in range(bits):
                    ways[here, 0, i, j] = past[i, j]
        n_found = 0
        for way in range(n_ways):
            for j in range(bits):
                now[j] = np.float32(1) if latents[m, j] > 0 else np.float32(-1)
            for n in range(sums.size):
                sums[n] = first_bias[n]
            for k in range(history):
                for j in range(bits):
                    sign = ways[here, way, k - 1, j] if k else now[j]
                    for n in range(sums.size):
                        sums[n] += sign * first[k, j, n]
            flips, turned = 0, costs[here, way]
            least = turned + _apart(sums, none, first[0, 0], second, second_bias, wanted[m], told)
            n_found = _kept(costs[there], found, n_found, least, way, flips)
            for again in range(passes):
                best, smallest = -1, least
                for j in range(bits):
                    if again and judged[j] == np.inf:
                        continue
                    cost = turned + twice * now[j] * latents[m, j]
                    cost += _apart(sums, now[j], first[0, j], second, second_bias, wanted[m], told)
                    if not again:
                        judged[j] = cost
                    n_found = _kept(costs[there], found, n_found, cost, way, flips ^ (1 << j))
                    if cost < smallest:
                        smallest, best = cost, j
                if best < 0:
                    break
                if not again:
                    _leave(judged, best, tries)
                for n in range(sums.size):
                    sums[n] -= np.float32(2) * now[best] * first[0, best, n]
                turned += twice * now[best] * latents[m, best]
                now[best] = -now[best]
                flips ^= 1 << best
                least = smallest
        is_last = (m + 1) % chunk == 0
        n_ways = 1 if is_last else n_found
        for way in range(n_ways):
            before, flips = found[0, way], found[1, way]
            for i in range(1, reach):
                for j in range(bits):
                    ways[there, way, i, j] = ways[here, before, i - 1, j]
            for j in range(bits):
                sign = np.float32(1) if latents[m, j] > 0 else np.float32(-1)
                ways[there, way, 0, j] = -sign if (flips >> j) & 1 else sign
        if is_last:
            for j in range(bits):
                for i in range(history):
                    past[i, j] = ways[there, 0, i, j]
                for i in range(chunk):
                    signs[m - i, j] = ways[there, 0, i, j]
