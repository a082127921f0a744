"""Prediction of the target spectrum from decoded features: the ``predict_`` losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.data.batches import Batch
from train.losses.cepstral import FORMANTS, concordance_loss, cosines, formant_loss
from train.losses.probe import Probe
from train.losses.spectral import RATE, Resolution, Spectrum, active, difference

ROW_HZ = 100
"""Spectra a second."""
_RESOLUTIONS = {
    "mel": Resolution(1024, RATE // ROW_HZ, 100),
    "short": Resolution(256, RATE // ROW_HZ, 24),
    "long": Resolution(2048, RATE // ROW_HZ, 0, 1300.0),
}
"""Spectral envelope, moment within 10 ms, and harmonics."""

_SHAPE = 28
"""Last cepstral coefficient of ``predict_shape``: detail at least 230 mel wide."""
_LOG_MAGNITUDE = -6.0
"""Typical log magnitude: the initial bias of predictions."""


class SpectrumProbe(nn.Module):
    """A probe that predicts three spectra of the target audio from decoded features.

    It trains encoder, compressor and decompressor without audio. The details of the spectrum
    arrive at once, where a decoder first has to learn to synthesise.

    Parameters
    ----------
    token_width : int
        Columns of a token's decoded features.
    """

    cosines: Tensor
    formant_cosines: Tensor
    formant_bands: Tensor

    def __init__(self, token_width: int) -> None:
        super().__init__()
        self.spectra = nn.ModuleDict({name: Spectrum(r) for name, r in _RESOLUTIONS.items()})
        self.widths = [spectrum.centres.numel() for spectrum in self.spectra.values()]
        self.probe = Probe(token_width, ROW_HZ // 50 * sum(self.widths))
        nn.init.constant_(self.probe.layers[-1].bias, _LOG_MAGNITUDE)
        self.register_buffer("cosines", cosines(self.widths[0], 1, _SHAPE), persistent=False)
        centres = self.spectra["mel"].centres
        rows = []
        for part in FORMANTS:
            inside = (centres > part.low_hz) & (centres < part.high_hz)
            rows.append(torch.zeros(part.last + 1 - part.first, self.widths[0]))
            rows[-1][:, inside] = cosines(int(inside.sum()), part.first, part.last)
        self.register_buffer("formant_cosines", torch.cat(rows), persistent=False)
        bands = self.formant_cosines.any(0).nonzero()[:, 0]
        self.register_buffer("formant_bands", bands, persistent=False)

    def forward(self, rows: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the distances of the predictions, from rows (batch, frames, token_width)."""
        output = self.probe(rows).reshape(len(rows), -1, sum(self.widths)).transpose(1, 2)
        parts = output.split(self.widths, 1)
        losses = {}
        for (name, spectrum), prediction in zip(self.spectra.items(), parts, strict=True):
            target = spectrum.log(batch.target, batch.level)
            trusted = spectrum.trusted(batch.band_hz)
            losses[f"predict_{name}"] = difference(prediction, target, trusted)
            if name == "mel":
                losses |= self._shape(torch.lerp(target, prediction, trusted), target)
        return losses

    def _shape(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the distances of shapes of log mel spectra, (batch, bands, rows)."""
        energy = torch.exp(2 * target)
        counts = active(energy.sum(1, keepdim=True), 2)
        shape = concordance_loss(self.cosines @ output, self.cosines @ target, counts)
        counts = active(energy[:, self.formant_bands].sum(1, keepdim=True), 2)
        formants = formant_loss(
            self.formant_cosines @ output, self.formant_cosines @ target, counts
        )
        return {"predict_shape": shape, "predict_formants": formants}
