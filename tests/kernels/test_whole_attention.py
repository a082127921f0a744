"""Attention over a whole signal against a float64 softmax, and between sets of instructions."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.ops.whole_attention import WholeAttention
from fcs_edge.kernels.ops.whole_attention_plain import BLOCK

F64 = NDArray[np.float64]
# As for a ring: a score is off by 1e-6 at most, and the softmax by as much again, relatively.
TOLERANCE = 2e-6
HEADS = 3


@pytest.fixture(params=product(instructions.available(), [False, True]), ids=str)
def attend(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[F32, bool]]:
    """Attend with these instructions, with keys and values in float32 or float16."""
    choice, half = request.param
    monkeypatch.setattr(instructions, "CHOICE", choice)

    def run(*arguments: Any, **options: Any) -> tuple[F32, bool]:
        return attended(half, *arguments, **options)

    return run


def attended(
    half: bool, qkv: F32, gate: F32, bias: F32, first: int = 0, block: int = 0
) -> tuple[F32, bool]:
    """Store all rows, and attend from those of gate on; also return whether float16 was stored."""
    count, rows, heads = len(qkv), *gate.shape
    dim = qkv.shape[1] // 3
    layer = WholeAttention(heads, dim // heads, half)
    keys, values = layer.memory(count)
    block = block or rows
    for start in range(0, count, block):
        part = np.ascontiguousarray(qkv[start : start + block, dim:])
        layer.store(part, start, keys, values)
    workspace = layer.workspace(block)
    for array in workspace:
        array[:] = np.nan
    out = np.full((rows, dim), np.nan, np.float32)
    for start in range(0, rows, block):
        part = slice(start, start + block)
        q = np.ascontiguousarray(qkv[first + start : first + min(start + block, rows), :dim])
        layer(q, gate[part], bias, keys, values, first + start, workspace, out[part])
    return out, keys.dtype == np.uint16


def reference(qkv: F32, gate: F32, bias: F32, first: int, half: bool) -> F64:
    rows, heads = gate.shape
    q, k, v = (part.reshape(len(qkv), heads, -1) for part in np.split(qkv, 3, axis=1))
    if half:
        k, v = k.astype(np.float16), v.astype(np.float16)
    reach = bias.shape[1] // 2
    distance = np.arange(len(qkv)) - (first + np.arange(rows))[:, None]
    near = np.clip(distance, -reach, reach) + reach
    out = np.zeros((rows, heads, q.shape[2]))
    for h in range(heads):
        scores = q[first : first + rows, h].astype(np.float64) @ k[:, h].T.astype(np.float64)
        scores = scores / np.sqrt(q.shape[2]) + gate[:, h, None].astype(np.float64) * bias[h, near]
        weights = np.exp(scores - scores.max(1, keepdims=True))
        out[:, h] = weights / weights.sum(1, keepdims=True) @ v[:, h].astype(np.float64)
    return out.reshape(rows, -1)


# One row; rows in fours and beside them; a key before, at and after the end of a block; columns
# around the panels' widths; distances within and far beyond the table.
@pytest.mark.parametrize(
    ("count", "first", "rows", "head_dim", "reach"),
    [
        *((1, 0, 1, 3, 1), (2, 1, 1, 12, 0), (5, 0, 5, 16, 2), (9, 2, 7, 3, 800)),
        *((BLOCK - 1, 0, 6, 64, 20), (BLOCK, 3, 4, 4, 300), (BLOCK + 1, 190, 3, 65, 9)),
        *((2 * BLOCK, 7, 9, 1, 200), (2 * BLOCK + 31, 40, 13, 24, 191)),
    ],
)
def test_against_formula(
    count: int,
    first: int,
    rows: int,
    head_dim: int,
    reach: int,
    attend: Callable[..., tuple[F32, bool]],
    normal: Callable[..., F32],
    assert_near: Callable[[F32, F64, float], None],
) -> None:
    qkv, gate = normal(count, 3 * HEADS * head_dim), normal(rows, HEADS)
    bias = normal(HEADS, 2 * reach + 1)
    out, half = attend(qkv, gate, bias, first)
    assert_near(out, reference(qkv, gate, bias, first, half), TOLERANCE)


def test_a_larger_score_in_a_later_block(
    attend: Callable[..., tuple[F32, bool]],
    normal: Callable[..., F32],
    assert_near: Callable[[F32, F64, float], None],
) -> None:
    count, head_dim = 4 * BLOCK, 5
    for far in (-800, 800):
        qkv, gate = normal(count, 3 * head_dim), np.ones((6, 1), np.float32)
        qkv[:, head_dim : 2 * head_dim] *= np.linspace(1 - far / 100, 1 + far / 100, count)[:, None]
        bias = np.linspace(far / 10, -far / 10, 2 * count + 1, dtype=np.float32)[None]
        out, half = attend(qkv, gate, bias, 300)
        assert_near(out, reference(qkv, gate, bias, 300, half), 10 * TOLERANCE)


@pytest.mark.parametrize("block", [1, 3, 4, 64])
def test_rows_in_a_call_change_no_bit(
    block: int,
    attend: Callable[..., tuple[F32, bool]],
    normal: Callable[..., F32],
    assert_same_bits: Callable[[F32, F32], None],
) -> None:
    count, head_dim = BLOCK + 9, 12
    qkv, gate, bias = normal(count, 3 * HEADS * head_dim), normal(21, HEADS), normal(HEADS, 31)
    out = attend(qkv, gate, bias, block=block)[0]
    assert_same_bits(out, attend(qkv, gate, bias)[0])


@pytest.mark.parametrize("half", [False, True])
def test_instructions_change_no_bit(
    half: bool,
    normal: Callable[..., F32],
    monkeypatch: pytest.MonkeyPatch,
    assert_same_bits: Callable[[F32, F32], None],
) -> None:
    count, head_dim = 2 * BLOCK + 50, 33
    qkv, gate, bias = normal(count, 3 * HEADS * head_dim), normal(7, HEADS), normal(HEADS, 301)
    # Without float16 and fused multiply-add in registers, the bits are others: see docs.
    equal = [s.name for s in instructions.supported() if s.half]
    results = []
    for choice in equal:
        monkeypatch.setattr(instructions, "CHOICE", choice)
        results.append(attended(half, qkv, gate, bias, 100)[0])
    for other in results[1:]:
        assert_same_bits(other, results[0])


def test_large_scores_do_not_overflow(
    attend: Callable[..., tuple[F32, bool]], normal: Callable[..., F32]
) -> None:
    count, head_dim = BLOCK + 40, 3
    qkv, gate = 1e3 * normal(count, 3 * head_dim), np.ones((6, 1), np.float32)
    out, half = attend(qkv, gate, np.zeros((1, 3), np.float32))
    expected = reference(qkv, gate, np.zeros((1, 3), np.float32), 0, half)
    np.testing.assert_allclose(out, expected, rtol=1e-3)
