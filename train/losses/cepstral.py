"""How alike two sounds are in the shape of their spectra: in formants, and how sharp they are."""

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
    """Where mel bands are taken from, and which of their cepstral coefficients."""

    low_hz: float
    high_hz: float
    bands: int
    first: int
    last: int


SHAPE = Range(60.0, 3800.0, 32, 1, 18), Range(60.0, 7600.0, 40, 1, 24)
"""Vowels alone, and all there is; coefficient 0, how loud it is, is asked for elsewhere."""

FORMANTS = Range(800.0, 3400.0, 24, 0, 9), Range(60.0, 7600.0, 40, 0, 18)
"""Where coded speech loses most of its words, and once more with the rest, that loses as many."""

_SLOW = 13
"""Rows of the window, a Hann, over which formants are compared, too: about as long as a phone."""
_LEAST = 1e-2
"""Added to variances, of logs of magnitudes: less than this is no shape."""

Compare = Callable[[Tensor, Tensor, Tensor], Tensor]


def cosines(bands: int, first: int, last: int) -> Tensor:
    """Return rows `first` to `last` of the orthonormal DCT-II, (rows, bands) float32."""
    k, at = np.arange(first, last + 1)[:, None], np.arange(bands) + 0.5
    rows = np.sqrt(np.where(k, 2, 1) / bands) * np.cos(np.pi / bands * k * at)
    return torch.tensor(rows, dtype=torch.float32)


def discord(found: Tensor, wanted: Tensor, counts: Tensor) -> Tensor:
    """Return 1 - the mean over batch and coefficients of concordance along rows.

    2 cov(x, y) / (var(x) + var(y) + (mean(x) - mean(y))^2): their correlation where they vary as
    much about the same mean, and less the less that is so, so that what is right, but faint, is
    not right. After Lin, A concordance correlation coefficient, Biometrics 45 (1989).

    Parameters
    ----------
    found, wanted : torch.Tensor
        (batch, coefficients, rows).
    counts : torch.Tensor
        (batch, 1, rows), 1 for rows that count and 0 for others.
    """
    both, spread = _moments(found, wanted, counts)
    return 1 - (2 * both / (spread + _LEAST)).mean()


def _moments(found: Tensor, wanted: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return cov(x, y) and var(x) + var(y) + (mean(x) - mean(y))^2, (batch, coefficients) each."""
    shares = counts / counts.sum(2, keepdim=True).clamp(min=1)
    means = [(x * shares).sum(2, keepdim=True) for x in (found, wanted)]
    x, y = found - means[0], wanted - means[1]
    both = (x * y * shares).sum(2)
    spread = ((x.square() + y.square()) * shares).sum(2) + (means[0] - means[1]).square()[..., 0]
    return both, spread


def formant_discord(found: Tensor, wanted: Tensor, counts: Tensor) -> Tensor:
    """Return 1 - concordance of all coefficients together, as they are and smoothed over a phone.

    2 sum cov(x, y) / sum (var(x) + var(y) + (mean(x) - mean(y))^2), sums over coefficients: the
    more one varies, the more it counts. Half of what is asked is that of rows averaged over
    0.12 s: what is wrong for as long as a phone lasts may make another phone of it.

    Parameters
    ----------
    found, wanted, counts : torch.Tensor
        As of `discord`.
    """
    window = torch.hann_window(_SLOW + 2, periodic=False, device=found.device)[1:-1]
    taps = (window / window.sum()).expand(found.shape[1], 1, -1)
    # Rows that do not count are right.
    found = torch.where(counts > 0, found, wanted)
    slow_found, slow_wanted = (
        functional.conv1d(
            functional.pad(x, (_SLOW // 2, _SLOW // 2), "replicate"), taps, groups=len(taps)
        )
        for x in (found, wanted)
    )
    as_is = _together(found, wanted, counts)
    return 0.5 * (as_is + _together(slow_found, slow_wanted, counts))


def _together(x: Tensor, y: Tensor, counts: Tensor) -> Tensor:
    both, spread = _moments(x, y, counts)
    return 1 - (2 * both.sum(1) / (spread.sum(1) + _LEAST)).mean()


class Cepstra(nn.Module):
    """Cepstra of ranges of mel bands, a hundred a second, compared by concordance.

    Where a sound is made of few bits, what differs least from the wanted spectrum in the mean is a
    smooth one: formants lower than they were. Here each coefficient counts the same, however
    little it varies, and has to vary as much as it does in what is wanted.

    Parameters
    ----------
    *ranges : Range
        `SHAPE`, or `FORMANTS`; rows count where there is something to be heard in the last one.
    compare : callable
        `discord`, or `formant_discord`.
    """

    filters: Tensor
    cosines: Tensor

    def __init__(self, *ranges: Range, compare: Compare = discord) -> None:
        super().__init__()
        self.compare = compare
        self.spectrum = Spectrum(Resolution(_SIZE, _HOP, 0, max(r.high_hz for r in ranges)))
        at = self.spectrum.centres.double().numpy()
        filters = [mel_filters(r.bands, at, r.low_hz, r.high_hz) for r in ranges]
        self.register_buffer("filters", torch.tensor(np.concatenate(filters), dtype=torch.float32))
        rows = [cosines(r.bands, r.first, r.last) for r in ranges]
        self.register_buffer("cosines", torch.block_diag(*rows))
        self.last = ranges[-1].bands

    def apart(self, made: Tensor, wanted: Tensor, level: float) -> Tensor:
        """Return the discord of cepstra, over rows where there is something to be heard.

        Parameters
        ----------
        made, wanted : torch.Tensor
            (batch, rows x 240) at 24 kHz.
        level : float
            What is 60 dB below it is silence.
        """
        x, y = (self._power(sound) for sound in (made, wanted))
        energy = y[:, -self.last :].sum(1, keepdim=True)
        floor = (FLOOR * level) ** 2
        counts = active(energy, 2) * (energy > floor)
        x, y = (self.cosines @ (0.5 * torch.log(power + floor)) for power in (x, y))
        return self.compare(x, y, counts)

    def _power(self, sound: Tensor) -> Tensor:
        power: Tensor = self.filters @ self.spectrum(sound).square()
        return power
