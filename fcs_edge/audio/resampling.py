"""The resamplers of sound files and pipes, by name."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from fcs_edge.audio.sinc import SincResampler
from fcs_edge.model.layers import F32

RESAMPLERS = {"soxr": "soxr VHQ", "torchaudio": "torchaudio"}
"""The resamplers' names, and what settings call them."""

DEFAULT_RESAMPLER = "soxr"


class Resampler(Protocol):
    """A stream of one channel at another rate."""

    def push(self, samples: F32) -> F32:
        """Resample the next samples, (n,) float32."""

    def flush(self) -> F32:
        """End the stream, and return the last samples, (n,) float32."""


def check_resampler(name: str) -> str:
    """Return the name of a resampler; refuse others.

    Raises
    ------
    ValueError
        There is no such resampler.
    """
    if name not in RESAMPLERS:
        raise ValueError(f"a resampler is {' or '.join(RESAMPLERS)}, not {name!r}")
    return name


def open_resampler(rate: int, to: int, name: str) -> Resampler:
    """Return a stream from one sample rate in Hz to another, by one of `RESAMPLERS`."""
    if check_resampler(name) == "torchaudio":
        return _OneChannel(rate, to)
    return _Soxr(rate, to)


class _Soxr:
    def __init__(self, rate: int, to: int) -> None:
        # Settings name resamplers where no sound is read.
        import soxr

        self._stream: Any = soxr.ResampleStream(rate, to, 1, dtype="float32", quality="VHQ")

    def push(self, samples: F32) -> F32:
        resampled: F32 = self._stream.resample_chunk(samples)
        return resampled

    def flush(self) -> F32:
        resampled: F32 = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        return resampled


class _OneChannel:
    def __init__(self, rate: int, to: int) -> None:
        self._stream = SincResampler(rate, to)

    def push(self, samples: F32) -> F32:
        resampled: F32 = self._stream.push(samples[None])[0]
        return resampled

    def flush(self) -> F32:
        resampled: F32 = self._stream.flush()[0]
        return resampled
