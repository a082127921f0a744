"""Styles of Kokoro's voices: how they are drawn, mixed and extrapolated."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from train.corpus.held_out_text import KOKORO_VOICES

Styles = NDArray[np.float32]

_ENGLISH = ("af", "am", "bf", "bm")
_ENGLISH_SHARE = 0.75
_MIXED_SHARE = 0.5
_TIMBRE = 128
"""Numbers of a style that describe the voice; the others describe its prosody."""


def draw(styles: dict[str, Styles], rng: np.random.Generator) -> tuple[str, Styles, bool]:
    """Return a voice's or a mixture's name and style, and whether its accent is British."""
    first = _voice(styles, rng)
    british = first.startswith("b")
    if rng.random() >= _MIXED_SHARE:
        return f"kokoro_{first}", styles[first], british
    second = first
    while second == first:
        second = _voice(styles, rng)
    weight = round(float(rng.uniform(0.3, 0.7)), 2)
    style = np.float32(weight) * styles[first] + np.float32(1 - weight) * styles[second]
    return f"kokoro_{first}*{weight:.2f}+{second}", style, british


def _voice(styles: dict[str, Styles], rng: np.random.Generator) -> str:
    english = [name for name in styles if name[:2] in _ENGLISH and name not in KOKORO_VOICES]
    others = [name for name in styles if name[:2] not in _ENGLISH]
    return str(rng.choice(english if rng.random() < _ENGLISH_SHARE else others))


def pushed(style: Styles, reading: Styles, mean: Styles, sounds: float, reads: float) -> Styles:
    """Return mean + sounds (style - mean) in its first half, mean + reads (reading - mean) after.

    Parameters
    ----------
    style, reading, mean : ndarray of float32, shape (510, 256)
        Of the voice that sounds, of the one that reads (how high, how lively, how fast), and the
        mean of all.
    sounds, reads : float
        1 leaves a voice as it is.

    Returns
    -------
    ndarray of float32, shape (510, 256)
    """
    halves = (
        mean[:, :_TIMBRE] + np.float32(sounds) * (style - mean)[:, :_TIMBRE],
        mean[:, _TIMBRE:] + np.float32(reads) * (reading - mean)[:, _TIMBRE:],
    )
    return np.concatenate(halves, axis=1)
