"""A probe: a small network that predicts something from decoded features."""

from __future__ import annotations

from torch import Tensor, nn

INNER = 512
"""Hidden units of every probe."""


class Probe(nn.Module):
    """Layer norm, a hidden layer and a linear output. It is dropped after training."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width_in),
            nn.Linear(width_in, INNER),
            nn.GELU(),
            nn.Linear(INNER, width_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, rows, width_in) to (batch, rows, width_out) float32."""
        y: Tensor = self.layers(x).float()
        return y
