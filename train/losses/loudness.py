"""Distance of loudness, after PESQ (ITU-T P.862)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from train.losses.spectral import Resolution, Spectrum

_SIZE, _HOP, _TOP_HZ = 768, 384, 8000.0
"""32 ms, every 16 ms."""
_BARK = 0.55
"""Widest band, in Bark. At low frequencies a bin is a band."""
_SPEECH_HZ = 350.0, 3250.0
_SPEECH_LEVEL = 3.4e8
"""Mean power of speech over a crop: P.862's 79 dB."""
_OF_BINS, _OF_BANDS = 1.0, 0.6
"""Weights of the power of single bins, and of bins in wider bands, close to P.862's."""
_THRESHOLD = 0.25
"""Power at the hearing threshold, where it is lowest."""
_SONES, _EXPONENT = 0.1866, 0.23
_AUDIBLE = 100.0
"""Multiple of the threshold above which power counts for a crop's spectrum."""
_SPEECH_POWER = 1e7
"""Rows with less power are silence."""
_MASKED = 0.25
"""Share of the lower loudness. Smaller differences are masked."""
_LOUDEST = 45.0
"""Largest disturbance of a row."""
_PART, _STEP = 20, 10
"""Rows of 0.32 s, and between the starts of two of these parts."""
_NORM = 6
"""Exponent of the norm over the rows of a part."""
_SYMMETRIC, _ADDED = 0.2, 0.0309
"""Points of PESQ for a unit of either disturbance. The first was fitted to PESQ's scores of
degraded speech; P.862 has 0.1 for its own disturbance."""


