"""Weights of losses by the norms of their gradients, not by their values."""

from __future__ import annotations

import torch
from torch import Tensor

from train import workers


class GradientBalance:
    """Adds gradients at the decoded audio, each scaled to its share of the first.

    g = g_0 + sum_i share_i (n_0 / n_i) g_i, where n is the running mean of a gradient's norm. The
    norm is taken over a crop, times the crop's level, and averaged over crops. After the balancer
    of arXiv 2210.13438, section 3.4. The first gradient keeps its size.

    Parameters
    ----------
    momentum : float
        Share of a running mean that each step retains.
    """

    def __init__(self, momentum: float = 0.98) -> None:
        self.momentum = momentum
        self.means: dict[str, Tensor] = {}

    def add(
        self,
        first: Tensor,
        others: dict[str, Tensor],
        shares: dict[str, Tensor | float],
        level: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of gradients, and the factor of each.

        Parameters
        ----------
        first : torch.Tensor
            (batch, samples), the gradient of the spectral losses.
        others : dict of torch.Tensor
            The gradients that are scaled by it.
        shares : dict of float or torch.Tensor
            The size of each, relative to the first.
        level : torch.Tensor
            (batch,) gains of crops. Gradients are inverse to them.
        """
        gradients = {"": first} | others
        norms = torch.stack([(g.norm(dim=1) * level).mean() for g in gradients.values()])
        workers.average([norms])
        # Numbers stay on the device: reading them would wait for it.
        for name, norm in zip(gradients, norms.detach(), strict=True):
            self.means.setdefault(name, norm.clone()).lerp_(norm, 1 - self.momentum)
        total = first.clone()
        factors = {}
        for name, gradient in others.items():
            factors[name] = shares[name] * self.means[""] / self.means[name].clamp(min=1e-12)
            total += factors[name] * gradient
        return total, factors
