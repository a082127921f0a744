"""The choice of codes on a GPU: `kernels.ops.code_search` with one way, a crop a block."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BITS, _ROWS = 16, 32
"""Flips that are tried at once, and none beside them: as many rows as matrix units take."""


@triton.jit
def _past(signs, first, at, m, k, bits: tl.constexpr, inner: tl.constexpr):
    """Return what row m - k adds to the sums, (inner,)."""
    j, n = tl.arange(0, bits), tl.arange(0, inner)
    there = tl.load(signs + (at + m - k) * bits + j, mask=(j >= 0) & (m >= k), other=0.0)
    weights = tl.load(first + (k * bits + j[:, None]) * inner + n)
    return tl.sum(there[:, None] * weights, 0)


@triton.jit
def _choose(
    latents,
    wanted,
    first,
    first_bias,
    second,
    second_bias,
    prior,
    signs,
    n_tokens,
    history: tl.constexpr,
    bits: tl.constexpr,
    inner: tl.constexpr,
    wide: tl.constexpr,
    padded: tl.constexpr,
    rows: tl.constexpr,
    passes: tl.constexpr,
):
    at = tl.program_id(0) * n_tokens
    row, n, q = tl.arange(0, rows), tl.arange(0, inner), tl.arange(0, padded)
    flips = tl.load(first + row[:, None] * inner + n, mask=row[:, None] < bits, other=0.0)
    last = tl.load(second + n[:, None] * wide + q, mask=(q < wide) & (n[:, None] >= 0), other=0.0)
    bias = tl.load(second_bias + q, mask=q < wide, other=0.0)
    start = tl.load(first_bias + n)
    for m in range(n_tokens):
        latent = tl.load(latents + (at + m) * bits + row, mask=row < bits, other=0.0)
        aim = tl.load(wanted + (at + m) * wide + q, mask=q < wide, other=0.0) - bias
        sign = tl.where(row < bits, tl.where(latent > 0, 1.0, -1.0), 0.0)
        sums = start + tl.sum(sign[:, None] * flips, 0)
        for k in range(1, history):
            sums += _past(signs, first, at, m, k, bits, inner)
        for _ in range(passes):
            tried = sums - 2 * sign[:, None] * flips
            apart = tl.dot(tl.maximum(tried, 0.0), last, input_precision="tf32") - aim
            judged = tl.sum(apart * apart, 1) + 2 * prior * sign * latent
            judged = tl.where(row <= bits, judged, float("inf"))
            taken = tl.where(row == tl.argmin(judged, 0), sign, 0.0)
            sums -= 2 * tl.sum(taken[:, None] * flips, 0)
            sign -= 2 * taken
        tl.store(signs + (at + m) * bits + row, sign, mask=row < bits)
        # What is read as the past must have been written by all threads.
        tl.debug_barrier()


def choose(
    latents: Tensor,
    wanted: Tensor,
    first: Tensor,
    first_bias: Tensor,
    second: Tensor,
    second_bias: Tensor,
    prior: float,
    passes: int,
) -> Tensor:
    """Return signs, (crops, tokens, bits) float32, as `kernels.ops.code_search`, with no past.

    Parameters
    ----------
    latents, wanted : torch.Tensor
        (crops, tokens, bits) and (crops, tokens, wide) float32.
    first, first_bias, second, second_bias : torch.Tensor
        (history, bits, inner), (inner,), (inner, wide), (wide,) float32; 16 bits, `inner` a power
        of two.
    prior : float
        What latents count.
    passes : int
        Most flips a token.
    """
    crops, n_tokens, bits = latents.shape
    history, _, inner = first.shape
    if bits != _BITS:
        raise ValueError(f"{bits} bits: codes of {_BITS} are searched for on a GPU")
    signs = torch.zeros_like(latents, dtype=torch.float32, memory_format=torch.contiguous_format)
    wide = second.shape[1]
    arrays = (latents, wanted, first, first_bias, second, second_bias)
    _choose[(crops,)](
        *(a.contiguous() for a in arrays),
        prior,
        signs,
        n_tokens,
        history,
        bits,
        inner,
        wide,
        triton.next_power_of_2(wide),
        _ROWS,
        passes,
        num_warps=8,
    )
    return signs