def bark(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return critical band rates, z = 7 asinh(f / 650) (M. R. Schroeder et al., JASA 66, 1979)."""
    return 7 * np.arcsinh(hz / 650)


def threshold_in_quiet(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the power of the hearing threshold, at least 1 (E. Terhardt, Hearing Res. 1, 1979)."""
    khz = np.maximum(hz, 20.0) / 1000
    db = 3.64 * khz**-0.8 - 6.5 * np.exp(-0.6 * (khz - 3.3) ** 2) + 1e-3 * khz**4
    return np.asarray(10 ** ((db - db.min()) / 10))


def band_edges(n_bins: int, step_hz: float) -> NDArray[np.int64]:
    """Return first bins of bands, and `n_bins`. A band is at most `_BARK` wide, or one bin."""
    z = bark((np.arange(n_bins + 1) - 0.5).clip(0) * step_hz)
    edges = [0, 1]
    while edges[-1] < n_bins:
        following = int(np.searchsorted(z, z[edges[-1]] + _BARK, "right")) - 1
        edges.append(min(n_bins, max(edges[-1] + 1, following)))
    return np.array(edges)


class Loudness(nn.Module):
    """Disturbances of loudness in bands of half a Bark, summed up as PESQ does.

    After ITU-T P.862, sections 10.2.3 to 10.2.9, and P.862.2. Both sounds get the same level. The
    target gets the long-term spectrum of the output, within 20 dB. The output gets the power of the
    target row by row, within limits. Loudness is Zwicker's, for power P and threshold P0,

        L = s (2 P0)^g ((1 + P / P0)^g / 2^g - 1),

    where s and g are constants of each band. Differences below a quarter of the lower loudness are
    masked. Added power counts a second time, by its ratio. Three things differ from PESQ. The
    sounds are already aligned. Bands and thresholds come from formulas, not from P.862's tables.
    Rows approach the largest disturbance, where PESQ clips them and has no gradient.
    """

    bands: Tensor
    widths: Tensor
    thresholds: Tensor
    exponents: Tensor
    speech: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.spectrum = Spectrum(Resolution(_SIZE, _HOP, 0, _TOP_HZ))
        bins = self.spectrum.centres.double().numpy()
        edges = band_edges(len(bins), bins[1])
        hz = (edges - 0.5).clip(0) * bins[1]
        z, centres = bark(hz), (hz[:-1] + hz[1:]) / 2
        counts = np.where(np.diff(edges) == 1, _OF_BINS, _OF_BANDS)
        places = np.searchsorted(edges, np.arange(len(bins)), "right") - 1
        bands = np.zeros((len(centres), len(bins)))
        bands[places, np.arange(len(bins))] = counts[places]
        # Loudness grows faster at low frequencies.
        steeper = np.clip(6 / (bark(centres) + 2), 1, 2) ** 0.15
        speech = (bins >= _SPEECH_HZ[0]) & (bins <= _SPEECH_HZ[1])
        self.register_buffer("bands", torch.tensor(bands, dtype=torch.float32))
        self.register_buffer("widths", _column(np.diff(z)))
        self.register_buffer("thresholds", _column(_THRESHOLD * threshold_in_quiet(centres)))
        self.register_buffer("exponents", _column(_EXPONENT * steeper))
        self.register_buffer("speech", _column(speech.astype(np.float64)))

    def distance(self, output: Tensor, target: Tensor, level: float) -> Tensor:
        """Return 4.5 - the estimate of PESQ, averaged over crops.

        Parameters
        ----------
        output, target : torch.Tensor
            (batch, rows x 384) at 24 kHz.
        level : float
            Not used: both sounds get the level of speech at 79 dB.
        """
        symmetric, added = self.disturbances(output, target)
        return (_SYMMETRIC * symmetric + _ADDED * added).mean()

    def disturbances(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the symmetric disturbance and that of added power, (batch,) each."""
        x, y = self._power(output), self._power(target)
        audible = [p * (p > _AUDIBLE * self.thresholds) for p in (x, y)]
        total = audible[1].sum(1, keepdim=True)
        active = (total > _SPEECH_POWER).float()
        long_term = [(p * active).sum(2) / active.sum(2).clamp(min=1) for p in audible]
        y = y * ((long_term[0] + 1000) / (long_term[1] + 1000)).clamp(0.01, 100)[..., None]
        rows = [(p * (p > self.thresholds)).sum(1, keepdim=True) for p in (x, y)]
        gain = (rows[1] + 5000) / (rows[0] + 5000)
        previous = torch.cat([gain[..., :1], gain[..., :-1]], -1)
        x = x * (0.2 * previous + 0.8 * gain).clamp(3e-4, 5)
        loud_x, loud_y = self._loudness(x), self._loudness(y)
        change = loud_x - loud_y
        disturbance = (change.abs() - _MASKED * torch.minimum(loud_x, loud_y)).clamp(min=0)
        ratio = ((x + 50) / (y + 50)) ** 1.2
        ratio = torch.where(ratio < 3, 0.0, ratio.clamp(max=12))
        symmetric = ((self.widths * disturbance).square().sum(1) * self.widths.sum() + 1e-8).sqrt()
        added = (self.widths * disturbance * (change > 0) * ratio).sum(1)
        weight = ((total[:, 0] + 1e5) / 1e7) ** 0.04
        return _over_time(symmetric / weight), _over_time(added / weight)

    def _power(self, sound: Tensor) -> Tensor:
        power = self.spectrum(sound).square()
        level = (power * self.speech).sum(1, keepdim=True).mean(2, keepdim=True)
        scaled: Tensor = self.bands @ power * (_SPEECH_LEVEL / (level + 1e-9))
        return scaled

    def _loudness(self, power: Tensor) -> Tensor:
        grown = (0.5 + 0.5 * power / self.thresholds) ** self.exponents
        scale = (self.thresholds / 0.5) ** self.exponents
        return (_SONES * scale * (grown - 1)).clamp(min=0)


def _column(values: NDArray[np.float64]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]


def _over_time(rows: Tensor) -> Tensor:
    """Return the L2 norm over parts of the L6 norms of their rows, (batch,)."""
    rows = -_LOUDEST * torch.expm1(-rows / _LOUDEST)
    parts = rows.unfold(1, _PART, _STEP) / _LOUDEST
    norms = (parts**_NORM).mean(2).add(1e-18) ** (1 / _NORM)
    return _LOUDEST * norms.square().mean(1).sqrt()
