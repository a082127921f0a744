"""The two objectives: which losses a stage computes from tokens, and which from sound."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fcs_edge.modelfile.config import CodecConfig
from train.data.batches import Batch
from train.losses.bit_redundancy import redundancy
from train.losses.code_search import search_losses
from train.losses.distillation import TeacherDistillation
from train.losses.flip_distillation import FlipDistillation
from train.losses.sound_spectra import SoundSpectra
from train.losses.spectrum_probe import SpectrumProbe
from train.model import FocalCodecStream
from train.model.codec import Encoding


class TokenLosses(nn.Module):
    """Losses of tokens and of decoded features, with the networks that they need.

    Parameters
    ----------
    config : CodecConfig
        Sizes of the codec.
    teacher_width : int
        Columns of the teacher's features.
    flips : bool
        Whether the search's network learns from random flips.
    trained : bool
        Whether tokens are trained. Without it ``distill_decoded`` is the only loss.
    """

    def __init__(
        self, config: CodecConfig, teacher_width: int, flips: bool, trained: bool = True
    ) -> None:
        super().__init__()
        rows_per_token = config.samples_out_per_token // config.decoder.hop_length
        width = rows_per_token * config.decompressor.output_dim
        self.distillation = TeacherDistillation(config.encoder.dim, width, teacher_width)
        self.flips = FlipDistillation.of(config, width) if flips and trained else None
        self.spectrum = SpectrumProbe(width) if trained else None

    def forward(
        self, codec: FocalCodecStream, batch: Batch, encoding: Encoding, codes: Tensor, rows: Tensor
    ) -> dict[str, Tensor]:
        """Return the losses of codes (batch, tokens, bits) and decoded rows (batch, tokens, width).

        `codes` are what was decoded: codes, or latents of crops that are not quantised.
        """
        losses = {"distill_decoded": self.distillation.decoded_distance(rows, batch.teacher)}
        if self.spectrum is None:
            return losses
        features = encoding.features
        losses["distill_encoder"] = self.distillation.encoder_distance(features, batch.teacher)
        losses["bit_redundancy"] = redundancy(codes, batch.input)
        losses |= self.spectrum(rows, batch)
        searched = search_losses(codec, encoding, batch)
        if self.flips is not None and searched:
            searched |= self.flips(codec, encoding, batch, rows)
        return losses | searched


class TokenObjective(nn.Module):
    """Losses of tokens alone; no audio is synthesised (``objective = "tokens"``).

    Parameters
    ----------
    config, teacher_width, flips
        As of `TokenLosses`.
    """

    def __init__(self, config: CodecConfig, teacher_width: int, flips: bool) -> None:
        super().__init__()
        self.tokens = TokenLosses(config, teacher_width, flips)

    def forward(self, codec: FocalCodecStream, batch: Batch, quantised: float) -> dict[str, Tensor]:
        """Return the losses of a batch of which the share `quantised` of crops is quantised."""
        encoding = codec.encode(batch.input)
        codes = _mixed(encoding, quantised)
        decoded = codec.decompressor(codes).float()
        rows = decoded.reshape(*batch.teacher.shape[:2], -1)
        losses: dict[str, Tensor] = self.tokens(codec, batch, encoding, codes, rows)
        return losses


class SoundObjective(nn.Module):
    """Losses of tokens and of the spectra of decoded audio (``objective = "sound"``).

    Parameters
    ----------
    config, teacher_width, flips
        As of `TokenLosses`.
    train_encoder : bool
        Whether tokens are trained too.
    """

    def __init__(
        self, config: CodecConfig, teacher_width: int, train_encoder: bool, flips: bool
    ) -> None:
        super().__init__()
        self.train_encoder = train_encoder
        self.tokens = TokenLosses(config, teacher_width, flips, train_encoder)
        self.spectra = SoundSpectra()

    def forward(self, codec: FocalCodecStream, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Return the losses of a batch, and its decoded audio, (batch, samples) float32."""
        with torch.set_grad_enabled(self.train_encoder and torch.is_grad_enabled()):
            encoding = codec.encode(batch.input)
        features = codec.decompressor(encoding.codes)
        rows = features.float().reshape(*batch.teacher.shape[:2], -1)
        losses: dict[str, Tensor] = self.tokens(codec, batch, encoding, encoding.codes, rows)
        sound = codec.decoder(features).float()
        return losses | self.spectra(sound, batch), sound


def _mixed(encoding: Encoding, quantised: float) -> Tensor:
    """Return codes of the share `quantised` of crops, and latents of the others."""
    if quantised >= 1:
        return encoding.codes
    codes = encoding.codes
    chosen = torch.rand(len(codes), 1, 1, device=codes.device) < quantised
    return torch.where(chosen, codes, encoding.latents)
