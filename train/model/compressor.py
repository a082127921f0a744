"""Features to latents: a point on a sphere for each token."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from fcs_edge.modelfile.config import CompressorConfig
from train.model.focal import FocalBlock
from train.model.layers import CausalConv, Snake
from train.model.whitening import Whitening


class Downscale(nn.Module):
    """A convolution whose stride is its kernel, and Snake."""

    def __init__(self, width_in: int, width_out: int, factor: int) -> None:
        super().__init__()
        self.downscale = CausalConv(width_in, width_out, factor, factor)
        self.activation = Snake(width_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, rows, width_in) to (batch, rows / factor, width_out)."""
        y: Tensor = self.activation(self.downscale(x))
        return y


class Compressor(nn.Module):
    """Downscale and focal block, layer by layer; a projection onto the sphere.

    Parameters
    ----------
    config : CompressorConfig
        Its sizes.
    whiten : bool
        Whether latents are whitened before they are normalised, for training; `folded` of
        the model puts that into ``out_proj``.
    """

    def __init__(self, config: CompressorConfig, whiten: bool) -> None:
        super().__init__()
        widths = (config.input_dim, *config.hidden_dims)
        self.layers = nn.ModuleList()
        for width_in, width_out, factor in zip(  # noqa: B905
            widths, widths[1:], config.downscale_factors
        ):
            layer = nn.Module()
            layer.downscale = Downscale(width_in, width_out, factor)
            layer.focal_block = FocalBlock(width_out, config, config.window_size)
            self.layers.append(layer)
        self.out_proj = nn.Linear(widths[-1], config.output_dim)
        self.whitening = Whitening(config.output_dim) if whiten else None

    def hidden(self, features: Tensor) -> Tensor:
        """Map (batch, frames, input_dim) to (batch, tokens, width), the input of the latents."""
        x = features
        for layer in self.layers:
            x = layer.focal_block(layer.downscale(x))
        return x

    def latents(self, hidden: Tensor) -> Tensor:
        """Map (batch, tokens, width) to (batch, tokens, bits), rows of unit length."""
        x = self.out_proj(hidden).float()
        if self.whitening is not None:
            x = self.whitening(x)
        return functional.normalize(x, dim=-1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, frames, input_dim) to (batch, tokens, bits), rows of unit length."""
        return self.latents(self.hidden(features))
