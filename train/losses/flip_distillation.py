"""Distillation of bit flips into the search's network: ``flip_teacher`` and ``flip_student``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fcs_edge.modelfile.config import SPECTRA_A_TOKEN, CodecConfig
from train.data.batches import Batch
from train.losses.code_search import distance, target_cepstra
from train.losses.probe import Probe
from train.model import FocalCodecStream
from train.model.codec import Encoding

_FLIP_SHARE = 0.5
"""Largest probability of a flip; each crop draws its own, uniform from 0."""
_FLIP_SCALE = 0.6
"""Latent magnitude, times sqrt(bits), at which the probability of a flip falls to 1/e."""


class FlipDistillation(nn.Module):
    """A probe that teaches the search what the decompressor does with flipped bits.

    Without it the search's network meets only codes that were selected. The probe predicts cepstra
    from decoded features. The search's network learns the same prediction from flipped codes. No
    gradient reaches the codec.

    Parameters
    ----------
    token_width : int
        Columns of a token's decoded features.
    columns : int
        Columns of the cepstra that codes are searched by.
    """

    def __init__(self, token_width: int, columns: int) -> None:
        super().__init__()
        self.probe = Probe(token_width, columns)

    @classmethod
    def of(cls, config: CodecConfig, token_width: int) -> FlipDistillation | None:
        """Return one for a codec, or None where it does not search."""
        search = config.search
        return cls(token_width, SPECTRA_A_TOKEN * search.orders) if search is not None else None

    def forward(
        self, codec: FocalCodecStream, encoding: Encoding, batch: Batch, rows: Tensor
    ) -> dict[str, Tensor]:
        """Return the distance of the probe from the target, and of the search from the probe.

        Bits flip at random, those with a latent near 0 most often.

        Parameters
        ----------
        codec : FocalCodecStream
            A codec with a search.
        encoding : Encoding
            Its latents and codes.
        batch : Batch
            The target audio.
        rows : torch.Tensor
            (batch, tokens, token_width), decoded features of the codes.
        """
        assert codec.search is not None
        cepstra, valid = target_cepstra(codec, batch)
        prediction = self.probe(rows.detach())
        with torch.no_grad():
            codes, bits = encoding.codes, encoding.codes.shape[2]
            rate = _FLIP_SHARE * torch.rand(len(codes), 1, 1, device=codes.device)
            chance = rate * torch.exp(-encoding.latents.abs() * bits**0.5 / _FLIP_SCALE)
            flipped = torch.where(torch.rand_like(chance) < chance, -codes, codes)
            decoded = codec.decompressor(flipped).float().reshape(rows.shape)
            target = self.probe(decoded)
        return {
            "flip_teacher": distance(prediction, cepstra, valid),
            "flip_student": distance(codec.search(flipped), target, torch.ones_like(valid)),
        }
