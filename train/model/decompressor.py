"""Codes to features: focal blocks and upscaling; then a refiner of complete chunks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fcs_edge.modelfile.config import DecompressorConfig
from train.model.focal import FocalBlock
from train.model.layers import FeedForward, Snake


class Transposed(nn.Module):
    """A transposed convolution whose stride is its kernel: no rows overlap."""

    def __init__(self, width_in: int, width_out: int, factor: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width_in, width_out, factor) * width_in**-0.5)
        self.bias = nn.Parameter(torch.zeros(width_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, rows, width_in) to (batch, rows x factor, width_out)."""
        width_in, width_out, factor = self.weight.shape
        y = x @ self.weight.permute(0, 2, 1).reshape(width_in, factor * width_out)
        return y.view(x.shape[0], -1, width_out) + self.bias


class Upscale(nn.Module):
    """Snake and a transposed convolution."""

    def __init__(self, width_in: int, width_out: int, factor: int) -> None:
        super().__init__()
        self.activation = Snake(width_in)
        self.upscale = Transposed(width_in, width_out, factor)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, rows, width_in) to (batch, rows x factor, width_out)."""
        y: Tensor = self.upscale(self.activation(x))
        return y


class Decompressor(nn.Module):
    """Focal block and upscale, layer by layer; then the refiner."""

    def __init__(self, config: DecompressorConfig) -> None:
        super().__init__()
        self.config = config
        widths = (*config.hidden_dims, config.output_dim)
        self.in_proj = nn.Linear(config.input_dim, widths[0])
        self.layers = nn.ModuleList()
        for width_in, width_out, factor, window in zip(  # noqa: B905
            widths, widths[1:], config.upscale_factors, config.window_sizes
        ):
            layer = nn.Module()
            layer.focal_block = FocalBlock(width_in, config, window)
            layer.upscale = Upscale(width_in, width_out, factor)
            self.layers.append(layer)
        self.refiner = None
        if config.lookahead_size > 0:
            width = config.chunk_frames * config.output_dim
            self.refiner = FeedForward(width, width)

    def forward(self, codes: Tensor) -> Tensor:
        """Map (batch, tokens, bits) to (batch, rows, output_dim)."""
        x = self.in_proj(codes)
        for layer in self.layers:
            x = layer.upscale(layer.focal_block(x))
        if self.refiner is not None:
            batch, rows, width = x.shape
            chunks = x.view(batch, -1, width * self.config.chunk_frames)
            x = x + self.refiner(chunks).view(batch, rows, width)
        y: Tensor = x
        return y
