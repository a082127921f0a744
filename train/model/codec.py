"""The complete codec on complete sequences."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from fcs_edge.errors import ConfigError
from fcs_edge.modelfile.config import CodecConfig, VocosConfig
from train.model.code_search import Search
from train.model.compressor import Compressor
from train.model.decoder import Decoder
from train.model.decompressor import Decompressor
from train.model.encoder import Encoder
from train.model.quantizer import quantize


@dataclass
class Encoding:
    """The result of encoding."""

    features: Tensor
    """(batch, frames, dim)."""
    latents: Tensor
    """(batch, tokens, bits) rows of unit length."""
    codes: Tensor
    """(batch, tokens, bits) of +-1/sqrt(bits), with the latents' gradients."""
    target: Tensor | None = None
    """(batch, tokens, columns), cepstra that the search aims at, for a codec with a search."""


class FocalCodecStream(nn.Module):
    """FocalCodec-Stream (arXiv 2509.16195), causal.

    Parameters
    ----------
    config : CodecConfig
        Its sizes.
    whiten : bool
        Whether latents are whitened, for training.

    Raises
    ------
    fcs_edge.errors.ConfigError
        A stage is not causal, or the decoder is Vocos.
    """

    def __init__(self, config: CodecConfig, whiten: bool = False) -> None:
        if not config.is_causal or isinstance(config.decoder, VocosConfig):
            raise ConfigError("train builds causal models with a WaveNeXt decoder, and no others")
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.encoder)
        self.compressor = Compressor(config.compressor, whiten)
        self.search = Search(config.search, config) if config.search is not None else None
        self.decompressor = Decompressor(config.decompressor)
        self.decoder = Decoder(config.decoder)

    def encode(self, samples: Tensor) -> Encoding:
        """Encode (batch, samples) at 16 kHz, whole chunks."""
        features = self.encoder(samples)
        hidden = self.compressor.hidden(features)
        latents = self.compressor.latents(hidden)
        if self.search is None:
            return Encoding(features, latents, quantize(latents))
        target = self.search.target(hidden, samples)
        if not self.search.enabled:
            return Encoding(features, latents, quantize(latents), target)
        codes = self.search.select(latents, target)
        return Encoding(features, latents, latents + (codes - latents).detach(), target)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the samples, (batch, samples), of codes (batch, tokens, bits)."""
        samples: Tensor = self.decoder(self.decompressor(codes))
        return samples

    def forward(self, samples: Tensor) -> Tensor:
        """Encode and decode (batch, samples)."""
        return self.decode(self.encode(samples).codes)

    def folded(self) -> dict[str, Tensor]:
        """Return the state dict in the published names, with the whitening in ``out_proj``."""
        state = {
            k: v.detach().clone() for k, v in self.state_dict().items() if ".whitening." not in k
        }
        if self.compressor.whitening is not None:
            name = "compressor.out_proj"
            weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
            folded = self.compressor.whitening.folded(weight, bias)
            state[f"{name}.weight"], state[f"{name}.bias"] = folded
        return state
