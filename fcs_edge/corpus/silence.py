"""The tokens that a model gives to digital silence."""

from __future__ import annotations

from importlib import resources

import numpy as np

from fcs_edge.codec import Codec
from fcs_edge.model.layers import F32, U16

_SPEECH_SECONDS = (0, 2, 5, 8)
"""Speech before the silence: its memory changes the tokens."""
_SECONDS = 6
_SKIPPED = 2
"""Tokens after speech that may hold its end."""


def silence_tokens(codec: Codec) -> U16:
    """Return the tokens of digital silence, sorted.

    The model encodes zeros alone, and zeros after speech of the clip in this package. Of other
    speakers' sound the tokens of the built-in model hold nine tenths of the silence, and almost
    no speech.

    Parameters
    ----------
    codec : Codec
        A model with an encoder.
    """
    rate, speech = codec.sample_rate_in, _clip()
    found = []
    for seconds in _SPEECH_SECONDS:
        before = speech[: seconds * rate]
        tokens = codec.encode(np.concatenate([before, np.zeros(_SECONDS * rate, np.float32)]))
        first = codec.n_tokens(before.size) + _SKIPPED if before.size else 0
        found.append(tokens[first:])
    return np.unique(np.concatenate(found))


def _clip() -> F32:
    import soundfile

    path = resources.files("fcs_edge") / "data/demo.flac"
    with path.open("rb") as file:
        samples: F32 = soundfile.read(file, dtype="float32")[0]
    return samples
