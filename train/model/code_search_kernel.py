"""The code search on a GPU: `kernels.ops.code_search` with a beam of one, a block for each crop."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BITS, _ROWS = 16, 32
"""Candidates at once, 16 flips and none; matrix units take 32 rows."""


@triton.jit
def _history(signs, first, at, m, k, bits: tl.constexpr, inner: tl.constexpr):
    """Return the contribution of row m - k to the sums, (inner,)."""
    j, n = tl.arange(0, bits), tl.arange(0, inner)
    past = tl.load(signs + (at + m - k) * bits + j, mask=(j >= 0) & (m >= k), other=0.0)
    weights = tl.load(first + (k * bits + j[:, None]) * inner + n)
    return tl.sum(past[:, None] * weights, 0)


@triton.jit
def _search(
    latents,
    target,
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
    columns: tl.constexpr,
    padded: tl.constexpr,
    rows: tl.constexpr,
    max_flips: tl.constexpr,
):
    at = tl.program_id(0) * n_tokens
    row, n, q = tl.arange(0, rows), tl.arange(0, inner), tl.arange(0, padded)
    flips = tl.load(first + row[:, None] * inner + n, mask=row[:, None] < bits, other=0.0)
    last = tl.load(
        second + n[:, None] * columns + q, mask=(q < columns) & (n[:, None] >= 0), other=0.0
    )
    bias = tl.load(second_bias + q, mask=q < columns, other=0.0)
    start = tl.load(first_bias + n)
    for m in range(n_tokens):
        latent = tl.load(latents + (at + m) * bits + row, mask=row < bits, other=0.0)
        aim = tl.load(target + (at + m) * columns + q, mask=q < columns, other=0.0) - bias
        sign = tl.where(row < bits, tl.where(latent > 0, 1.0, -1.0), 0.0)
        sums = start + tl.sum(sign[:, None] * flips, 0)
        for k in range(1, history):
            sums += _history(signs, first, at, m, k, bits, inner)
        for _ in range(max_flips):
            candidates = sums - 2 * sign[:, None] * flips
            error = tl.dot(tl.maximum(candidates, 0.0), last, input_precision="tf32") - aim
            cost = tl.sum(error * error, 1) + 2 * prior * sign * latent
            cost = tl.where(row <= bits, cost, float("inf"))
            flipped = tl.where(row == tl.argmin(cost, 0), sign, 0.0)
            sums -= 2 * tl.sum(flipped[:, None] * flips, 0)
            sign -= 2 * flipped
        tl.store(signs + (at + m) * bits + row, sign, mask=row < bits)
        # All threads must have written the row before it is read as history.
        tl.debug_barrier()


def search_codes(
    latents: Tensor,
    target: Tensor,
    first: Tensor,
    first_bias: Tensor,
    second: Tensor,
    second_bias: Tensor,
    prior: float,
    max_flips: int,
) -> Tensor:
    """Return signs, (crops, tokens, bits) float32, from a history of zeros.

    The result is that of `kernels.ops.code_search`, up to rounding.

    Parameters
    ----------
    latents, target : torch.Tensor
        (crops, tokens, bits) and (crops, tokens, columns) float32.
    first, first_bias, second, second_bias : torch.Tensor
        (history, bits, inner), (inner,), (inner, columns), (columns,) float32; 16 bits, `inner` a
        power of two.
    prior : float
        Weight of the latents.
    max_flips : int
        Most flips of a token.
    """
    crops, n_tokens, bits = latents.shape
    history, _, inner = first.shape
    if bits != _BITS:
        raise ValueError(f"{bits} bits: a GPU searches codes of {_BITS} bits")
    signs = torch.zeros_like(latents, dtype=torch.float32, memory_format=torch.contiguous_format)
    columns = second.shape[1]
    arrays = (latents, target, first, first_bias, second, second_bias)
    _search[(crops,)](
        *(a.contiguous() for a in arrays),
        prior,
        signs,
        n_tokens,
        history,
        bits,
        inner,
        columns,
        triton.next_power_of_2(columns),
        _ROWS,
        max_flips,
        num_warps=8,
    )
    return signs
