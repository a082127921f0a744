"""Latents that fill the sphere, so that bits are balanced and independent."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_SHRINK, _EPS = 0.003, 1e-7


class Whitening(nn.Module):
    """``L^-1 (x - mean)``, where L is the Cholesky factor of the covariance.

    In training mean and covariance are the batch's, and are averaged over batches; otherwise
    they are those averages. It is linear, so that it can be folded into the layer before it.

    Parameters
    ----------
    width : int
        Channels.
    momentum : float
        The share of a new batch in the averages.
    """

    mean: Tensor
    covariance: Tensor
    n_batches: Tensor

    def __init__(self, width: int, momentum: float = 0.02) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("covariance", torch.eye(width))
        self.register_buffer("n_batches", torch.zeros(()))

    def factor(self, covariance: Tensor) -> Tensor:
        """Return L, (width, width)."""
        width = len(covariance)
        ridge = _SHRINK * covariance.diagonal().mean() + _EPS
        factor: Tensor = torch.linalg.cholesky(
            covariance + ridge * torch.eye(width, device=covariance.device)
        )
        return factor

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, rows, width) float32 to the same shape."""
        with torch.autocast(x.device.type, enabled=False):
            return self._white(x)

    def _white(self, x: Tensor) -> Tensor:
        mean, covariance = self.mean, self.covariance
        if self.training:
            rows = x.flatten(0, 1)
            mean = rows.mean(0)
            centred = rows - mean
            covariance = centred.t() @ centred / len(rows)
            with torch.no_grad():
                self.n_batches += 1
                share = torch.clamp(1 / self.n_batches, min=self.momentum)
                self.mean.lerp_(mean, share)
                self.covariance.lerp_(covariance, share)
        centred = (x - mean).flatten(0, 1)
        factor = self.factor(covariance)
        white = torch.linalg.solve_triangular(factor, centred.t(), upper=False).t()
        return white.view_as(x)

    def folded(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the linear layer before it with the whitening inside."""
        factor = self.factor(self.covariance)
        shifted = (bias - self.mean)[:, None]
        return (
            torch.linalg.solve_triangular(factor, weight, upper=False),
            torch.linalg.solve_triangular(factor, shifted, upper=False)[:, 0],
        )
