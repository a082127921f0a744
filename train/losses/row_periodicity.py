"""Share of energy that repeats at the decoder's row rate, and its distance from the target's."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from train.losses.spectral import FLOOR, RATE

_PERIODS = (240, 480)
"""Samples of a row and of a token: 10 and 20 ms."""
_REPEATS = 10
_SHORT, _SHORT_HOP = 96, 24
"""Samples of a window in which a level is measured, 4 ms, and of its hop."""
_SLOWEST_HZ = 35
_BANDS_HZ = (300, 1000, 2000, 3000, 4000, 5000, 6000, 8000, 11000)


class RowPeriodicity:
    """How much more of the output than of the target repeats every row, and every token.

    A window has R = 10 periods of P samples, and X is its spectrum without a window function. The
    bins R j are what repeats every P samples:

        share = sum_j |X[R j]|^2 / sum_i |X[i]|^2

    over the bins of a band. It is 1 for exact repetition and 1 / R by chance. The same is taken of
    the level of each band over time, from 35 Hz on: noise that a row fades in and out repeats in
    its level alone. The loss is the mean over crops, bands, periods and both kinds of
    |share of output - share of target|, each the mean over the windows in which neither is silent.
    """

    def __init__(self) -> None:
        self._window = torch.hann_window(_SHORT)

    def to(self, device: torch.device) -> RowPeriodicity:
        """Move it to a device."""
        self._window = self._window.to(device)
        return self

    def distance(self, output: Tensor, target: Tensor, level: float) -> Tensor:
        """Return the distance of (batch, samples) at 24 kHz; 60 dB below `level` is silence."""
        distances = []
        for period in _PERIODS:
            for shares in (_shares, self._level_shares):
                with torch.no_grad():
                    expected, loud = shares(target, period, level)
                found, audible = shares(output, period, level)
                counts = loud * audible
                n_windows = counts.sum(1)
                error = (counts * (found - expected)).sum(1).abs() / n_windows.clamp(min=1)
                distances.append(error.sum() / (n_windows > 0).sum().clamp(min=1))
        return torch.stack(distances).mean()

    def _level_shares(self, sound: Tensor, period: int, level: float) -> tuple[Tensor, Tensor]:
        """Return the shares of levels, and 1 where a band is not silent, as `_shares` does."""
        frames = sound.unfold(1, _SHORT, _SHORT_HOP) * self._window
        power = torch.view_as_real(torch.fft.rfft(frames)).square().sum(-1)
        floor = (FLOOR * level * _SHORT) ** 2
        bands = power[..., 4:44].unflatten(-1, (-1, 4)).sum(-1)
        levels = torch.log(bands + floor).transpose(1, 2)
        size = period // _SHORT_HOP * _REPEATS
        windows = levels.unfold(2, size, size // 2)
        lines = torch.view_as_real(torch.fft.rfft(windows)).square().sum(-1)
        slowest = -(-_SLOWEST_HZ * size * _SHORT_HOP // RATE)
        repeated = lines[..., _REPEATS * (slowest // _REPEATS + 1) :: _REPEATS].sum(-1)
        shares = repeated / (lines[..., slowest:].sum(-1) + 1e-3)
        audible = bands.transpose(1, 2).unfold(2, size, size // 2).mean(-1) > 4 * floor
        return shares.transpose(1, 2), audible.transpose(1, 2).float()


def _shares(sound: Tensor, period: int, level: float) -> tuple[Tensor, Tensor]:
    """Return shares, and 1 where a band is not silent, (batch, windows, bands) each."""
    size = period * _REPEATS
    spectrum = torch.fft.rfft(sound.unfold(1, size, size // 2))
    power = torch.view_as_real(spectrum).square().sum(-1)
    # A band of mean square m has energy m size^2 / 2 in its bins.
    floor = 0.5 * (FLOOR * level * size) ** 2
    edges = [round(hz * size / RATE / _REPEATS) * _REPEATS for hz in _BANDS_HZ]
    shares, audible = [], []
    for low, high in itertools.pairwise(edges):
        band = power[..., low:high]
        energy = band.sum(-1)
        shares.append(band[..., ::_REPEATS].sum(-1) / (energy + 1e-6 * floor))
        audible.append((energy > floor).float())
    return torch.stack(shares, -1), torch.stack(audible, -1)
