"""Distance of third-octave envelopes, which intelligibility depends on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.losses.spectral import FLOOR, RATE, Resolution, Spectrum, active

_SIZE = 768
_LOWEST, _BANDS = 150.0, 15
_ROWS, _STEP = 38, 4
"""Rows of 10 ms in a segment (STOI's 384 ms), and between the starts of two segments."""


class EnvelopeLoss(nn.Module):
    """Correlations of short envelopes, as those of STOI and of ESTOI, without their clipping.

    Let x, y (bands, rows) be envelopes of a segment, each band with mean 0 and norm 1. STOI's part
    is the mean over bands of x . y. ESTOI's part is the mean over rows, after each row got mean 0
    and norm 1. After doi 10.1109/TASL.2011.2114881, section II,
    and doi 10.1109/TASLP.2016.2585878, section III.
    """

    bands: Tensor

    def __init__(self) -> None:
        super().__init__()
        centres = _LOWEST * 2 ** (torch.arange(_BANDS) / 3)
        low, high = centres[:, None] * 2 ** (-1 / 6), centres[:, None] * 2 ** (1 / 6)
        top = float(high[-1])
        self.spectrum = Spectrum(Resolution(_SIZE, RATE // 100, 0, top))
        at = self.spectrum.centres
        self.register_buffer("bands", ((at >= low) & (at < high)).float())

    def distance(self, output: Tensor, target: Tensor, level: float) -> Tensor:
        """Return 1 - (STOI's part + ESTOI's part) / 2, averaged over segments that are not silent.

        Parameters
        ----------
        output, target : torch.Tensor
            (batch, rows x 240) at 24 kHz.
        level : float
            60 dB below it is silence.
        """
        floor = FLOOR * level
        x, y = (self._segments(sound, floor) for sound in (output, target))
        energy = y.square().sum((1, 3))
        counts = active(energy, 1)
        x, y = (_normed(each, 3, _ROWS * floor**2) for each in (x, y))
        by_bands = (x * y).sum(3).mean(1)
        x, y = (_normed(each, 1, 1e-3) for each in (x, y))
        by_rows = (x * y).sum(1).mean(2)
        correlation = (by_bands + by_rows) / 2
        return 1 - (correlation * counts).sum() / counts.sum()

    def _segments(self, sound: Tensor, floor: float) -> Tensor:
        """Return (batch, bands, segments, rows) of (batch, samples)."""
        power: Tensor = self.bands @ self.spectrum(sound).square()
        return (power + floor**2).sqrt().unfold(2, _ROWS, _STEP)


def _normed(x: Tensor, axis: int, eps: float) -> Tensor:
    x = x - x.mean(axis, keepdim=True)
    return x / (x.square().sum(axis, keepdim=True) + eps).sqrt()
