"""Every kernel that costs time, at the full published model's shapes, beside NumPy.

Run with one thread for both sides::

    OPENBLAS_NUM_THREADS=1 pytest tests/benchmarks --benchmark-only
"""

from collections.abc import Callable
from itertools import cycle

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from pytest_benchmark.fixture import BenchmarkFixture

from fcs_edge.kernels import (
    attention,
    depthwise,
    dynamic_tanh,
    gelu,
    layer_norm,
    linear,
    snake,
)
from fcs_edge.kernels._types import F32, I64

Side = Callable[[], F32]

# More than any cache holds: weights that are passed through once a chunk come from memory.
COLD_BYTES = 256 << 20


def normal(*shape: int) -> F32:
    return np.random.default_rng(shape).standard_normal(shape, np.float32)


def product(rows: int, depth: int, outputs: int) -> tuple[Side, Side]:
    """A linear layer whose weights are cold."""
    x, weight, bias = normal(rows, depth), normal(outputs, depth), normal(outputs)
    out = np.empty((rows, outputs), np.float32)
    weights = [weight.copy() for _ in range(COLD_BYTES // weight.nbytes)]
    layers = cycle([linear.prepare(each, bias) for each in weights])
    plain = cycle(weights)

    def ours() -> F32:
        next(layers)(x.reshape(-1), depth, out)
        return out

    return ours, lambda: x @ next(plain).T + bias


def windows(rows: int, depth: int, step: int, outputs: int) -> tuple[Side, Side]:
    """A strided convolution as products with overlapping windows; it has no bias."""
    x, weight = normal((rows - 1) * step + depth), normal(outputs, depth)
    out = np.empty((rows, outputs), np.float32)
    layer = linear.prepare(weight)

    def ours() -> F32:
        layer(x, step, out)
        return out

    return ours, lambda: sliding_window_view(x, depth)[::step] @ weight.T


def convolution(
    rows: int, channels: int, taps: int, dtype: type[np.floating] = np.float32
) -> tuple[Side, Side]:
    """A depthwise convolution whose weights and past rows are cold."""
    past, bias = normal(taps - 1 + rows, channels), normal(channels)
    weight = normal(taps, channels).astype(dtype)
    out = np.empty((rows, channels), np.float32)
    size = len(past)
    oldest = size // 3

    def prepared() -> tuple[depthwise.Depthwise, F32, I64]:
        made = depthwise.prepare(weight, bias)
        ring, place = made.ring(rows), np.array([oldest, 0])
        for row in past[: taps - 1]:
            made(row[None], ring, place, out[:1])
        return made, ring, place

    copies = min(COLD_BYTES // (weight.nbytes + past.nbytes), 1000)
    layers = cycle([prepared() for _ in range(copies)])
    plain_layers = cycle([(weight.astype(np.float32), past.copy()) for _ in range(copies)])

    def ours() -> F32:
        made, ring, place = next(layers)
        made(past[taps - 1 :], ring, place, out)
        return out

    def plain() -> F32:
        w, x = next(plain_layers)
        return np.stack([bias + np.einsum("jc,jc->c", w, x[t : t + taps]) for t in range(rows)])

    return ours, plain


def attend(
    rows: int, heads: int, head_dim: int, count: int, half: bool = False
) -> tuple[Side, Side]:
    """Attention over a full window that is cold."""
    dim = heads * head_dim
    chunks = normal(count // rows, rows, 3 * dim)
    qkv, gate = chunks[-1], normal(rows, heads)
    position_bias = normal(heads, count + rows - 1)
    out = np.empty((rows, dim), np.float32)
    layer = attention.RingAttention(heads, head_dim, count, half)
    keys, values = layer.rings()
    scores = layer.scores()
    place = np.array([count // 3, count])
    for chunk in chunks:
        layer(chunk, gate, position_bias, keys, values, place, scores, out)
    copies = COLD_BYTES // (keys.nbytes + values.nbytes)
    rings = cycle([(keys.copy(), values.copy()) for _ in range(copies)])

    def ours() -> F32:
        layer(qkv, gate, position_bias, *next(rings), place, scores, out)
        return out

    split = chunks.reshape(count, 3, heads, head_dim).transpose(1, 2, 0, 3)
    query, plain_values = split[0, :, -rows:], split[2].copy()
    plain_keys = split[1].transpose(0, 2, 1).copy()
    plain_rings = cycle([(plain_keys.copy(), plain_values.copy()) for _ in range(copies)])
    columns = np.arange(rows)[::-1, None] + np.arange(count)

    def plain() -> F32:
        keys, values = next(plain_rings)
        s = query @ keys * np.float32(head_dim**-0.5)
        s += gate.T[:, :, None] * position_bias[:, columns]
        s = np.exp(s - s.max(2, keepdims=True))
        s /= s.sum(2, keepdims=True)
        return (s @ values).transpose(1, 0, 2).reshape(rows, -1)

    return ours, plain


def norm(rows: int, columns: int) -> tuple[Side, Side]:
    x, weight, bias = normal(rows, columns), normal(columns), normal(columns)
    eps, out = np.float32(1e-5), np.empty((rows, columns), np.float32)

    def ours() -> F32:
        layer_norm.layer_norm(x, weight, bias, eps, out)
        return out

    def plain() -> F32:
        centred = x - x.mean(1, keepdims=True)
        deviation = np.sqrt((centred * centred).mean(1, keepdims=True) + eps)
        return centred / deviation * weight + bias

    return ours, plain


def activation(rows: int, columns: int) -> tuple[Side, Side]:
    """GELU; NumPy has no erf, so its side is the usual approximation by tanh."""
    x = normal(rows, columns)
    out = np.empty_like(x)

    def ours() -> F32:
        gelu.gelu(x, out)
        return out

    def plain() -> F32:
        inner = np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x * x * x)
        return x * (1 + np.tanh(inner)) / 2

    return ours, plain


def waves(rows: int, columns: int) -> tuple[Side, Side]:
    x, alpha = normal(rows, columns), np.exp(normal(columns))
    inverse, out = 1 / (alpha + np.float32(1e-9)), np.empty_like(x)

    def ours() -> F32:
        snake.snake(x, alpha, inverse, out)
        return out

    return ours, lambda: x + np.sin(alpha * x) ** 2 * inverse


def squash(rows: int, columns: int) -> tuple[Side, Side]:
    x, alpha = normal(rows, columns), np.float32(0.5)
    out = np.empty_like(x)

    def ours() -> F32:
        dynamic_tanh.dynamic_tanh(x, alpha, out)
        return out

    return ours, lambda: np.tanh(alpha * x)


CASES: dict[str, Callable[[], tuple[Side, Side]]] = {
    "linear 4x1024->4096, cold": lambda: product(4, 1024, 4096),
    "linear 4x4096->1024, cold": lambda: product(4, 4096, 1024),
    "windows 256x10->512": lambda: windows(256, 10, 5, 512),
    "windows 128x1536->512": lambda: windows(128, 1536, 1024, 512),
    "depthwise 4x1024, 512 taps, cold": lambda: convolution(4, 1024, 512),
    "depthwise 4x1024, 512 taps in float16, cold": lambda: convolution(4, 1024, 512, np.float16),
    "depthwise 4x1024, 7 taps, cold": lambda: convolution(4, 1024, 7),
    "attention 4 rows, 16x64, 512 keys, cold": lambda: attend(4, 16, 64, 512),
    "attention 4 rows, 16x64, 512 keys in float16, cold": lambda: attend(4, 16, 64, 512, True),
    "layer_norm 4x1024": lambda: norm(4, 1024),
    "layer_norm 256x512": lambda: norm(256, 512),
    "gelu 4x4096": lambda: activation(4, 4096),
    "gelu 256x512": lambda: activation(256, 512),
    "snake 4x1024": lambda: waves(4, 1024),
    "dynamic_tanh 4x1024": lambda: squash(4, 1024),
}


@pytest.mark.parametrize("side", ["kernel", "numpy"])
@pytest.mark.parametrize("case", CASES)
def test_kernel(benchmark: BenchmarkFixture, case: str, side: str) -> None:
    ours, plain = CASES[case]()
    expected = plain()
    np.testing.assert_allclose(ours(), expected, rtol=0, atol=1e-3 * np.abs(expected).max())
    benchmark.group = case
    benchmark(ours if side == "kernel" else plain)
