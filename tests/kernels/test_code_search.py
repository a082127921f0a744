"""The search for codes: against its formula, flip by flip, in float64."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.ops import code_search

F64 = NDArray[np.float64]


def told(past: F64, first: F64, bias: F64, second: F64, second_bias: F64) -> F64:
    sums = bias + np.einsum("kj,kjn->n", past, first)
    return np.asarray(np.maximum(sums, 0) @ second + second_bias)


def plain(
    latents: F64,
    wanted: F64,
    weights: tuple[F64, ...],
    settings: tuple[float, int, int, int, int],
    past: F64,
) -> tuple[F64, float]:
    """Return signs, and the least that separated costs that were compared: a tie is no error."""
    prior, passes, tries, chunk, n_ways = settings
    bits = latents.shape[1]
    margin = np.inf

    def cost(now: F64, before: list[F64], m: int) -> float:
        known = [now, *before[::-1], *past][: len(past)]
        apart = told(np.array(known), *weights) - wanted[m]
        return float(apart @ apart - prior * now @ latents[m])

    def least(costs: list[float], n: int) -> list[int]:
        nonlocal margin
        order = sorted(range(len(costs)), key=costs.__getitem__)
        if 0 < n < len(costs):
            margin = min(margin, costs[order[n]] - costs[order[n - 1]])
        return order[:n]

    signs = []
    for start in range(0, len(latents), chunk):
        ways: list[tuple[float, list[F64]]] = [(0.0, [])]
        for m in range(start, start + chunk):
            seen: list[tuple[float, list[F64]]] = []
            for total, before in ways:
                now = np.where(latents[m] > 0, 1.0, -1.0)
                looked_at = {tuple(now): cost(now, before, m)}
                tried = list(range(bits))
                for again in range(passes):
                    costs = []
                    for j in tried:
                        flipped = now.copy()
                        flipped[j] *= -1
                        costs.append(cost(flipped, before, m))
                        looked_at.setdefault(tuple(flipped), costs[-1])
                    (best,) = least(costs, 1)
                    margin = min(margin, abs(costs[best] - looked_at[tuple(now)]))
                    if costs[best] >= looked_at[tuple(now)]:
                        break
                    now[tried[best]] *= -1
                    if again == 0:
                        del tried[best], costs[best]
                        tried = [tried[i] for i in least(costs, min(tries, len(costs)))]
                    if not tried:
                        break
                seen += [(total + c, [*before, np.array(s)]) for s, c in looked_at.items()]
            is_last = m == start + chunk - 1
            n = 1 if is_last else min(n_ways, len(seen))
            ways = [seen[i] for i in least([c for c, _ in seen], n)]
        signs += ways[0][1]
        past[:] = np.array([*ways[0][1][::-1], *past])[: len(past)]
    return np.array(signs), margin


def drawn(
    seed: int, rows: int, bits: int, history: int, inner: int, wide: int
) -> tuple[F32, F32, tuple[F32, ...]]:
    random = np.random.default_rng(seed)

    def normal(*shape: int) -> F32:
        return random.standard_normal(shape, dtype=np.float32)

    weights = (
        normal(history, bits, inner) * np.float32((history * bits) ** -0.5),
        normal(inner),
        normal(inner, wide) * np.float32(inner**-0.5),
        normal(wide),
    )
    latents = normal(rows, bits)
    latents /= np.sqrt(np.square(latents).sum(1, keepdims=True))
    return latents, 2 * normal(rows, wide), weights


def choose(
    latents: F32,
    wanted: F32,
    weights: tuple[F32, ...],
    settings: tuple[float, int, int, int, int],
    past: F32,
) -> F32:
    prior, passes, tries, chunk, n_ways = settings
    signs = np.full_like(latents, np.nan)
    bits, (inner, wide) = latents.shape[1], weights[2].shape
    work = (
        np.full((2, n_ways, max(chunk, len(past)), bits), np.nan, np.float32),
        np.full((2, n_ways), np.nan, np.float32),
        np.full((2, n_ways), -1, np.int64),
        np.full((2, bits), np.nan, np.float32),
        np.empty(inner, np.float32),
        np.empty(wide, np.float32),
    )
    code_search.choose(
        latents, wanted, *weights, np.float32(prior), passes, tries, chunk, past, *work, signs
    )
    return signs


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 2, 7, 5), (11, 8, 33, 9)])
@pytest.mark.parametrize("passes", [0, 1, 4])
@pytest.mark.parametrize("chunk", [1, 3, 4])
@pytest.mark.parametrize(("tries", "n_ways"), [(16, 1), (1, 1), (2, 2), (16, 5), (0, 3)])
def test_against_formula(
    shape: tuple[int, ...], passes: int, chunk: int, tries: int, n_ways: int
) -> None:
    compared = 0
    for seed in range(10):
        latents, wanted, weights = drawn(seed, 2 * chunk, *shape)
        settings = (3.0 * (seed % 2), passes, tries, chunk, n_ways)
        past = np.zeros((shape[1], shape[0]))
        as_double = tuple(x.astype(np.float64) for x in weights)
        doubles = latents.astype(np.float64), wanted.astype(np.float64)
        signs, margin = plain(*doubles, as_double, settings, past)
        if margin > 1e-4:
            compared += 1
            moved = np.zeros((shape[1], shape[0]), np.float32)
            np.testing.assert_array_equal(choose(latents, wanted, weights, settings, moved), signs)
            np.testing.assert_array_equal(moved, past)
    assert compared


@pytest.mark.parametrize(("passes", "n_ways", "share"), [(4, 1, 0.9), (4, 4, 0.88)])
def test_it_finds_codes_that_tell_more(passes: int, n_ways: int, share: float) -> None:
    """What is wanted is told better of codes that were searched for, and of more ways."""
    latents, wanted, weights = drawn(1, 200, 16, 8, 64, 12)
    apart = []
    for settings in ((0.5, 0, 16, 4, 1), (0.5, passes, 16, 4, n_ways)):
        signs = choose(latents, wanted, weights, settings, np.zeros((8, 16), np.float32))
        padded = np.vstack([np.zeros((7, 16), np.float32), signs])
        found = [
            told(padded[m : m + 8][::-1].astype(np.float64), *map(np.float64, weights))
            for m in range(200)
        ]
        apart.append(np.square(np.array(found) - wanted).sum(1).mean())
    assert apart[1] < share * apart[0]


def test_a_stream_in_pieces_is_the_whole() -> None:
    latents, wanted, weights = drawn(2, 24, 12, 6, 40, 10)
    settings = (1.0, 3, 5, 4, 3)
    whole = choose(latents, wanted, weights, settings, np.zeros((6, 12), np.float32))
    past = np.zeros((6, 12), np.float32)
    pieces = [
        choose(latents[a:b], wanted[a:b], weights, settings, past)
        for a, b in ((0, 4), (4, 4), (4, 12), (12, 24))
    ]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_signs_may_take_the_place_of_latents() -> None:
    latents, wanted, weights = drawn(4, 12, 16, 8, 16, 6)
    settings = (1.0, 3, 8, 4, 2)
    apart = choose(latents, wanted, weights, settings, np.zeros((8, 16), np.float32))
    work = (
        *(np.empty(s, np.float32) for s in ((2, 2, 8, 16), (2, 2))),
        np.empty((2, 2), np.int64),
        *(np.empty(s, np.float32) for s in ((2, 16), 16, 6)),
    )
    past = np.zeros((8, 16), np.float32)
    code_search.choose(
        latents, wanted, *weights, np.float32(1), *settings[1:4], past, *work, latents
    )
    np.testing.assert_array_equal(latents, apart)


def test_without_passes_they_are_the_signs() -> None:
    latents, wanted, weights = drawn(3, 8, 16, 8, 16, 4)
    signs = choose(latents, wanted, weights, (1.0, 0, 16, 4, 1), np.zeros((8, 16), np.float32))
    np.testing.assert_array_equal(signs, np.where(latents > 0, 1, -1))
