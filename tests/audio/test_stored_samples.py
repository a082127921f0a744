"""Uncompressed samples: the values that libsndfile reads, to the bit."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from audio_cases import RATE, container, noise
from fcs_edge.audio.byte_source import ByteSource
from fcs_edge.audio.header import read_header
from fcs_edge.audio.stored_samples import frames
from fcs_edge.errors import AudioError

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
    for format, subtype, order in KINDS:
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, RATE, subtype, order, format)
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
        assert np.array_equal(found, expected), (format, subtype, order)
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


def test_24_bits_in_4_bytes(filed: Callable) -> None:
    """Recorders of sound cards write so; the lowest byte is 0."""
    integers = (noise(100) * 2**23).astype("<i4")
    body = (integers << 8).astype("<i4").tobytes()
    fields = (b"RIFF", 36 + len(body), b"WAVE", b"fmt ", 16, 1, 1, RATE, 4 * RATE, 4, 24)
    header = struct.pack("<4sI4s4sIHHIIHH4sI", *fields, b"data", len(body))
    assert np.array_equal(filed(header + body).samples, (integers / 2**23).astype(np.float32))


def test_aiff_with_its_samples_first(filed: Callable, piped: Callable) -> None:
    data = container("AIFF", "PCM_16", noise(100))
    common, sound = data.index(b"COMM"), data.index(b"SSND")
    turned = data[:12] + data[sound:] + data[common : common + 26]
    assert np.array_equal(filed(turned).samples, filed(data).samples)
    with pytest.raises(AudioError, match="before their description"):
        piped(turned)
