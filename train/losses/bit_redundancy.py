"""Redundancy of bits: correlations with other bits of the same and of earlier tokens."""

from __future__ import annotations

import torch
from torch import Tensor

_LAGS = 4
"""Tokens of 20 ms: the same one, and the three before it."""
_AUDIBLE = 0.03
"""Share of a crop's loudest token, -30 dB. Quieter tokens do not count."""
_EPS = 1e-6
"""Added to variances: at 0 a square root has no gradient."""


def redundancy(codes: Tensor, samples: Tensor) -> Tensor:
    """Return sum_ijk corr(b_i(t), b_j(t - k))^2 / bits for k from 0 to 3.

    b are signs, over all audible tokens of all crops. The correlation of a bit with itself at k = 0
    is left out. The sum is 0 where all pairs of bits are independent. Where correlations are small,
    it is twice the mutual information of a bit and the others in nats, for each lag.

    Parameters
    ----------
    codes : torch.Tensor
        (batch, tokens, bits), +-1/sqrt(bits).
    samples : torch.Tensor
        (batch, samples), the audio that was encoded.
    """
    n_tokens, n_bits = codes.shape[1:]
    loud = samples.reshape(len(codes), n_tokens, -1).square().mean(2, keepdim=True).sqrt()
    audible = (loud > _AUDIBLE * loud.amax(1, keepdim=True)).float()
    signs = codes.float() * n_bits**0.5
    n_audible = audible.sum().clamp(min=1)
    centred = (signs - (signs * audible).sum((0, 1)) / n_audible) * audible
    bits = centred / (centred.square().sum((0, 1)) / n_audible + _EPS).sqrt()
    total = torch.zeros((), device=codes.device)
    for lag in range(_LAGS):
        current, earlier = bits[:, lag:].flatten(0, 1), bits[:, : n_tokens - lag].flatten(0, 1)
        pairs = (audible[:, lag:] * audible[:, : n_tokens - lag]).sum().clamp(min=1)
        correlation = current.T @ earlier / pairs
        if lag == 0:
            correlation = correlation - correlation.diagonal().diag()
        total = total + correlation.square().sum()
    return total / n_bits
