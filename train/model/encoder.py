"""Causal WavLM: strided convolutions, a positional convolution, chunked attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from fcs_edge.modelfile.config import EncoderConfig
from train.model.layers import CausalConv, FeedForward


class FeatureLayer(nn.Module):
    """Convolution, norm, GELU."""

    def __init__(self, width_in: int, width_out: int, taps: int, stride: int) -> None:
        super().__init__()
        self.conv = CausalConv(width_in, width_out, taps, stride, bias=False)
        self.norm = nn.LayerNorm(width_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, rows, width_in) to (batch, rows / stride, width_out)."""
        return functional.gelu(self.norm(self.conv(x)))


class Attention(nn.Module):
    """Attention with a gated relative position bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.gru_rel_pos_const = nn.Parameter(torch.ones(1, heads, 1, 1))
        self.qkv_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)
        self.gru_rel_pos_linear = nn.Linear(width // heads, 8)

    def forward(self, x: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
        """Map (batch, rows, width); bias is (heads, rows, rows), mask (rows, rows)."""
        batch, rows, width = x.shape
        split = (batch, rows, 3, self.heads, width // self.heads)
        query, key, value = self.qkv_proj(x).view(split).permute(2, 0, 3, 1, 4)
        gates = self.gru_rel_pos_linear(x.view(batch, rows, self.heads, -1).transpose(1, 2))
        gates = torch.sigmoid(gates.unflatten(-1, (2, 4)).sum(-1))
        gate = gates[..., :1] * (gates[..., 1:] * self.gru_rel_pos_const - 1) + 2
        added = (gate * bias + mask).to(query.dtype)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=added)
        y: Tensor = self.out_proj(attended.transpose(1, 2).reshape(batch, rows, width))
        return y


class TransformerLayer(nn.Module):
    """Attention and feed-forward, each after its norm."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.dim)
        self.attention = Attention(config.dim, config.num_heads)
        self.feed_forward_norm = nn.LayerNorm(config.dim)
        self.feed_forward = FeedForward(config.dim, config.ffn_dim)

    def forward(self, x: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
        """Map (batch, rows, dim) to the same shape."""
        x = x + self.attention(self.attention_norm(x), bias, mask)
        y: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return y


class PositionalEmbedding(nn.Module):
    """``x + GELU(conv(x))``."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.conv = CausalConv(
            config.dim, config.dim, config.conv_pos, groups=config.conv_pos_groups
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, rows, dim) to the same shape."""
        return x + functional.gelu(self.conv(x))


def buckets(rows: int, config: EncoderConfig) -> Tensor:
    """Return the bucket of each relative position, (rows, rows) int64: query by key."""
    index = torch.arange(rows)
    distance = index[None] - index[:, None]
    half = config.num_buckets // 2
    exact = half // 2
    magnitude = distance.abs().clamp(min=1).float()
    logarithmic = (
        torch.log(magnitude / exact) / math.log(config.max_distance / exact) * (half - exact)
    )
    logarithmic = (exact + logarithmic.long()).clamp(max=half - 1)
    bucket = torch.where(distance.abs() < exact, distance.abs(), logarithmic)
    return bucket + half * (distance > 0)


def chunk_mask(rows: int, config: EncoderConfig) -> Tensor:
    """Return what is added to scores, (rows, rows) float32: 0 in a chunk's window of keys."""
    index = torch.arange(rows)
    end = (index // config.chunk_frames + 1) * config.chunk_frames
    first = end - config.window_size
    visible = (index[None] < end[:, None]) & (index[None] >= first[:, None])
    return torch.zeros(rows, rows).masked_fill(~visible, -math.inf)


class Transformer(nn.Module):
    """The layers that share one table of position biases."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.positional_embedding = PositionalEmbedding(config)
        self.relative_embedding = nn.Embedding(config.num_buckets, config.num_heads)
        nn.init.normal_(self.relative_embedding.weight, std=0.1)
        self.layers = nn.ModuleList(TransformerLayer(config) for _ in range(config.num_layers))
        self._tables: dict[tuple[int, torch.device], tuple[Tensor, Tensor]] = {}

    def tables(self, rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return `buckets` and `chunk_mask`, cached for the last few lengths.

        On a GPU buckets are one-hot, (rows, rows, num_buckets): the gradient of a product needs no
        sort there, that of an embedding does.
        """
        tables = self._tables.get((rows, device))
        if tables is None:
            if len(self._tables) > 8:
                self._tables.clear()
            bucket, mask = buckets(rows, self.config), chunk_mask(rows, self.config)
            if device.type == "cuda":
                bucket = functional.one_hot(bucket, self.config.num_buckets).float()
            tables = bucket.to(device), mask.to(device)
            self._tables[rows, device] = tables
        return tables

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, rows, dim) to the same shape."""
        x = self.positional_embedding(x)
        bucket, mask = self.tables(x.shape[1], x.device)
        table = self.relative_embedding.weight
        bias = bucket @ table if bucket.is_floating_point() else self.relative_embedding(bucket)
        bias = bias.permute(2, 0, 1)
        for layer in self.layers:
            x = layer(x, bias, mask)
        return x


class Encoder(nn.Module):
    """16 kHz samples to features, a row each 20 ms."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        widths = (1, *config.hidden_dims)
        sizes = zip(widths, widths[1:], config.kernel_sizes, config.strides)  # noqa: B905
        self.feature_extractor = nn.Module()
        self.feature_extractor.layers = nn.ModuleList(FeatureLayer(*size) for size in sizes)
        self.norm = nn.LayerNorm(widths[-1])
        self.feature_proj = nn.Linear(widths[-1], config.dim)
        self.encoder = Transformer(config)

    def forward(self, samples: Tensor) -> Tensor:
        """Map (batch, samples), whole chunks, to (batch, frames, dim)."""
        x = samples[..., None]
        for layer in self.feature_extractor.layers:
            x = layer(x)
        y: Tensor = self.encoder(self.feature_proj(self.norm(x)))
        return y
