"""The search for codes: against its formula, flip by flip, in float64."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.ops import code_search

F64 = NDArray[np.float64]


def predict(past: F64, first: F64, bias: F64, second: F64, second_bias: F64) -> F64:
    sums = bias + np.einsum("kj,kjn->n", past, first)
    return np.asarray(np.maximum(sums, 0) @ second + second_bias)


def plain(
    latents: F64,
    target: F64,
    weights: tuple[F64, ...],
    settings: tuple[float, int, int, int, int],
    past: F64,
) -> tuple[F64, float]:
    """Return signs, and the least difference of compared costs: a tie is no error."""
    prior, max_flips, shortlist, chunk, n_beams = settings
    bits = latents.shape[1]
    margin = np.inf

    def cost(now: F64, before: list[F64], m: int) -> float:
        known = [now, *before[::-1], *past][: len(past)]
        error = predict(np.array(known), *weights) - target[m]
        return float(error @ error - prior * now @ latents[m])

    def least(costs: list[float], n: int) -> list[int]:
        nonlocal margin
        order = sorted(range(len(costs)), key=costs.__getitem__)
        if 0 < n < len(costs):
            margin = min(margin, costs[order[n]] - costs[order[n - 1]])
        return order[:n]

    signs = []
    for start in range(0, len(latents), chunk):
        beams: list[tuple[float, list[F64]]] = [(0.0, [])]
        for m in range(start, start + chunk):
            visited: list[tuple[float, list[F64]]] = []
            for total, before in beams:
                now = np.where(latents[m] > 0, 1.0, -1.0)
                costs_of = {tuple(now): cost(now, before, m)}
                tried = list(range(bits))
                for turn in range(max_flips):
                    costs = []
                    for j in tried:
                        flipped = now.copy()
                        flipped[j] *= -1
                        costs.append(cost(flipped, before, m))
                        costs_of.setdefault(tuple(flipped), costs[-1])
                    (best,) = least(costs, 1)
                    margin = min(margin, abs(costs[best] - costs_of[tuple(now)]))
                    if costs[best] >= costs_of[tuple(now)]:
                        break
                    now[tried[best]] *= -1
                    if turn == 0:
                        del tried[best], costs[best]
                        tried = [tried[i] for i in least(costs, min(shortlist, len(costs)))]
                    if not tried:
                        break
                visited += [(total + c, [*before, np.array(s)]) for s, c in costs_of.items()]
            is_last = m == start + chunk - 1
            n = 1 if is_last else min(n_beams, len(visited))
            beams = [visited[i] for i in least([c for c, _ in visited], n)]
        signs += beams[0][1]
        past[:] = np.array([*beams[0][1][::-1], *past])[: len(past)]
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


def search(
    latents: F32,
    target: F32,
    weights: tuple[F32, ...],
    settings: tuple[float, int, int, int, int],
    past: F32,
) -> F32:
    signs = np.full_like(latents, np.nan)
    chosen = prepared(weights, settings)
    chosen(latents, target, past, poisoned(chosen), signs)
    return signs


def prepared(
    weights: tuple[F32, ...], settings: tuple[float, int, int, int, int]
) -> code_search.CodeSearch:
    prior, max_flips, shortlist, chunk, n_beams = settings
    chosen = code_search.Settings(np.float32(prior), max_flips, shortlist, chunk, n_beams)
    return code_search.CodeSearch(code_search.Predictor(*weights), chosen)


def poisoned(chosen: code_search.CodeSearch) -> code_search.Workspace:
    """Return workspace that holds nothing of use."""
    work = chosen.workspace()
    for array in work:
        array[:] = np.nan if array.dtype == np.float32 else -1
    return work


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 2, 7, 5), (11, 8, 33, 9)])
@pytest.mark.parametrize("max_flips", [0, 1, 4])
@pytest.mark.parametrize("chunk", [1, 3, 4])
@pytest.mark.parametrize(("shortlist", "n_beams"), [(16, 1), (1, 1), (2, 2), (16, 5), (0, 3)])
def test_against_formula(
    shape: tuple[int, ...], max_flips: int, chunk: int, shortlist: int, n_beams: int
) -> None:
    compared = 0
    for seed in range(10):
        latents, target, weights = drawn(seed, 2 * chunk, *shape)
        settings = (3.0 * (seed % 2), max_flips, shortlist, chunk, n_beams)
        past = np.zeros((shape[1], shape[0]))
        as_double = tuple(x.astype(np.float64) for x in weights)
        doubles = latents.astype(np.float64), target.astype(np.float64)
        signs, margin = plain(*doubles, as_double, settings, past)
        if margin > 1e-4:
            compared += 1
            moved = np.zeros((shape[1], shape[0]), np.float32)
            np.testing.assert_array_equal(search(latents, target, weights, settings, moved), signs)
            np.testing.assert_array_equal(moved, past)
    assert compared


@pytest.mark.parametrize(("max_flips", "n_beams", "share"), [(4, 1, 0.9), (4, 4, 0.88)])
def test_searched_codes_predict_better(max_flips: int, n_beams: int, share: float) -> None:
    """The target is predicted better from searched codes, and with more beams."""
    latents, target, weights = drawn(1, 200, 16, 8, 64, 12)
    error = []
    for settings in ((0.5, 0, 16, 4, 1), (0.5, max_flips, 16, 4, n_beams)):
        signs = search(latents, target, weights, settings, np.zeros((8, 16), np.float32))
        padded = np.vstack([np.zeros((7, 16), np.float32), signs])
        found = [
            predict(padded[m : m + 8][::-1].astype(np.float64), *map(np.float64, weights))
            for m in range(200)
        ]
        error.append(np.square(np.array(found) - target).sum(1).mean())
    assert error[1] < share * error[0]


def test_a_stream_in_pieces_equals_one_call() -> None:
    latents, target, weights = drawn(2, 24, 12, 6, 40, 10)
    settings = (1.0, 3, 5, 4, 3)
    at_once = search(latents, target, weights, settings, np.zeros((6, 12), np.float32))
    past = np.zeros((6, 12), np.float32)
    pieces = [
        search(latents[a:b], target[a:b], weights, settings, past)
        for a, b in ((0, 4), (4, 4), (4, 12), (12, 24))
    ]
    np.testing.assert_array_equal(np.concatenate(pieces), at_once)


def test_signs_may_overwrite_latents() -> None:
    latents, target, weights = drawn(4, 12, 16, 8, 16, 6)
    settings = (1.0, 3, 8, 4, 2)
    error = search(latents, target, weights, settings, np.zeros((8, 16), np.float32))
    chosen = prepared(weights, settings)
    chosen(latents, target, np.zeros((8, 16), np.float32), chosen.workspace(), latents)
    np.testing.assert_array_equal(latents, error)


def test_without_flips_they_are_the_signs() -> None:
    latents, target, weights = drawn(3, 8, 16, 8, 16, 4)
    signs = search(latents, target, weights, (1.0, 0, 16, 4, 1), np.zeros((8, 16), np.float32))
    np.testing.assert_array_equal(signs, np.where(latents > 0, 1, -1))


@pytest.mark.parametrize("shape", [(11, 3, 70, 13), (16, 8, 256, 40)])
def test_every_set_of_instructions_gives_the_same_bits(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    latents, target, weights = drawn(5, 12, *shape)
    results = []
    for using in instructions.supported():
        monkeypatch.setattr(instructions, "CHOICE", using.name)
        chosen = prepared(weights, (2.0, 3, 6, 4, 2))
        signs, work = np.zeros_like(latents), chosen.workspace()
        chosen(latents, target, np.zeros(shape[1::-1], np.float32), work, signs)
        arrays = signs, work.costs, work.first_costs, work.sums
        results.append(b"".join(array.tobytes() for array in arrays))
    assert results == results[:1] * len(results)


def test_rectify_and_join_against_numpy() -> None:
    x, y, _ = drawn(6, 5, 3, 1, 2, 7)
    out = np.full((5, 10), np.nan, np.float32)
    code_search.join(x, y, out)
    np.testing.assert_array_equal(out, np.hstack([x, y]))
    code_search.rectify(out)
    np.testing.assert_array_equal(out, np.maximum(np.hstack([x, y]), 0))
