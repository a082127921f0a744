"""Uncompressed samples: the values that libsndfile reads, to the bit."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from audio_cases import RATE, noise
from fcs_edge.audio.byte_source import ByteSource
from fcs_edge.audio.header import read_header
from fcs_edge.audio.stored_samples import frames

KINDS = [
    (container, subtype, order)
    for container in ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF")
    for subtype in soundfile.available_subtypes(container)
    for order in ("FILE", "LITTLE", "BIG")
    if subtype.startswith(("PCM", "FLOAT", "DOUBLE", "ULAW", "ALAW"))
    and soundfile.check_format(container, subtype, order)
]


@pytest.mark.parametrize("channels", [1, 3])
def test_all_kinds(channels: int) -> None:
    samples = noise(301, channels)
    samples[:4] = np.array([-1, 1, 1e-5, 0], np.float32)[:, None] if channels > 1 else 0.5
    seen = set()
    for container, subtype, order in KINDS:
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, RATE, subtype, order, container)
        data = buffer.getvalue()
        source = ByteSource(io.BytesIO(data), len(data))
        header = read_header(source)
        assert header is not None
        if header.kind is None:
            continue
        seen.add((header.kind, header.order))
        assert (header.rate, header.channels, header.is_open) == (RATE, channels, False)
        stored = source.read(header.stated)
        pieces = (stored[i : i + 100] for i in range(0, len(stored), 100))
        found = np.concatenate(list(frames(pieces, header.kind, header.order, channels)))
        expected = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0]
        assert np.array_equal(found, expected), (container, subtype, order)
        # A container may count the byte that pads it.
        assert len(found) in (301, 302)
    assert len(seen) >= 16


def test_any_byte_of_g711() -> None:
    """All 256 values, of both laws."""
    for subtype in ("ULAW", "ALAW"):
        kind = subtype.lower()
        data = bytes(range(256))
        raw = {"samplerate": 8000, "channels": 1, "format": "RAW", "subtype": subtype}
        expected = soundfile.read(io.BytesIO(data), dtype="float32", **raw)[0]
        found = np.concatenate(list(frames([data], kind, "<", 1)))[:, 0]
        assert np.array_equal(found, expected)
