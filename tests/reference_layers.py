"""Layers of the plain reference model: rows of any float type, whole signals, no state.

Every function takes rows (frames, channels) and returns new ones of the same type.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[Any]
Start = Literal["first row", "zeros", "both sides"]
"""What stands before the rows of a convolution: the first row again and again, or zeros; or zeros
on both sides, as in parts that are not causal."""


def linear(x: Rows, weight: Rows, bias: Rows | None = None) -> Rows:
    """Return ``x @ weight.T + bias``."""
    y = x @ weight.T
    return y if bias is None else y + bias


def layer_norm(x: Rows, weight: Rows, bias: Rows, epsilon: float) -> Rows:
    """Return the normalised rows, scaled and shifted; the variance is the biased one."""
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred * centred).mean(-1, keepdims=True)
    return centred / np.sqrt(variance + x.dtype.type(epsilon)) * weight + bias


def gelu(x: Rows) -> Rows:
    """Return ``x * (1 + erf(x / sqrt 2)) / 2``; the error function is computed in float64."""
    scaled = (x.astype(np.float64) / math.sqrt(2)).ravel().tolist()
    erf = np.array([math.erf(v) for v in scaled]).reshape(x.shape)
    return (x * (1 + erf) / 2).astype(x.dtype)


def sigmoid(x: Rows) -> Rows:
    """Return ``1 / (1 + exp(-x))``."""
    return 1 / (1 + np.exp(-x))


def softmax(x: Rows) -> Rows:
    """Return the softmax over the last axis."""
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def snake(x: Rows, alpha: Rows) -> Rows:
    """Return ``x + sin(alpha x)^2 / (alpha + 1e-9)``."""
    return x + np.sin(alpha * x) ** 2 / (alpha + x.dtype.type(1e-9))


def surrounded(x: Rows, before: int, after: int, first: bool = False) -> Rows:
    """Return rows with zero rows at both ends, or with their first row again before them."""
    ahead = np.repeat(x[:1] if first else np.zeros_like(x[:1]), before, 0)
    return np.concatenate([ahead, x, np.zeros((after, x.shape[1]), x.dtype)])


def padded(x: Rows, taps: int, start: Start) -> Rows:
    """Return what a convolution of stride 1 reads so that it gives as many rows as x has."""
    if start == "both sides":
        before = (taps - 1) // 2
        return surrounded(x, before, taps - 1 - before)
    return surrounded(x, taps - 1, 0, start == "first row")


def convolution(
    x: Rows, weight: Rows, bias: Rows | None = None, stride: int = 1, groups: int = 1
) -> Rows:
    """Return the convolution of rows as they are, whose weight is [out, in / groups, taps]."""
    outputs, inputs, taps = weight.shape
    windows = np.lib.stride_tricks.sliding_window_view(x, taps, 0)[::stride]
    windows = windows.reshape(-1, groups, inputs * taps)
    shares = weight.reshape(groups, outputs // groups, inputs * taps)
    y = np.concatenate([windows[:, g] @ shares[g].T for g in range(groups)], 1)
    return y if bias is None else y + bias


def depthwise(x: Rows, weight: Rows, bias: Rows, start: Start) -> Rows:
    """Return a convolution of each channel alone, whose weight is [channels, 1, taps]."""
    taps = weight.shape[2]
    source = padded(x, taps, start)
    y = np.zeros_like(x) + bias
    for j in range(taps):
        y += source[j : j + len(x)] * weight[:, 0, j]
    return y


def transposed(x: Rows, weight: Rows, bias: Rows) -> Rows:
    """Return rows t * f + j of ``bias + x[t] @ weight[:, :, j]``; the weight is [in, out, f]."""
    factor = weight.shape[2]
    rows = np.stack([x @ weight[:, :, j] + bias for j in range(factor)], 1)
    return rows.reshape(-1, weight.shape[1])


def seeded_noise(rows: int, channels: int, first: int = 0) -> Rows:
    """Return the noise of rows from the one of a number on, (rows, channels) float64.

    A value is a hash of its place, counted modulo 2^32: 24 bits of it, from -1 to below 1.
    """
    numbers = (np.arange(rows, dtype=np.uint64) + np.uint64(first)).astype(np.uint32)
    h = numbers[:, None] * np.uint32(channels) + np.arange(channels, dtype=np.uint32)
    h += np.uint32(0x9E3779B9)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    noise: Rows = (h >> np.uint32(8)) / 2.0**23 - 1
    return noise


def overlapped(x: Rows, hop: int) -> Rows:
    """Return rows of `hop` samples: what a row has beyond them is added to the next row's first."""
    out, tails = x[:, :hop].copy(), x[:-1, hop:]
    out[1:, : tails.shape[1]] += tails
    return out
