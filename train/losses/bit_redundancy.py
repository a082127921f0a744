"""What bits repeat of each other, and of the tokens before: what says nothing new."""

from __future__ import annotations

import torch
from torch import Tensor

_LAGS = 4
"""Of tokens of 20 ms."""
_HEARD = 0.03
"""Of a crop's loudest token, -30 dB: what is quieter has nothing to say."""
_LEAST = 1e-6
"""Added to variances: a bit that never changes has none, and a square root no slope there."""


def redundancy(codes: Tensor, samples: Tensor) -> Tensor:
    """Return sum_ijk corr(b_i(t), b_j(t - k))^2 / bits, but for a bit with itself, k from 0 to 3.

    b are signs, over all tokens of all crops in which something is heard. It is 0 where bits are
    told apart by pairs; where each pair has little in common, it is twice the nats that a bit
    repeats, counted again for each lag.

    Parameters
    ----------
    codes : torch.Tensor
        (batch, tokens, bits), +-1/sqrt(bits).
    samples : torch.Tensor
        (batch, samples), what they were made from.
    """
    n_tokens, n_bits = codes.shape[1:]
    loud = samples.reshape(len(codes), n_tokens, -1).square().mean(2, keepdim=True).sqrt()
    heard = (loud > _HEARD * loud.amax(1, keepdim=True)).float()
    signs = codes.float() * n_bits**0.5
    n_heard = heard.sum().clamp(min=1)
    apart = (signs - (signs * heard).sum((0, 1)) / n_heard) * heard
    bits = apart / (apart.square().sum((0, 1)) / n_heard + _LEAST).sqrt()
    total = torch.zeros((), device=codes.device)
    for lag in range(_LAGS):
        now, before = bits[:, lag:].flatten(0, 1), bits[:, : n_tokens - lag].flatten(0, 1)
        pairs = (heard[:, lag:] * heard[:, : n_tokens - lag]).sum().clamp(min=1)
        together = now.T @ before / pairs
        if lag == 0:
            together = together - together.diagonal().diag()
        total = total + together.square().sum()
    return total / n_bits
