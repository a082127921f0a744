"""Sounds in every container, and what the reader makes of them."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from fcs_edge.audio.reader import AudioInput

RATE = 16000


class Read(NamedTuple):
    """What the reader makes of an input."""

    samples: NDArray[np.float32]
    losses: list[str]
    warnings: list[str]


def read_all(sound: AudioInput) -> Read:
    samples = np.concatenate([np.zeros(0, np.float32), *sound.at_rate(sound.rate)])
    return Read(samples, sound.losses, sound.warnings)


def noise(n: int = RATE, channels: int = 1) -> NDArray[np.float32]:
    """Return sound without repetition, (n,) or (n, channels)."""
    shape = n if channels == 1 else (n, channels)
    return (np.random.default_rng(1).standard_normal(shape) * 0.1).astype(np.float32)


def container(format: str, subtype: str, samples: NDArray[np.float32]) -> bytes:
    """Return a file as libsndfile writes it."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, subtype, format=format)
    return buffer.getvalue()
