"""Distances of spectral shapes by cepstra: formants, and how sharp they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fcs_edge.mel import mel_filters
from train.losses.spectral import FLOOR, Resolution, Spectrum, active

_SIZE, _HOP = 768, 240


@dataclass(frozen=True)
class Range:
    """A range of mel bands, and of their cepstral coefficients."""

    low_hz: float
    high_hz: float
    bands: int
    first: int
    last: int


SHAPE = Range(60.0, 3800.0, 32, 1, 18), Range(60.0, 7600.0, 40, 1, 24)
"""The band of vowels, and the full band, without coefficient 0 (level)."""

FORMANTS = Range(800.0, 3400.0, 24, 0, 9), Range(60.0, 7600.0, 40, 0, 18)
"""The bands of formants, where coded speech loses most words, and the full band."""

_SLOW = 13
"""Rows of the Hann window that smooths cepstra: about the length of a phone."""
_EPS = 1e-2
"""Added to variances of log magnitudes. A smaller variance counts as no shape."""

Compare = Callable[[Tensor, Tensor, Tensor], Tensor]


def cosines(bands: int, first: int, last: int) -> Tensor:
    """Return rows `first` to `last` of the orthonormal DCT-II, (rows, bands) float32."""
    k, at = np.arange(first, last + 1)[:, None], np.arange(bands) + 0.5
    rows = np.sqrt(np.where(k, 2, 1) / bands) * np.cos(np.pi / bands * k * at)
    return torch.tensor(rows, dtype=torch.float32)


def concordance_loss(output: Tensor, target: Tensor, counts: Tensor) -> Tensor:
    """Return 1 - the mean over batch and coefficients of concordance along rows.

    c(x, y) = 2 cov(x, y) / (var(x) + var(y) + (mean(x) - mean(y))^2)

    It is the correlation where mean and variance agree, and less elsewhere: an output that is
    correlated but too smooth has a low concordance. After Lin, A concordance correlation
    coefficient, Biometrics 45 (1989).

    Parameters
    ----------
    output, target : torch.Tensor
        (batch, coefficients, rows).
    counts : torch.Tensor
        (batch, 1, rows), 1 for rows that count and 0 for others.
    """
    covariance, spread = _moments(output, target, counts)
    return 1 - (2 * covariance / (spread + _EPS)).mean()


def _moments(output: Tensor, target: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return cov(x, y) and var(x) + var(y) + (mean(x) - mean(y))^2, (batch, coefficients) each."""
    shares = counts / counts.sum(2, keepdim=True).clamp(min=1)
    means = [(x * shares).sum(2, keepdim=True) for x in (output, target)]
    x, y = output - means[0], target - means[1]
    covariance = (x * y * shares).sum(2)
    spread = ((x.square() + y.square()) * shares).sum(2) + (means[0] - means[1]).square()[..., 0]
    return covariance, spread


def formant_loss(output: Tensor, target: Tensor, counts: Tensor) -> Tensor:
    """Return 1 - the joint concordance of all coefficients, half of it of smoothed rows.

    c(x, y) = 2 sum cov(x, y) / sum (var(x) + var(y) + (mean(x) - mean(y))^2)

    Sums are over coefficients: those that vary more count more. Rows smoothed over 0.12 s count
    half: an error as long as a phone may turn it into another phone.

    Parameters
    ----------
    output, target, counts : torch.Tensor
        As of `concordance_loss`.
    """
    window = torch.hann_window(_SLOW + 2, periodic=False, device=output.device)[1:-1]
    taps = (window / window.sum()).expand(output.shape[1], 1, -1)
    # Rows that do not count have no error.
    output = torch.where(counts > 0, output, target)
    slow_output, slow_target = (
        functional.conv1d(
            functional.pad(x, (_SLOW // 2, _SLOW // 2), "replicate"), taps, groups=len(taps)
        )
        for x in (output, target)
    )
    fast = _joint(output, target, counts)
    return 0.5 * (fast + _joint(slow_output, slow_target, counts))


def _joint(x: Tensor, y: Tensor, counts: Tensor) -> Tensor:
    covariance, spread = _moments(x, y, counts)
    return 1 - (2 * covariance.sum(1) / (spread.sum(1) + _EPS)).mean()


class Cepstra(nn.Module):
    """Cepstra of ranges of mel bands, a hundred a second, compared by concordance.

    With few bits, the spectrum with the least mean error is a smooth one, whose formants are too
    low. Concordance counts each coefficient alike, and compares variances as well.

    Parameters
    ----------
    *ranges : Range
        `SHAPE` or `FORMANTS`. Rows count where the last range is not silent.
    compare : callable
        `concordance_loss` or `formant_loss`.
    """

    filters: Tensor
    cosines: Tensor

    def __init__(self, *ranges: Range, compare: Compare = concordance_loss) -> None:
        super().__init__()
        self.compare = compare
        self.spectrum = Spectrum(Resolution(_SIZE, _HOP, 0, max(r.high_hz for r in ranges)))
        at = self.spectrum.centres.double().numpy()
        filters = [mel_filters(r.bands, at, r.low_hz, r.high_hz) for r in ranges]
        self.register_buffer("filters", torch.tensor(np.concatenate(filters), dtype=torch.float32))
        rows = [cosines(r.bands, r.first, r.last) for r in ranges]
        self.register_buffer("cosines", torch.block_diag(*rows))
        self.last = ranges[-1].bands

    def distance(self, output: Tensor, target: Tensor, level: float) -> Tensor:
        """Return 1 - concordance of cepstra, over rows that are not silent.

        Parameters
        ----------
        output, target : torch.Tensor
            (batch, rows x 240) at 24 kHz.
        level : float
            60 dB below it is silence.
        """
        x, y = (self._power(sound) for sound in (output, target))
        energy = y[:, -self.last :].sum(1, keepdim=True)
        floor = (FLOOR * level) ** 2
        counts = active(energy, 2) * (energy > floor)
        x, y = (self.cosines @ (0.5 * torch.log(power + floor)) for power in (x, y))
        return self.compare(x, y, counts)

    def _power(self, sound: Tensor) -> Tensor:
        power: Tensor = self.filters @ self.spectrum(sound).square()
        return power
