"""Distance of autocorrelations below 1.5 kHz, which pitch depends on."""

from __future__ import annotations

import torch
from torch import Tensor

from train.losses.spectral import FLOOR, RATE

_SIZE, _HOP, _POINTS = 1920, 480, 4096
_TOP_HZ = 1500.0
_LAGS = (48, 440)
"""Periods from 2 to 18 ms."""
_VOICED = 0.3


class Autocorrelation:
    """Mean difference of normalised autocorrelations over the lags of pitch, in voiced frames.

    With |X| the magnitudes of a Hann window of 80 ms up to 1.5 kHz, r = irfft(|X|) / irfft(|X|)[0].
    Magnitudes instead of powers give all harmonics a say (T. Tolonen, M. Karjalainen, "A
    computationally efficient multipitch analysis model", IEEE Trans. Speech Audio Process. 8(6),
    2000). A frame counts by how far its target's highest value exceeds 0.3.
    """

    def __init__(self) -> None:
        self._window = torch.hann_window(_SIZE)
        hertz = torch.arange(_POINTS // 2 + 1) * (RATE / _POINTS)
        self._taper = (1 - (hertz / _TOP_HZ).square()).clamp(min=0).sqrt()

    def to(self, device: torch.device) -> Autocorrelation:
        """Move it to a device."""
        self._window, self._taper = self._window.to(device), self._taper.to(device)
        return self

    def distance(self, output: Tensor, target: Tensor, level: float) -> Tensor:
        """Return the distance of (batch, samples) at 24 kHz; 60 dB below `level` is silence."""
        with torch.no_grad():
            expected, loud = self._correlations(target, level)
            voiced = (expected.amax(-1) - _VOICED).clamp(min=0) * loud
        found, _ = self._correlations(output, level)
        difference = (found - expected).abs().mean(-1)
        return (difference * voiced).sum() / (voiced.sum() + 1e-3)

    def _correlations(self, sound: Tensor, level: float) -> tuple[Tensor, Tensor]:
        """Return autocorrelations, (batch, frames, lags), and 1 where a frame is not silent."""
        frames = sound.unfold(1, _SIZE, _HOP) * self._window
        spectrum = torch.view_as_real(torch.fft.rfft(frames, _POINTS)).square().sum(-1)
        magnitude = (spectrum + (0.01 * FLOOR * level * _SIZE) ** 2).sqrt() * self._taper
        correlation = torch.fft.irfft(magnitude)
        normalised = correlation[..., _LAGS[0] : _LAGS[1]] / correlation[..., :1]
        loud = frames.square().mean(-1) > (10 * FLOOR * level) ** 2
        return normalised, loud.float()
