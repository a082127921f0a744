"""WaveNeXt: features to sound, a linear layer's outputs as a frame's samples."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fcs_edge.modelfile.config import DecoderConfig
from train.model.layers import CausalConv

_EPS = 1e-6
_MASK = 0xFFFFFFFF


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
    """WaveNeXt (``decoder``).

    ``noise_scale`` is the size of the noise beside the features in training. A checkpoint has a
    scale of 1: `scaled_features` divides the features by it instead.
    """

    noise_scale: Tensor

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        if config.noise_channels:
            self.register_buffer("noise_scale", torch.ones(()))
        width = config.dim
        self.backbone = nn.Module()
        self.backbone.embedding = CausalConv(config.row_dim, width, config.kernel_size, zeros=True)
        self.backbone.input_norm = nn.LayerNorm(width, eps=_EPS)
        self.backbone.layers = nn.ModuleList(NextBlock(config) for _ in range(config.num_layers))
        self.backbone.output_norm = nn.LayerNorm(width, eps=_EPS)
        self.head = nn.Module()
        self.head.proj = nn.Linear(width, config.head_dim)
        self.hop, self.noise_channels = config.hop_length, config.noise_channels

    def forward(self, features: Tensor, first_row: Tensor | None = None) -> Tensor:
        """Map (batch, rows, input_dim) to (batch, rows x hop_length) samples, not clamped.

        `first_row` (batch,) int64 is the number of each crop's first row in its stream; without it
        training draws one, and evaluation takes 0.
        """
        x = self.backbone.embedding(self._with_noise(features, first_row))
        x = self.backbone.input_norm(x)
        for layer in self.backbone.layers:
            x = layer(x)
        return self._overlapped(self.head.proj(self.backbone.output_norm(x)))

    def _with_noise(self, features: Tensor, first_row: Tensor | None) -> Tensor:
        if not self.noise_channels:
            return features
        batch, rows, _ = features.shape
        if first_row is None:
            first_row = torch.zeros(batch, dtype=torch.int64, device=features.device)
            if self.training:
                first_row.random_(1 << 32)
        number = first_row[:, None] + torch.arange(rows, device=features.device)
        values = self.noise_scale * noise(number, self.noise_channels)
        return torch.cat([features, values.to(features.dtype)], -1)

    def _overlapped(self, joined: Tensor) -> Tensor:
        """Add what reaches into the next row to that row, and join the rows."""
        samples = joined[..., : self.hop]
        later = joined[..., self.hop :]
        if later.shape[-1]:
            later = functional.pad(later[:, :-1], (0, self.hop - later.shape[-1], 1, 0))
            samples = samples + later
        return samples.flatten(1)


def noise(rows: Tensor, channels: int) -> Tensor:
    """Return the noise of rows by their numbers, (..., channels) float32 in [-1, 1).

    h = rows * channels + channel + 0x9E3779B9 modulo 2^32, then the finaliser of MurmurHash3
    (A. Appleby, public domain); the value is floor(h / 2^8) / 2^23 - 1.
    """
    channel = torch.arange(channels, device=rows.device)
    h = ((rows[..., None] & _MASK) * channels + channel + 0x9E3779B9) & _MASK
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = _product(h ^ (h >> shift), factor)
    h = h ^ (h >> 16)
    return (h >> 8).float() * 2.0**-23 - 1


def _product(a: Tensor, b: int) -> Tensor:
    """Return a * b modulo 2^32: int64 holds the product of 32 and 16 bits."""
    return (a * (b & 0xFFFF) + (((a * (b >> 16)) & 0xFFFF) << 16)) & _MASK


def scaled_features(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a codec's tensors with a noise scale of 1, which is left out, and equal sound.

    The features between decompressor and decoder are divided by the scale. A power of two makes
    that exact.
    """
    if "decoder.noise_scale" not in tensors:
        return tensors
    new = {name: tensor for name, tensor in tensors.items() if name != "decoder.noise_scale"}
    scale = tensors["decoder.noise_scale"]
    layers = [name.split(".")[2] for name in new if name.startswith("decompressor.layers.")]
    last = max(layers, key=int)
    for name in (f"layers.{last}.upscale.upscale", "refiner.out_proj"):
        for part in ("weight", "bias"):
            if f"decompressor.{name}.{part}" in new:
                new[f"decompressor.{name}.{part}"] = new[f"decompressor.{name}.{part}"] / scale
    for name in ("decompressor.refiner.in_proj.weight", "decoder.backbone.embedding.weight"):
        if name in new:
            new[name] = new[name] * scale
    return new
