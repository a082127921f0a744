"""16-bit mono WAV files that are written before their length is known."""

from __future__ import annotations

import struct

import numpy as np

from fcs_edge.model.layers import F32

MAX_SIZE = 0xFFFFFFFF
"""The largest size that a header can state; it stands for an unknown length."""


def header(rate: int, riff_bytes: int, data_bytes: int) -> bytes:
    """Return the 44 bytes before the samples; each size counts the bytes after its own field."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", riff_bytes, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16),
        *(b"data", data_bytes),
    )


def to_pcm16(samples: F32) -> F32:
    """Return (n,) float32 in [-1, 1] as integers from -32767 to 32767, in float32."""
    rounded: F32 = np.rint(np.clip(samples, -1, 1) * np.float32(32767))
    return rounded
