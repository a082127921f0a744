"""Attention over a ring of keys and values against a float64 softmax."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge.kernels import attention
from fcs_edge.kernels._types import F32

F64 = NDArray[np.float64]
# Relative to the largest output. A score of some units is off by 1e-6 at most, and the
# softmax is off by as much again, relatively; a weighted mean of values adds little.
TOLERANCE = 2e-6
# Two sigmoids of a dot product of head_dim elements, in [1, 3] with const = 1.
GATE = 1e-6
HEADS = 3


def queries(qkv: F32, head: int, head_dim: int) -> F64:
    return qkv[:, head * head_dim : (head + 1) * head_dim].astype(np.float64)


def bias_at(position_bias: F32, head: int, distance: int, rows: int) -> float:
    """Return the bias of key - query = distance; the last column is that of rows - 1."""
    return float(position_bias[head, position_bias.shape[1] - 1 - (rows - 1 - distance)])


def reference(qkv: F32, gate: F32, position_bias: F32, keys: F32, values: F32) -> F64:
    """Attend to keys and values (heads, count, head_dim), oldest first."""
    rows, heads = gate.shape
    count, head_dim = keys.shape[1:]
    out = np.zeros((rows, heads * head_dim))
    for h in range(heads):
        query = queries(qkv, h, head_dim)
        for m in range(rows):
            scores = keys[h].astype(np.float64) @ query[m] / np.sqrt(head_dim)
            at = count - rows + m
            for i in range(count):
                scores[i] += gate[m, h] * bias_at(position_bias, h, i - at, rows)
            weights = np.exp(scores - scores.max())
            out[m, h * head_dim : (h + 1) * head_dim] = weights / weights.sum() @ values[h]
    return out


def attend(
    qkv: F32,
    gate: F32,
    position_bias: F32,
    keys: F32,
    values: F32,
    size: int,
    first: int,
) -> F32:
    """Attend to keys and values (heads, count, head_dim) in rings of `size`, all else NaN."""
    heads, count, head_dim = keys.shape
    slots = (first + np.arange(count)) % size
    key_ring = np.full((heads, head_dim, size), np.nan, np.float32)
    value_ring = np.full((heads, size, head_dim), np.nan, np.float32)
    key_ring[:, :, slots] = keys.transpose(0, 2, 1)
    value_ring[:, slots] = values
    scores = np.full(size, np.nan, np.float32)
    out = np.full((gate.shape[0], heads * head_dim), np.nan, np.float32)
    attention.attend(qkv, gate, position_bias, key_ring, value_ring, first, count, scores, out)
    return out


@pytest.mark.parametrize("head_dim", [1, 5, 16, 33])
@pytest.mark.parametrize("heads", [1, 3])
def test_position_gate_against_formula(
    heads: int,
    head_dim: int,
    normal: Callable[..., F32],
    assert_near: Callable[[F32, F64, float], None],
) -> None:
    weight, bias, const = normal(8, head_dim), normal(8), normal(heads)
    summed = weight.reshape(2, 4, head_dim).sum(1), bias.reshape(2, 4).sum(1)
    for rows in range(1, 10):
        z = normal(rows, heads * head_dim) / np.float32(np.sqrt(head_dim))
        gate = np.full((rows, heads), np.nan, np.float32)
        attention.position_gate(z, *summed, const, gate)
        expected = np.zeros((rows, heads))
        for h in range(heads):
            u = queries(z, h, head_dim) @ weight.T.astype(np.float64) + bias
            a, b = (1 / (1 + np.exp(-u[:, part].sum(1))) for part in (slice(4), slice(4, 8)))
            expected[:, h] = a * (b * const[h] - 1) + 2
        assert_near(gate, expected, GATE)


@pytest.mark.parametrize("rows", [1, 4, 5])
@pytest.mark.parametrize("size", [5, 9])
def test_store_wraps_at_every_phase(rows: int, size: int, normal: Callable[..., F32]) -> None:
    head_dim = 7
    qkv = normal(rows, 3 * HEADS * head_dim)
    split = qkv.reshape(rows, 3, HEADS, head_dim)
    for slot in range(size):
        keys, values = normal(HEADS, head_dim, size), normal(HEADS, size, head_dim)
        expected_keys, expected_values = keys.copy(), values.copy()
        for m in range(rows):
            expected_keys[:, :, (slot + m) % size] = split[m, 1]
            expected_values[:, (slot + m) % size] = split[m, 2]
        attention.store(qkv, slot, keys, values)
        np.testing.assert_array_equal(keys, expected_keys)
        np.testing.assert_array_equal(values, expected_values)


@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize("count", [4, 7, 8, 17, 40])
@pytest.mark.parametrize("head_dim", [1, 7, 33])
def test_attend_against_formula(
    rows: int,
    count: int,
    head_dim: int,
    normal: Callable[..., F32],
    assert_near: Callable[[F32, F64, float], None],
) -> None:
    qkv, gate = normal(rows, 3 * HEADS * head_dim), normal(rows, HEADS)
    keys, values = normal(HEADS, count, head_dim), normal(HEADS, count, head_dim)
    for span in (count + rows - 1, count + rows + 5):
        bias = normal(HEADS, span)
        expected = reference(qkv, gate, bias, keys, values)
        for size, first in ((count, 0), (count, count // 2), (count + 3, 1)):
            assert_near(attend(qkv, gate, bias, keys, values, size, first), expected, TOLERANCE)


def test_bias_is_chosen_by_key_minus_query(normal: Callable[..., F32]) -> None:
    rows, count, head_dim = 3, 8, 5
    qkv, gate = np.zeros((rows, 3 * head_dim), np.float32), np.ones((rows, 1), np.float32)
    keys, values = normal(1, count, head_dim), normal(1, count, head_dim)
    for distance in range(-4, rows):
        bias = np.zeros((1, count + rows - 1), np.float32)
        bias[0, count - 1 + distance] = 80
        out = attend(qkv, gate, bias, keys, values, count, 0)
        for m in range(rows):
            key = count - rows + m + distance
            expected = values[0, key] if key < count else values[0].mean(0)
            np.testing.assert_allclose(out[m], expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("count", [4, 13, 24])
@pytest.mark.parametrize("spare", [0, 1, 6])
def test_wrapping_changes_no_bit(
    rows: int,
    count: int,
    spare: int,
    normal: Callable[..., F32],
    assert_same_bits: Callable[[F32, F32], None],
) -> None:
    head_dim, size = 7, count + spare
    qkv, gate = normal(rows, 3 * HEADS * head_dim), normal(rows, HEADS)
    keys, values = normal(HEADS, count, head_dim), normal(HEADS, count, head_dim)
    bias = normal(HEADS, count + rows - 1)
    unwrapped = attend(qkv, gate, bias, keys, values, count, 0)
    for first in range(size):
        assert_same_bits(attend(qkv, gate, bias, keys, values, size, first), unwrapped)


def stream(chunks: list[tuple[F32, F32]], bias: F32, window: int, size: int) -> F32:
    """Attend chunk after chunk to the last `window` rows, through rings of `size`."""
    head_dim = chunks[0][0].shape[1] // (3 * HEADS)
    keys = np.full((HEADS, head_dim, size), np.nan, np.float32)
    values = np.full((HEADS, size, head_dim), np.nan, np.float32)
    scores = np.full(window, np.nan, np.float32)
    results = []
    end = 0
    for qkv, gate in chunks:
        attention.store(qkv, end % size, keys, values)
        end += len(qkv)
        count = min(end, window)
        first = (end - count) % size
        out = np.full((len(qkv), HEADS * head_dim), np.nan, np.float32)
        attention.attend(qkv, gate, bias, keys, values, first, count, scores, out)
        results.append(out)
    return np.concatenate(results)


@pytest.mark.parametrize("rows", [1, 3, 4])
def test_stream_through_a_ring_has_the_bits_of_a_long_buffer(
    rows: int, normal: Callable[..., F32], assert_same_bits: Callable[[F32, F32], None]
) -> None:
    window = 13
    chunks = [(normal(rows, 3 * HEADS * 5), normal(rows, HEADS)) for _ in range(30)]
    bias = normal(HEADS, window + rows - 1)
    wrapped = stream(chunks, bias, window, window)
    assert not np.isnan(wrapped).any()
    assert_same_bits(wrapped, stream(chunks, bias, window, 30 * rows))


def test_large_scores_do_not_overflow(normal: Callable[..., F32]) -> None:
    rows, count, head_dim = 2, 9, 5
    qkv, gate = 1e3 * normal(rows, 3 * head_dim), np.ones((rows, 1), np.float32)
    keys, values = 1e3 * normal(1, count, head_dim), normal(1, count, head_dim)
    bias = np.zeros((1, count + rows - 1), np.float32)
    out = attend(qkv, gate, bias, keys, values, count, 0)
    best = (keys[0] @ queries(qkv, 0, head_dim).T).argmax(0)
    np.testing.assert_allclose(out, values[0, best], rtol=TOLERANCE)
