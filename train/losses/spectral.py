"""Spectra of audio, and differences of spectra."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fcs_edge.mel import mel_edges, mel_filters

RATE = 24000
FLOOR = 1e-3
"""Share of a crop's gain, -60 dB. Magnitudes below it count as silence."""
_ACTIVE = 1e-4


def mel_bands(size: int, bands: int) -> tuple[Tensor, Tensor]:
    """Return triangular filters, (size / 2 + 1, bands) float32, and their centres in Hz.

    Each filter's weights sum to 1; mel is 2595 log10(1 + f / 700), from 0 to 12 kHz.
    """
    bins = np.linspace(0, RATE / 2, size // 2 + 1)
    filters = np.ascontiguousarray(mel_filters(bands, bins, 0, RATE / 2, norm="sum").T)
    centres = mel_edges(0, RATE / 2, bands)[1:-1].astype(np.float32)
    return torch.tensor(filters, dtype=torch.float32), torch.tensor(centres)


@dataclass(frozen=True)
class Resolution:
    """Sizes of a short-time spectrum."""

    size: int
    """Samples of the window."""
    hop: int
    bands: int
    """Mel bands; 0 for linear bins."""
    top_hz: float = RATE / 2
    """Highest linear bin, Hz."""


class Spectrum(nn.Module):
    """Magnitudes at one resolution, in windows centred on their hops.

    A full-scale sine has a magnitude of about 1 in its bin, whatever the window's size.
    """

    window: Tensor
    filters: Tensor
    centres: Tensor

    def __init__(self, resolution: Resolution) -> None:
        super().__init__()
        self.resolution = resolution
        window = torch.hann_window(resolution.size)
        self.register_buffer("window", 2 * window / window.sum())
        self.n_bins = round(resolution.top_hz * resolution.size / RATE) + 1
        if resolution.bands:
            filters, centres = mel_bands(resolution.size, resolution.bands)
        else:
            filters, centres = torch.empty(0), torch.arange(self.n_bins) * RATE / resolution.size
        self.register_buffer("filters", filters)
        self.register_buffer("centres", centres)

    def forward(self, samples: Tensor) -> Tensor:
        """Map (batch, rows x hop) to magnitudes, (batch, bands or bins, rows)."""
        r = self.resolution
        side = (r.size - r.hop) // 2
        padded = functional.pad(samples, (side, r.size - r.hop - side))
        spectrum = torch.stft(
            padded, r.size, r.hop, window=self.window, center=False, return_complex=True
        )
        if not r.bands:
            spectrum = spectrum[:, : self.n_bins]
        magnitude = (spectrum.real.square() + spectrum.imag.square() + 1e-12).sqrt()
        return self.filters.t() @ magnitude if r.bands else magnitude

    def log(self, samples: Tensor, level: Tensor) -> Tensor:
        """Return log magnitudes. The floor is 60 dB below `level`, (batch,)."""
        return torch.log(self(samples) + FLOOR * level[:, None, None])

    def trusted(self, band_hz: Tensor) -> Tensor:
        """Return which bands lie inside the crop's band, (batch, bands, 1) of 0 and 1."""
        return _are_trusted(self.centres, band_hz).float()[..., None]


def difference(output: Tensor, target: Tensor, trusted: Tensor) -> Tensor:
    """Return the mean absolute difference over trusted bands."""
    return ((output - target).abs() * trusted).mean() / trusted.mean()


def active(energy: Tensor, along: int) -> Tensor:
    """Return 1 where energy is within 40 dB of its maximum, as in STOI, and 0 elsewhere."""
    return (energy > _ACTIVE * energy.amax(along, keepdim=True)).float()


def lowpassed(samples: Tensor, band_hz: Tensor) -> Tensor:
    """Return (batch, samples) without the frequencies above each crop's band."""
    n = samples.shape[1]
    spectrum = torch.fft.rfft(samples)
    frequencies = torch.arange(n // 2 + 1, device=samples.device) * (RATE / n)
    return torch.fft.irfft(spectrum * _are_trusted(frequencies, band_hz), n)


def _are_trusted(frequencies: Tensor, band_hz: Tensor) -> Tensor:
    return frequencies <= 0.95 * band_hz[:, None]
