"""WaveNeXt: features to sound, a linear layer's outputs as a frame's samples."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fcs_edge.modelfile.config import DecoderConfig
from train.model.layers import CausalConv

_EPS = 1e-6


class NextBlock(nn.Module):
    """A ConvNeXt block: depthwise convolution, norm, feed-forward, scaled."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        width, scale = config.dim, config.layerscale_init or 1 / config.num_layers
        self.gamma = nn.Parameter(torch.full((width,), scale))
        self.dwconv = CausalConv(width, width, config.kernel_size, groups=width, zeros=True)
        self.norm = nn.LayerNorm(width, eps=_EPS)
        self.pwconv1 = nn.Linear(width, config.ffn_dim)
        self.pwconv2 = nn.Linear(config.ffn_dim, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, rows, dim) to the same shape."""
        inner = functional.gelu(self.pwconv1(self.norm(self.dwconv(x))))
        return x + self.gamma * self.pwconv2(inner)


class Decoder(nn.Module):
    """WaveNeXt (``decoder``)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        width = config.dim
        self.backbone = nn.Module()
        self.backbone.embedding = CausalConv(
            config.input_dim, width, config.kernel_size, zeros=True
        )
        self.backbone.input_norm = nn.LayerNorm(width, eps=_EPS)
        self.backbone.layers = nn.ModuleList(NextBlock(config) for _ in range(config.num_layers))
        self.backbone.output_norm = nn.LayerNorm(width, eps=_EPS)
        self.head = nn.Module()
        self.head.proj = nn.Linear(width, config.hop_length)

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, rows, input_dim) to (batch, rows x hop_length) samples, not clamped."""
        x = self.backbone.input_norm(self.backbone.embedding(features))
        for layer in self.backbone.layers:
            x = layer(x)
        samples: Tensor = self.head.proj(self.backbone.output_norm(x)).flatten(1)
        return samples
