"""Priors that are trained: the loops by plain references, and what training reaches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.convert import prior_network, prior_training
from fcs_edge.convert.prior_file import add_prior, integers, measured
from fcs_edge.convert.prior_kernels import kernels
from fcs_edge.convert.prior_training import Plan, block_inputs, plan_for, train
from fcs_edge.errors import FcsError
from fcs_edge.modelfile import model_file


def structured(bits: int, count: int, seed: int) -> NDArray[np.uint16]:
    """Tokens whose bits mostly repeat those of the token before, each flipped now and then."""
    rng = np.random.default_rng(seed)
    flips = rng.random((count, bits)) < 0.05
    values = np.cumsum(flips, axis=0) % 2
    return (values @ (1 << np.arange(bits)[::-1])).astype(np.uint16)


def plain_cost(
    used: prior_network.Parameters, inputs: NDArray[np.int8], signs: NDArray[np.int8]
) -> float:
    """The formula of `gradients`, in float64 and nats."""
    values = [np.asarray(value, np.float64) for value in used]
    context, bias, step, output, context_skip, bias_skip, step_skip = values
    given, y = inputs / 64, signs.astype(np.float64)
    total = 0.0
    for i in range(y.shape[1]):
        hidden = given @ context + bias + y[:, :i] @ step[:i]
        logits = np.maximum(hidden, 0) @ output[i] + given @ context_skip[:, i] + bias_skip[i]
        logits += y[:, :i] @ step_skip[:i, i]
        total += np.logaddexp(0, -y[:, i] * logits).sum()
    return total


@pytest.mark.parametrize(("bits", "hidden"), [(1, 8), (5, 13), (16, 9)])
def test_gradients_are_slopes_of_the_cost(bits: int, hidden: int) -> None:
    rng = np.random.default_rng(bits)
    network = prior_network.Network(bits, hidden, rng)
    values = rng.normal(0, 0.2, network.values().shape).astype(np.float32)
    network.restore(values)
    inputs, signs = block_inputs([structured(bits, 17, 1)], bits, 100)
    used = network.parameters
    given = inputs.astype(np.float32) / 64
    slopes = [np.zeros_like(value) for value in used]
    hidden_slopes, logit_slopes = (
        given @ used.context + used.bias,
        given @ used.context_skip + used.bias_skip,
    )
    weights = used.step, used.output, used.step_skip
    cost = kernels().gradients(
        hidden_slopes, logit_slopes, signs, *weights, slopes[2], slopes[3], slopes[6]
    )
    assert cost * np.log(2) == pytest.approx(plain_cost(used, inputs, signs), rel=1e-5)
    slopes[0], slopes[1] = given.T @ hidden_slopes, hidden_slopes.sum(0)
    slopes[4], slopes[5] = given.T @ logit_slopes, logit_slopes.sum(0)
    found = np.concatenate([slope.ravel() for slope in slopes])
    direction = rng.normal(size=values.shape)
    costs = []
    for sign in (1, -1):
        moved = np.asarray(values + sign * 1e-4 * direction, np.float64)
        parts = prior_network.views(moved, bits, hidden)  # type: ignore[arg-type]
        lower = np.triu(parts.step_skip, 1)
        costs.append(plain_cost(parts._replace(step_skip=lower), inputs, signs))
    slope = (costs[0] - costs[1]) / 2e-4
    # A hidden value may pass zero between the two points.
    assert slope == pytest.approx(float(found @ direction), rel=2e-2, abs=2e-2)


@pytest.mark.parametrize("bits", [1, 11, 16])
def test_training_lowers_the_bits_of_tokens_with_structure(bits: int) -> None:
    recordings = [structured(bits, 2000, seed) for seed in range(4)]
    held_out = [structured(bits, 700, 9)]
    shares: list[float] = []
    found = train(
        recordings,
        held_out,
        bits,
        Plan(hidden=12, passes=8, block=50),
        lambda progress: shares.append(progress.share),
    )
    prior = integers(found)
    assert prior.bits == bits
    entropy = bits * 0.2864
    coded = measured(prior, held_out, 50)
    # The first token of each block has nothing before it, and each block ends in a whole byte.
    assert entropy < coded < entropy + bits / 50 + 0.25 * bits + 0.25
    ideal = float(np.mean(prior_network.costs(found, *block_inputs(held_out, bits, 50))))
    assert coded == pytest.approx(ideal + 0.1, abs=0.12)
    assert shares[-1] == 1
    assert shares == sorted(shares)


def test_what_training_learns_from_decides_it_alone() -> None:
    recordings = [structured(3, 1500, seed) for seed in range(2)]
    plan = Plan(hidden=8, passes=3)
    first, second = (train(recordings, recordings[:1], 3, plan) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_time_ends_training() -> None:
    recordings = [structured(3, 3000, 0)]
    shares: list[float] = []
    plan = Plan(hidden=8, passes=1e9, minutes=0.005)
    train(recordings, recordings, 3, plan, lambda progress: shares.append(progress.share))
    assert shares[-1] == 1


def test_no_structure_is_refused() -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 4, 300).astype(np.uint16) for _ in range(2)]
    found = train(noise, noise[1:], 2, Plan(hidden=8, passes=1))
    with pytest.raises(FcsError, match="give more speech"):
        measured(integers(found), [rng.integers(0, 4, 300).astype(np.uint16)], 12)


def test_a_plan_follows_from_the_tokens() -> None:
    assert plan_for(2_800_000, 50).hidden == 512
    assert plan_for(10_000, 50).hidden < 128
    assert plan_for(10_000, 50).passes > plan_for(10_000_000, 50).passes
    assert plan_for(10_000, 12.5).block == 24
    assert plan_for(10_000, 50) == plan_for(10_000, 50, hidden=None, minutes=45.0)
    assert plan_for(10_000, 50, hidden=300, passes=2.5)[:3] == (300, 45, 2.5)


def test_a_model_file_receives_priors(tiny: fcs_edge.Codec, tmp_path: Path) -> None:
    bits = tiny.bits_per_token
    recordings = [structured(bits, 600, 5)]
    priors = [
        integers(train(recordings, recordings, bits, Plan(hidden=8, passes=1, seed=seed)))
        for seed in (0, 1)
    ]
    path, more = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    add_prior(tiny.model, priors[0], path)
    add_prior(model_file.read(path), priors[1], more)
    copied = fcs_edge.load(more)
    copied.model.verify()
    assert copied.fingerprint == tiny.fingerprint
    assert [prior.check for prior in copied.model.priors] == [prior.check for prior in priors]
    coded = copied.model.priors[-1].coder().encode(recordings[0])
    assert np.array_equal(priors[1].coder().decode(coded, 600), recordings[0])
    add_prior(copied.model, priors[0], path)
    assert [prior.check for prior in model_file.read(path).priors] == [
        priors[1].check,
        priors[0].check,
    ]


def test_blocks_begin_with_the_recording_and_end_with_it() -> None:
    recordings = [structured(4, 10, 0), structured(4, 3, 1)]
    inputs, signs = block_inputs(recordings, 4, 4)
    assert len(inputs) == len(signs) == 13
    past = np.any(inputs[:, :4] != 0, axis=1)
    assert np.flatnonzero(~past).tolist() == [0, 4, 8, 10]
    assert prior_training.block_inputs(recordings, 4, 4, first=2)[0].shape == inputs.shape
