"""The resampler of torchaudio: windowed sinc functions, as a stream."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fcs_edge.model.layers import F32

_ZEROS = 6
"""Zero crossings of the sinc function on each side."""
_ROLLOFF = 0.99
"""The cutoff, of the lower rate's half."""
_TAPS_AT_ONCE = 1 << 18
_PI_HIGH = float.fromhex("0x1.921fb54400000p+1")
"""Pi in few bits: a small multiple of it is exact."""
_PI_LOW = float.fromhex("0x1.0b4611a626331p-33")


class SincResampler:
    """A stream of samples at another rate, as ``torchaudio.functional.resample`` computes them.

    Pieces of any size give the same samples. Memory does not depend on the stream's length.

    Parameters
    ----------
    rate, to : int
        Sample rates of input and output in Hz.
    channels : int
        Channels, each on its own.
    """

    def __init__(self, rate: int, to: int, channels: int = 1) -> None:
        common = math.gcd(rate, to)
        self._in, self._out = rate // common, to // common
        self._width, self._filters = _filters(self._in, self._out)
        # Samples before the first one are zeros.
        self._held: F32 = np.zeros((channels, self._width), np.float32)
        self._first = -self._width
        """The number of the first sample in `_held`."""
        self._n_in = self._n_out = 0

    def push(self, samples: F32) -> F32:
        """Resample the next samples.

        Parameters
        ----------
        samples : numpy.ndarray
            (channels, n) float32, n >= 0.

        Returns
        -------
        numpy.ndarray
            (channels, m) float32: what later samples cannot change.
        """
        self._held = np.concatenate([self._held, samples], axis=1)
        self._n_in += samples.shape[1]
        # Output q reads input up to q * in // out + width + 1.
        ready = -(-(self._n_in - self._width - 1) * self._out // self._in)
        return self._computed(max(0, min(ready, self._length())))

    def flush(self) -> F32:
        """End the stream, and return the last samples, (channels, m) float32."""
        end = self._length()
        last = (end - 1) * self._in // self._out + self._width + 1
        missing = max(0, last + 1 - self._n_in)
        zeros = np.zeros((len(self._held), missing), np.float32)
        self._held = np.concatenate([self._held, zeros], axis=1)
        return self._computed(end)

    def _length(self) -> int:
        """Return the samples that torchaudio makes of those so far: a rounded quotient bounds it.

        The number never falls as the stream grows. So an output below it is one at the end, too.
        """
        rounded: int = math.ceil(np.float32(self._out * self._n_in / self._in))
        return min(self._out * (self._n_in // self._in + 1), rounded)

    def _computed(self, end: int) -> F32:
        """Return the outputs up to number `end`, and forget samples that no later one reads."""
        # A kernel is compiled where there is no library: only for whom it serves.
        from fcs_edge.kernels.ops.resample import resample

        out: F32 = np.empty((len(self._held), end - self._n_out), np.float32)
        phase = self._n_out * self._in % self._out
        for held, row in zip(self._held, out, strict=True):
            resample(held, self._filters, self._in, phase, row)
        self._n_out += out.shape[1]
        first = self._n_out * self._in // self._out - self._width
        self._held = self._held[:, first - self._first :].copy()
        self._first = first
        return out


@lru_cache(maxsize=2)
def _filters(n_in: int, n_out: int) -> tuple[int, F32]:
    """Return the width w, and the filter of each phase, (n_out, 2 w + 2) float32.

    Rates without a common divisor need up to 16 million taps, 64 MB.
    """
    base = _ROLLOFF * min(n_in, n_out)
    width = math.ceil(_ZEROS * n_in / base)
    filters: F32 = np.empty((n_out, 2 * width + 2), np.float32)
    at_once = max(1, _TAPS_AT_ONCE // filters.shape[1])
    for start in range(0, n_out, at_once):
        phases = np.arange(start, min(start + at_once, n_out))
        _fill(filters, phases, n_in, base, width)
    filters.flags.writeable = False
    return width, filters


def _fill(filters: F32, phases: NDArray[np.int64], n_in: int, base: float, width: int) -> None:
    """Fill the rows of some phases, in float32 and in torchaudio's order.

    Row p of `filters` belongs to outputs p / n_out of a sample after an input sample. The output j
    of each n_out has p = j n_in mod n_out, and tap i of torchaudio's filter j is column
    i - j n_in // n_out + w here. Other taps of torchaudio are 0.
    """
    n_out = len(filters)
    place = phases * n_in
    i = (place // n_out)[:, None] + np.arange(-width, width + 2)
    t = (-phases / n_out)[:, None].astype(np.float32)
    t = t + i.astype(np.float32) / np.float32(n_in)
    t *= np.float32(base)
    inside = np.abs(t) < _ZEROS
    angle = t * np.float32(math.pi)
    quarter = angle / np.float32(_ZEROS) / np.float32(2)
    cosine = _sine(quarter.astype(np.float64) + math.pi / 2).astype(np.float32)
    sine = _sine(angle.astype(np.float64)).astype(np.float32)
    ratio = np.divide(sine, angle, out=np.ones_like(t), where=t != 0)
    taps = ratio * (cosine * cosine * np.float32(base / n_in))
    filters[place % n_out] = np.where(inside, taps, np.float32(0))


def _sine(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """``sin(x)`` for abs(x) < 30 to 1e-15, by operations that each CPU rounds alike."""
    n = np.rint(x / math.pi)
    r = (x - n * _PI_HIGH) - n * _PI_LOW
    square = r * r
    series = np.zeros_like(r)
    for k in range(21, 1, -2):
        series = (series + (-1.0) ** (k // 2) / math.factorial(k)) * square
    signed: NDArray[np.float64] = (r + r * series) * (1 - 2 * (n % 2))
    return signed
