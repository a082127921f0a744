"""Spectra of decoded audio and of the target: ``mel``, ``linear`` and ``pitch``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.data.batches import Batch
from train.losses.spectral import FLOOR, Resolution, Spectrum, difference

_RESOLUTIONS = (
    (2048, 480, 120),
    (1024, 240, 100),
    (512, 120, 64),
    (256, 60, 32),
    (128, 30, 16),
)
"""Samples of the window, samples of the hop, and mel bands."""
_PER_STEP = 2
"""Resolutions in a training step."""


class SoundSpectra(nn.Module):
    """Mel spectra at five resolutions, and the bins of harmonics."""

    def __init__(self) -> None:
        super().__init__()
        self.spectra = nn.ModuleList(Spectrum(Resolution(*sizes)) for sizes in _RESOLUTIONS)
        self.pitch = Spectrum(Resolution(2048, 240, 0, 2000.0))

    def forward(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the distances of decoded audio, (batch, samples), from the target.

        A training step draws two of the resolutions: spectra take half of its time.
        """
        mel = linear = torch.zeros((), device=output.device)
        spectra = list(self.spectra)
        if self.training:
            spectra = [spectra[i] for i in torch.randperm(len(spectra))[:_PER_STEP]]
        floor = FLOOR * batch.level[:, None, None]
        for spectrum in spectra:
            trusted = spectrum.trusted(batch.band_hz)
            with torch.no_grad():
                target = spectrum(batch.target)
            magnitude = spectrum(output)
            mel = mel + difference(torch.log(magnitude + floor), torch.log(target + floor), trusted)
            error = ((magnitude - target).abs() * trusted).sum((1, 2))
            linear = linear + (error / (target * trusted).sum((1, 2)).add(floor.flatten())).mean()
        with torch.no_grad():
            target = self.pitch.log(batch.target, batch.level)
        prediction = self.pitch.log(output, batch.level)
        pitch = difference(prediction, target, self.pitch.trusted(batch.band_hz))
        return {"mel": mel / len(spectra), "linear": linear / len(spectra), "pitch": pitch}
