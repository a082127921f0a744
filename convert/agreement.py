"""Compares the tokens of a converted model with those of its source in float32."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fcs_edge.codec import Codec
from fcs_edge.modelfile.model_file import ModelFile
from fcs_edge.modelfile.stream_memory import memory_bytes
from fcs_edge.modelfile.tensor_layout import tensor_shapes


class Agreement(NamedTuple):
    """How many tokens and bits of two encodings are equal."""

    n_tokens: int
    equal_tokens: float
    """Part of the tokens."""
    equal_bits: float
    """Part of the bits."""


def memory_needed(model: ModelFile) -> int:
    """Return the bytes that `compare` takes, roughly: a model of float32 weights, packed."""
    return memory_bytes(model.config, tensor_shapes(model.config))


def compare(converted: ModelFile, source: ModelFile, signal: NDArray[np.float32]) -> Agreement:
    """Encode a signal with two models of the same configuration, one after the other.

    Parameters
    ----------
    converted, source : ModelFile
        The models.
    signal : numpy.ndarray
        (n,) float32 at 16 kHz, n at least 1.
    """
    # One model at a time: each packs its weights into memory of its own.
    tokens, reference = (Codec(model).encode(signal) for model in (converted, source))
    bits = converted.config.bits_per_token
    differing = int(np.unpackbits((tokens ^ reference).view(np.uint8)).sum())
    return Agreement(
        tokens.size,
        float((tokens == reference).mean()),
        1 - differing / (bits * tokens.size),
    )
