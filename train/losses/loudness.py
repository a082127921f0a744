"""How much louder or fainter, to an ear, one sound is than another: what PESQ hangs on."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from train.losses.spectral import Resolution, Spectrum

_SIZE, _HOP, _TOP_HZ = 768, 384, 8000.0
"""32 ms, every 16 ms."""
_BARK = 0.55
"""Widest band; at low frequencies a bin is a band."""
_SPEECH_HZ = 350.0, 3250.0
_USUAL_POWER = 3.4e8
"""Of what is there of speech, in the mean over a crop: P.862's 79 dB."""
_OF_BINS, _OF_BANDS = 1.0, 0.6
"""What the power of a band counts that is a bin, and of one that is more: about as in P.862."""
_THRESHOLD = 0.25
"""Power that can just be heard where hearing is sharpest."""
_SONES, _EXPONENT = 0.1866, 0.23
_AUDIBLE = 100.0
"""Thresholds above which power counts for a crop's spectrum."""
_SPEECH_POWER = 1e7
"""Rows with less are silence."""
_DEAF = 0.25
"""Of the fainter of two loudnesses: differences that are less are not heard."""
_LOUDEST = 45.0
"""Disturbance of a row, at most."""
_PART, _APART = 20, 10
"""Rows of a third of a second, and between two thirds' starts."""
_WORST = 6
_SYMMETRIC, _ADDED = 0.2, 0.0309
"""Of PESQ's scale from 4.5 down, a unit of either disturbance; the first is set by scores of spoilt
speech, to which P.862's 0.1 is too little of what is measured here."""


def bark(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return critical band rates, z = 7 asinh(f / 650) (M. R. Schroeder et al., JASA 66, 1979)."""
    return 7 * np.arcsinh(hz / 650)


def in_quiet(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the power of what can just be heard, least 1 (E. Terhardt, Hearing Res. 1, 1979)."""
    khz = np.maximum(hz, 20.0) / 1000
    db = 3.64 * khz**-0.8 - 6.5 * np.exp(-0.6 * (khz - 3.3) ** 2) + 1e-3 * khz**4
    return np.asarray(10 ** ((db - db.min()) / 10))


def band_edges(n_bins: int, step_hz: float) -> NDArray[np.int64]:
    """Return first bins of bands, and `n_bins`: as many bins to a band as are `_BARK` wide."""
    z = bark((np.arange(n_bins + 1) - 0.5).clip(0) * step_hz)
    edges = [0, 1]
    while edges[-1] < n_bins:
        wide = int(np.searchsorted(z, z[edges[-1]] + _BARK, "right")) - 1
        edges.append(min(n_bins, max(edges[-1] + 1, wide)))
    return np.array(edges)


class Loudness(nn.Module):
    """Disturbances of loudness in bands of half a Bark, summed up as PESQ does.

    After ITU-T P.862, sections 10.2.3 to 10.2.9, and P.862.2: both sounds are made as loud as each
    other; what is wanted is given the long-term spectrum of what is made, within 20 dB, and what is
    made the power of what is wanted, row by row, within limits; loudness is Zwicker's,

        L = s (2 P0)^g ((1 + P / P0)^g / 2^g - 1),

    and what differs by less than a quarter of the fainter is not heard. What is added to a sound
    counts once more, by how much more there is than should be. What differs from PESQ: both sounds
    are taken to begin at once; bands and thresholds are by formula, not P.862's tables; and rows
    approach the largest disturbance, where PESQ's stop at it and have no gradient.
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
        # What is low grows faster in loudness.
        steeper = np.clip(6 / (bark(centres) + 2), 1, 2) ** 0.15
        speech = (bins >= _SPEECH_HZ[0]) & (bins <= _SPEECH_HZ[1])
        self.register_buffer("bands", torch.tensor(bands, dtype=torch.float32))
        self.register_buffer("widths", _column(np.diff(z)))
        self.register_buffer("thresholds", _column(_THRESHOLD * in_quiet(centres)))
        self.register_buffer("exponents", _column(_EXPONENT * steeper))
        self.register_buffer("speech", _column(speech.astype(np.float64)))

    def apart(self, made: Tensor, wanted: Tensor, level: float) -> Tensor:
        """Return what PESQ would take from 4.5, averaged over crops.

        Parameters
        ----------
        made, wanted : torch.Tensor
            (batch, rows x 384) at 24 kHz.
        level : float
            Not used: both are made as loud as speech at 79 dB.
        """
        symmetric, added = self.disturbances(made, wanted)
        return (_SYMMETRIC * symmetric + _ADDED * added).mean()

    def disturbances(self, made: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Return what differs, and what is added, (batch,) each."""
        x, y = self._power(made), self._power(wanted)
        there = [p * (p > _AUDIBLE * self.thresholds) for p in (x, y)]
        total = there[1].sum(1, keepdim=True)
        active = (total > _SPEECH_POWER).float()
        long = [(p * active).sum(2) / active.sum(2).clamp(min=1) for p in there]
        y = y * ((long[0] + 1000) / (long[1] + 1000)).clamp(0.01, 100)[..., None]
        rows = [(p * (p > self.thresholds)).sum(1, keepdim=True) for p in (x, y)]
        gain = (rows[1] + 5000) / (rows[0] + 5000)
        before = torch.cat([gain[..., :1], gain[..., :-1]], -1)
        x = x * (0.2 * before + 0.8 * gain).clamp(3e-4, 5)
        loud_x, loud_y = self._loudness(x), self._loudness(y)
        apart = loud_x - loud_y
        heard = (apart.abs() - _DEAF * torch.minimum(loud_x, loud_y)).clamp(min=0)
        more = ((x + 50) / (y + 50)) ** 1.2
        more = torch.where(more < 3, 0.0, more.clamp(max=12))
        symmetric = ((self.widths * heard).square().sum(1) * self.widths.sum() + 1e-8).sqrt()
        added = (self.widths * heard * (apart > 0) * more).sum(1)
        weight = ((total[:, 0] + 1e5) / 1e7) ** 0.04
        return _over_time(symmetric / weight), _over_time(added / weight)

    def _power(self, sound: Tensor) -> Tensor:
        power = self.spectrum(sound).square()
        level = (power * self.speech).sum(1, keepdim=True).mean(2, keepdim=True)
        found: Tensor = self.bands @ power * (_USUAL_POWER / (level + 1e-9))
        return found

    def _loudness(self, power: Tensor) -> Tensor:
        grown = (0.5 + 0.5 * power / self.thresholds) ** self.exponents
        least = (self.thresholds / 0.5) ** self.exponents
        return (_SONES * least * (grown - 1)).clamp(min=0)


def _column(values: NDArray[np.float64]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]


def _over_time(rows: Tensor) -> Tensor:
    """Return the L2 norm of thirds of a second of the L6 norms of their rows, (batch,)."""
    rows = -_LOUDEST * torch.expm1(-rows / _LOUDEST)
    parts = rows.unfold(1, _PART, _APART) / _LOUDEST
    worst = (parts**_WORST).mean(2).add(1e-18) ** (1 / _WORST)
    return _LOUDEST * worst.square().mean(1).sqrt()
