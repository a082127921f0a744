"""Voices that several test files share."""

from __future__ import annotations

import numpy as np

from fcs_edge import Codec, Voice
from fcs_edge.kernels._types import F32

KINDS = ("f16", "int8", "f32")


def voice_of(codec: Codec, rows: F32, kind: str = "f16") -> Voice:
    """Return a voice of rows, stored as `kind` says."""
    dtype = np.float16 if kind == "f16" else np.float32
    voice = Voice(rows.astype(dtype), codec.fingerprint, codec.name, seconds=len(rows) / 50)
    return voice.to_int8() if kind == "int8" else voice


def drawn_voice(codec: Codec, n: int, kind: str = "f16", seed: int = 0) -> Voice:
    """Return a voice of drawn rows."""
    width = codec.model.config.decompressor.output_dim
    rows = np.random.default_rng(seed).standard_normal((n, width), np.float32)
    return voice_of(codec, rows, kind)
