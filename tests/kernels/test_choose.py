"""The search for codes: against its formula, flip by flip, in float64."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge.kernels import choose as kernels
from fcs_edge.kernels._types import F32

F64 = NDArray[np.float64]


def told(past: F64, first: F64, bias: F64, second: F64, second_bias: F64) -> F64:
    sums = bias + np.einsum("kj,kjn->n", past, first)
    return np.asarray(np.maximum(sums, 0) @ second + second_bias)


def plain(
    latents: F64, wanted: F64, weights: tuple[F64, ...], prior: float, passes: int, past: F64
) -> tuple[F64, float]:
    """Return signs, and the least that separated the best flip from the next: a tie is no error."""
    signs, margin = np.zeros_like(latents), np.inf

    def cost(now: F64, m: int) -> float:
        apart = told(np.vstack([now[None], past[1:]]), *weights) - wanted[m]
        return float(apart @ apart - prior * now @ latents[m])

    for m in range(len(latents)):
        past[1:] = past[:-1].copy()
        past[0] = np.where(latents[m] > 0, 1, -1)
        for _ in range(passes):
            costs = [cost(past[0], m)]
            for j in range(latents.shape[1]):
                flipped = past[0].copy()
                flipped[j] *= -1
                costs.append(cost(flipped, m))
            best = int(np.argmin(costs))
            in_order = np.sort(costs)
            margin = min(margin, float(in_order[1] - in_order[0]))
            if best == 0:
                break
            past[0, best - 1] *= -1
        signs[m] = past[0]
    return signs, margin


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
    latents: F32, wanted: F32, weights: tuple[F32, ...], prior: float, passes: int, past: F32
) -> F32:
    signs = np.full_like(latents, np.nan)
    inner, wide = weights[2].shape
    work = np.empty(inner, np.float32), np.empty(wide, np.float32)
    kernels.choose(latents, wanted, *weights, np.float32(prior), passes, past, *work, signs)
    return signs


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1), (5, 3, 2, 7, 5), (4, 11, 8, 33, 9)])
@pytest.mark.parametrize("passes", [0, 1, 4])
@pytest.mark.parametrize("prior", [0.0, 3.0])
def test_against_formula(shape: tuple[int, ...], passes: int, prior: float) -> None:
    for seed in range(5):
        latents, wanted, weights = drawn(seed, *shape)
        past = np.zeros((shape[2], shape[1]))
        as_double = tuple(x.astype(np.float64) for x in weights)
        signs, margin = plain(
            latents.astype(np.float64), wanted.astype(np.float64), as_double, prior, passes, past
        )
        if margin > 1e-4:
            moved = np.zeros((shape[2], shape[1]), np.float32)
            np.testing.assert_array_equal(
                choose(latents, wanted, weights, prior, passes, moved), signs
            )
            np.testing.assert_array_equal(moved, past)


def test_it_finds_codes_that_tell_more() -> None:
    """What is wanted is told better of codes that were searched for than of signs alone."""
    latents, wanted, weights = drawn(1, 200, 16, 8, 64, 12)
    apart = []
    for passes in (0, 4):
        signs = choose(latents, wanted, weights, 0.5, passes, np.zeros((8, 16), np.float32))
        padded = np.vstack([np.zeros((7, 16), np.float32), signs])
        found = [
            told(padded[m : m + 8][::-1].astype(np.float64), *map(np.float64, weights))
            for m in range(200)
        ]
        apart.append(np.square(np.array(found) - wanted).sum(1).mean())
    assert apart[1] < 0.9 * apart[0]


def test_a_stream_in_pieces_is_the_whole() -> None:
    latents, wanted, weights = drawn(2, 24, 12, 6, 40, 10)
    whole = choose(latents, wanted, weights, 1.0, 3, np.zeros((6, 12), np.float32))
    past = np.zeros((6, 12), np.float32)
    pieces = [
        choose(latents[a:b], wanted[a:b], weights, 1.0, 3, past)
        for a, b in ((0, 1), (1, 4), (4, 4), (4, 24))
    ]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_without_passes_they_are_the_signs() -> None:
    latents, wanted, weights = drawn(3, 9, 16, 8, 16, 4)
    signs = choose(latents, wanted, weights, 1.0, 0, np.zeros((8, 16), np.float32))
    np.testing.assert_array_equal(signs, np.where(latents > 0, 1, -1))
