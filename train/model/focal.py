"""The focal block, which compressor and decompressor are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fcs_edge.modelfile.config import FocalConfig
from train.model.layers import CausalConv, DynamicTanh, FeedForward


class Modulation(nn.Module):
    """Focal modulation: contexts of growing reach, gated and summed, times a query."""

    def __init__(self, width: int, config: FocalConfig, window_size: int) -> None:
        super().__init__()
        taps = config.kernel_sizes(window_size)
        self.widths = (width, width, len(taps))
        self.normalize = config.normalize_modulator
        self.in_proj = nn.Linear(width, sum(self.widths))
        self.layers = nn.ModuleList(
            nn.Sequential(CausalConv(width, width, k, groups=width)) for k in taps
        )
        self.context_proj = CausalConv(width, width, 1)
        self.out_proj = nn.Linear(width, width)
        self.norm = DynamicTanh(config.tanhscale_init) if config.use_post_norm else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, rows, width) to the same shape."""
        query, context, gates = self.in_proj(x).split(self.widths, -1)
        total = torch.zeros_like(context)
        for level, conv in enumerate(self.layers):
            context = functional.gelu(conv(context))
            total = total + context * gates[..., level : level + 1]
        if self.normalize:
            total = total / len(self.layers)
        y = query * self.context_proj(total)
        if self.norm is not None:
            y = self.norm(y)
        out: Tensor = self.out_proj(y)
        return out


class FocalBlock(nn.Module):
    """Modulation and feed-forward, with dynamic tanh before or after them."""

    def __init__(self, width: int, config: FocalConfig, window_size: int) -> None:
        super().__init__()
        self.post_norm = config.use_post_norm
        self.modulation_gamma = self.feed_forward_gamma = None
        if config.use_layerscale:
            first = torch.full((width,), config.layerscale_init)
            self.modulation_gamma = nn.Parameter(first.clone())
            self.feed_forward_gamma = nn.Parameter(first.clone())
        self.modulation_norm = DynamicTanh(config.tanhscale_init)
        self.modulation = Modulation(width, config, window_size)
        self.feed_forward_norm = DynamicTanh(config.tanhscale_init)
        self.feed_forward = FeedForward(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, rows, width) to the same shape."""
        x = self._added(x, self.modulation, self.modulation_norm, self.modulation_gamma)
        return self._added(x, self.feed_forward, self.feed_forward_norm, self.feed_forward_gamma)

    def _added(self, x: Tensor, inner: nn.Module, norm: nn.Module, gamma: Tensor | None) -> Tensor:
        y: Tensor = norm(inner(x)) if self.post_norm else inner(norm(x))
        return x + (y if gamma is None else gamma * y)
