"""Errors of level: the mean of loud frames, and energy in bands where the target has none."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.losses.spectral import FLOOR, Resolution, Spectrum, active

_HOP = 240
_BINS = 22
"""Bins of a band, 516 Hz."""
_EMPTY, _QUIETEST = 10**-4.5, 10**-7.0
"""Energies relative to the crop's: below the first a band is empty, the second is the floor."""
_ROWS = 16
"""Rows of 20 ms in a span."""


class LevelError:
    """Mean over crops of |mean over frames of log(e_y / e_x)|, with e the energies of frames.

    Frames last 10 ms. Those within 40 dB of the target's maximum count.
    """

    def to(self, device: torch.device) -> LevelError:
        """Move it to a device: it has no tensors."""
        return self

    def distance(self, output: Tensor, target: Tensor, level: float) -> Tensor:
        """Return the distance of (batch, samples) at 24 kHz; 60 dB below `level` is silence."""
        x, y = (s.unfold(1, _HOP, _HOP).square().mean(-1) for s in (target, output))
        counts = active(x, 1)
        floor = (FLOOR * level) ** 2
        error = (torch.log(y + floor) - torch.log(x + floor)) * counts
        return (error.sum(1) / counts.sum(1).clamp(min=1)).abs().mean()


class ExcessEnergy(nn.Module):
    """Mean of max(0, log(p_y / p_x)) over bands that are empty in the target.

    p are energies of bands of 0.5 kHz in spans of 0.3 s, no less than 70 dB below the crop's
    energy. A band is empty where its mean is 45 dB or more below that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spectrum = Spectrum(Resolution(1024, 480, 0))

    def distance(self, output: Tensor, target: Tensor, level: float) -> Tensor:
        """Return the distance of (batch, rows x 480) at 24 kHz; 60 dB below `level` is silence."""
        x, y = (self._bands(sound) for sound in (target, output))
        whole = (x.mean(2).sum(1) + (FLOOR * level) ** 2)[:, None, None]
        empty = (x.mean(2, keepdim=True) < _EMPTY * whole).float()
        x, y = (torch.log(band + _QUIETEST * whole) for band in (x, y))
        return ((y - x).clamp(min=0) * empty).mean()

    def _bands(self, sound: Tensor) -> Tensor:
        """Return energies, (batch, bands, spans)."""
        power: Tensor = self.spectrum(sound).square()
        spans = power.unfold(2, _ROWS, _ROWS).mean(-1)
        return spans[:, 1:].unfold(1, _BINS, _BINS).sum(-1)
