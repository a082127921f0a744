"""Distance of autocorrelations, which pitch and the regularity of voices depend on."""

from __future__ import annotations

import torch
from torch import Tensor

from train.losses.spectral import FLOOR, RATE

_SIZE, _HOP, _POINTS = 1920, 480, 4096
_TOP_HZ = 1500.0
_LAGS = (48, 440)
"""Periods from 2 to 18 ms."""
_VOICED = 0.3
_BANDS_HZ = ((1000, 2000), (2000, 4000), (4000, 6000))
_BAND_POINTS = 1024
"""Points of the transform of a band: lags are 0.17 ms apart."""


class Autocorrelation:
    """Mean difference of normalised autocorrelations over the lags of pitch, in voiced frames.

    With |X| the magnitudes of a Hann window of 80 ms up to 1.5 kHz, r = irfft(|X|) / irfft(|X|)[0].
    Magnitudes instead of powers give all harmonics a say (T. Tolonen, M. Karjalainen, "A
    computationally efficient multipitch analysis model", IEEE Trans. Speech Audio Process. 8(6),
    2000). In bands above that, r = |sum_f |X_f| e^(2 pi i f lag)| / sum_f |X_f|, which harmonics at
    any multiple of a pitch raise. A frame counts by how far the target's highest value below
    1.5 kHz exceeds 0.3. The distance is the mean of that below 1.5 kHz and that of the bands.
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
            voiced = (expected[0].amax(-1) - _VOICED).clamp(min=0) * loud
        found, _ = self._correlations(output, level)
        pairs = zip(found, expected, strict=True)
        errors = [(a - b).abs().mean(-1) for a, b in pairs]
        error = (errors[0] + torch.stack(errors[1:]).mean(0)) / 2
        return (error * voiced).sum() / (voiced.sum() + 1e-3)

    def _correlations(self, sound: Tensor, level: float) -> tuple[list[Tensor], Tensor]:
        """Return autocorrelations, (batch, frames, lags) each, and 1 where a frame is not silent.

        The first ones are those below 1.5 kHz.
        """
        frames = sound.unfold(1, _SIZE, _HOP) * self._window
        spectrum = torch.view_as_real(torch.fft.rfft(frames, _POINTS)).square().sum(-1)
        magnitude = (spectrum + (0.01 * FLOOR * level * _SIZE) ** 2).sqrt()
        correlation = torch.fft.irfft(magnitude * self._taper)
        all_bands = [correlation[..., _LAGS[0] : _LAGS[1]] / correlation[..., :1]]
        for edges in _BANDS_HZ:
            low, high = (round(hz * _POINTS / RATE) for hz in edges)
            band = magnitude[..., low:high]
            lags = slice(*(round(lag * _BAND_POINTS / _POINTS) for lag in _LAGS))
            parts = torch.view_as_real(torch.fft.rfft(band, _BAND_POINTS)[..., lags])
            comb = (parts.square().sum(-1) + 1e-12).sqrt()
            all_bands.append(comb / band.sum(-1, keepdim=True))
        loud = frames.square().mean(-1) > (10 * FLOOR * level) ** 2
        return all_bands, loud.float()
