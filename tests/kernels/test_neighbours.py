"""Nearest rows by cosine against plain NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.ops import neighbours
from fcs_edge.model import voice_rows
from fcs_edge.model.voice_rows import Scales, VoiceRows, VoiceStage

KINDS = ("f32", "f16", "int8")


def plain(x: F32, rows: F32, topk: int) -> F32:
    """Return the mean of the nearest rows, of equal ones the first, in float64."""
    wide = rows.astype(np.float64)
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    order = np.argsort(-(x.astype(np.float64) @ unit.T), axis=1, kind="stable")[:, :topk]
    return np.asarray(wide[order].mean(1))


def held(rows: F32, kind: str) -> tuple[Any, Scales | None]:
    """Return rows as a voice holds them."""
    if kind == "int8":
        return voice_rows.quantized(rows)
    return rows.astype({"f32": np.float32, "f16": np.float16}[kind]), None


def replaced(x: F32, rows: Any, scales: Scales | None, topk: int, at_once: int = 0) -> F32:
    stage = VoiceStage(VoiceRows(rows, scales), topk)
    state, out = stage.state(at_once or len(x)), np.full_like(x, np.nan)
    for start in range(0, len(x), at_once or len(x)):
        part = slice(start, start + (at_once or len(x)))
        stage(x[part], out[part], state)
    return out


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "width"), [(1, 1), (3, 7), (40, 48), (300, 65)])
@pytest.mark.parametrize("topk", [1, 4, 5])
def test_against_formula(
    kind: str, n: int, width: int, topk: int, normal: Callable[..., F32]
) -> None:
    x, rows = normal(37, width), normal(n, width)
    if width == 1:
        x, rows = abs(x), abs(rows)
    values, scales = held(rows, kind)
    expected = plain(x, voice_rows.as_float32(values, scales), topk)
    np.testing.assert_allclose(replaced(x, values, scales, topk), expected, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_queries_do_not_meet(
    kind: str, normal: Callable[..., F32], assert_same_bits: Callable[[F32, F32], None]
) -> None:
    x, values = normal(70, 33), held(normal(90, 33), kind)
    together = replaced(x, *values, 4)
    for at_once in (1, 4, 33):
        assert_same_bits(replaced(x, *values, 4, at_once), together)


@pytest.mark.parametrize("kind", KINDS)
def test_sets_of_instructions_agree(
    kind: str,
    normal: Callable[..., F32],
    assert_same_bits: Callable[[F32, F32], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, values = normal(9, 70), held(normal(133, 70), kind)
    found = []
    for name in instructions.available():
        monkeypatch.setattr(instructions, "CHOICE", name)
        found.append(replaced(x, *values, 4))
    for other in found[1:]:
        assert_same_bits(other, found[0])


@pytest.mark.parametrize("kind", ["f32", "f16"])
def test_of_equal_rows_the_first_is_nearest(kind: str, normal: Callable[..., F32]) -> None:
    row, other = normal(1, 20), normal(30, 20)
    # Twice as long, the cosine is the same, and the row another one.
    rows = np.concatenate([other, 2 * row, row, row])
    values, scales = held(rows, kind)
    got = replaced(row, values, scales, 1)
    np.testing.assert_allclose(got, voice_rows.as_float32(values, scales)[30:31], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_zeros_are_left_out(kind: str, normal: Callable[..., F32]) -> None:
    x, rows = normal(5, 12), normal(20, 12)
    rows[::3] = 0
    values, scales = held(rows, kind)
    others = voice_rows.as_float32(values, scales)
    others = others[others.any(1)]
    assert len(others) == 13
    np.testing.assert_allclose(replaced(x, values, scales, 4), plain(x, others, 4), atol=2e-6)
    with_few = replaced(x, values, scales, 64)
    np.testing.assert_allclose(with_few, np.broadcast_to(others.mean(0), x.shape), atol=2e-6)


def test_list_of_the_largest(normal: Callable[..., F32]) -> None:
    scores = np.round(normal(6, 50), 1)
    listed, best = np.full((6, 8), -1), np.empty(8, np.float32)
    neighbours.largest(scores, best, listed)
    assert np.array_equal(listed, np.argsort(-scores, axis=1, kind="stable")[:, :8])


def test_half_rows_are_exact() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    values = bits.view(np.float16)
    bits = bits[np.isfinite(values)].reshape(-1, 64)
    out = np.empty((1, *bits.shape), np.float32)
    neighbours.gather_half(bits, np.arange(len(bits))[None], out)
    expected = bits.view(np.float16).astype(np.float32)
    assert np.array_equal(out[0].view(np.uint32), expected.view(np.uint32))


def test_a_query_without_direction_stays_defined() -> None:
    x = np.zeros((2, 8), np.float32)
    x[1] = np.nan
    rows = np.eye(20, 8, dtype=np.float32) + 1
    out = replaced(x, rows, None, 4)
    np.testing.assert_allclose(out[0], rows[:4].mean(0))
    assert np.isfinite(out).all()
