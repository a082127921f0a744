"""How much each loss asks of the sound, set by what it asks, not by what it is."""

from __future__ import annotations

import torch
from torch import Tensor

from train import workers


class Balance:
    """Adds gradients at the sound, each as large as its share of the first.

    g = g_0 + sum_i share_i (n_0 / n_i) g_i, where n is the running mean of a gradient's norm: over
    a crop, times the crop's level, averaged over crops. After the balancer of arXiv 2210.13438,
    section 3.4; the first keeps the size that it has.

    Parameters
    ----------
    keep : float
        How much of a running mean stays each step.
    """

    def __init__(self, keep: float = 0.98) -> None:
        self.keep = keep
        self.means: dict[str, Tensor] = {}

    def add(
        self,
        first: Tensor,
        others: dict[str, Tensor],
        shares: dict[str, Tensor | float],
        level: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of gradients, and what each was multiplied by.

        Parameters
        ----------
        first : torch.Tensor
            (batch, samples), what spectra ask for.
        others : dict of torch.Tensor
            The gradients that are measured by it.
        shares : dict of float or torch.Tensor
            How large each is to be.
        level : torch.Tensor
            (batch,): what is quiet has gradients as much larger.
        """
        gradients = {"": first} | others
        norms = torch.stack([(g.norm(dim=1) * level).mean() for g in gradients.values()])
        workers.average([norms])
        # Numbers stay where gradients are: a device would be waited for.
        for name, norm in zip(gradients, norms.detach(), strict=True):
            self.means.setdefault(name, norm.clone()).lerp_(norm, 1 - self.keep)
        total = first.clone()
        factors = {}
        for name, gradient in others.items():
            factors[name] = shares[name] * self.means[""] / self.means[name].clamp(min=1e-12)
            total += factors[name] * gradient
        return total, factors
