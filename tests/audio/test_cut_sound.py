"""Cut files and wrong sizes: all of the sound, or a line that says what is missing."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from audio_cases import RATE, container, noise
from fcs_edge.errors import AudioError

STORED = {
    "WAV": "PCM_16",
    "WAVEX": "PCM_24",
    "RF64": "FLOAT",
    "W64": "PCM_16",
    "AIFF": "PCM_16",
    "AU": "PCM_16",
    "CAF": "PCM_16",
}
"""Containers that store samples as they are."""

CODED = {
    "FLAC": "PCM_16",
    "OGG": "VORBIS",
    "OPUS": "OPUS",
    "MP3": "MPEG_LAYER_III",
    "IMA": "IMA_ADPCM",
    "NIST": "PCM_16",
    "VOC": "PCM_16",
    "AVR": "PCM_16",
    "WVE": "ALAW",
    "MPC2K": "PCM_16",
    "MAT4": "PCM_16",
    "MAT5": "FLOAT",
}
PIPED = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "OGG", "OPUS")


def file_of(name: str) -> bytes:
    format = {"OPUS": "OGG", "IMA": "WAV"}.get(name, name)
    # A page of Opus holds a second.
    samples = noise(3 * RATE if format == "OGG" else RATE)
    return container(format, {**STORED, **CODED}[name], samples)


def decoded(data: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(data), dtype="float32")[0]


@pytest.mark.parametrize("name", [*STORED, *CODED])
def test_a_whole_file(name: str, filed: Callable, piped: Callable) -> None:
    data = file_of(name)
    samples, losses, warnings = filed(data)
    assert np.abs(samples - decoded(data)).max() < 1e-6
    assert (losses, warnings) == ([], [])
    if name in PIPED:
        through = piped(data)
        assert np.array_equal(through.samples, samples)
        assert (through.losses, through.warnings) == ([], [])
    else:
        with pytest.raises(AudioError, match="read from a pipe"):
            piped(data)


@pytest.mark.parametrize("cut", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("name", [*STORED, *CODED])
def test_a_cut_file(name: str, cut: float, filed: Callable, piped: Callable) -> None:
    """What is read is the start of the sound, and a loss is reported."""
    data = file_of(name)
    whole = decoded(data)
    part = data[: round(len(data) * cut)]
    try:
        samples, losses, _ = filed(part)
    except AudioError:
        assert cut == 0.01 or name == "CAF"
        return
    assert samples.size <= whole.size - (name != "IMA")
    assert len(losses) == 1
    if name in STORED:
        bytes_there = len(part) - (len(data) - data_bytes(name))
        assert samples.size == bytes_there // width(name)
        missing = (whole.size - samples.size) / RATE
        assert losses[0].endswith(f"ends {max(missing, 0.01):.2f} s before its header says")
    if name not in ("OGG", "OPUS", "IMA"):
        assert np.abs(samples - whole[: samples.size]).max(initial=0) < 1e-6
    with pytest.raises(AudioError, match=r"before its header says|is cut"):
        filed(part, strict=True)
    if name in PIPED:
        through = piped(part)
        assert np.array_equal(through.samples, samples)
        assert len(through.losses or through.warnings) == 1
        with pytest.raises(AudioError, match=r"before its header says|is cut"):
            piped(part, strict=True)


def width(name: str) -> int:
    return {"PCM_16": 2, "PCM_24": 3, "FLOAT": 4}[STORED[name]]


def data_bytes(name: str) -> int:
    return RATE * width(name)


def with_size(name: str, size: int) -> bytes:
    """Return a file whose header states another number of bytes of sound."""
    data = file_of(name)
    form, marker, skip = {
        "WAV": ("<I", b"data", 4),
        "WAVEX": ("<I", b"data", 4),
        "RF64": ("<q", b"ds64", 16),
        "W64": ("<q", b"data", 16),
        "AIFF": (">I", b"SSND", 4),
        "AU": (">I", b".snd", 8),
        "CAF": (">q", b"data", 4),
    }[name]
    at = data.index(marker) + skip
    bits = 8 * struct.calcsize(form)
    stated = size % (1 << bits) if form.isupper() else size
    return data[:at] + struct.pack(form, stated) + data[at + struct.calcsize(form) :]


@pytest.mark.parametrize("size", [0, -1, 0x7FFFFFFF, 0x7FFFF000])
@pytest.mark.parametrize("name", STORED)
def test_a_size_that_its_writer_did_not_know(
    name: str, size: int, filed: Callable, piped: Callable
) -> None:
    """A crashed recorder leaves 0; a writer into a pipe states -1 or the most."""
    if size > 0 and name in ("RF64", "W64", "CAF"):
        size = (1 << 63) - 1
    data = with_size(name, size)
    samples, losses, warnings = filed(data)
    assert np.abs(samples - decoded(file_of(name))).max() < 1e-6
    assert losses == []
    allowed = name == "AIFF" or (size == -1 and name in ("AU", "CAF"))
    assert len(warnings) == (0 if allowed else 1)
    assert all("states no length" in line for line in warnings)
    if name in PIPED:
        through = piped(data)
        assert np.array_equal(through.samples, samples)
        assert (through.losses, through.warnings) == ([], [])


@pytest.mark.parametrize("name", [n for n in STORED if n != "AIFF"])
def test_a_size_beyond_the_end(name: str, filed: Callable, piped: Callable) -> None:
    data = with_size(name, data_bytes(name) + 3 * RATE * width(name))
    samples, losses, _ = filed(data)
    assert np.array_equal(samples, decoded(file_of(name)))
    assert len(losses) == 1
    assert "ends 3.00 s before its header says" in losses[0]
    if name in PIPED:
        through = piped(data)
        assert np.array_equal(through.samples, samples)
        assert len(through.warnings) == 1


def test_adpcm_of_unknown_size(filed: Callable) -> None:
    data = file_of("IMA")
    at = data.index(b"data") + 4
    samples, losses, warnings = filed(data[:at] + bytes(4) + data[at + 4 :])
    assert np.array_equal(samples, filed(data).samples)
    assert losses == []
    assert "states no length" in warnings[0]


@pytest.mark.parametrize("name", ["OGG", "OPUS"])
def test_streams_one_after_the_other(name: str, filed: Callable, piped: Callable) -> None:
    data = file_of(name) * 2
    for read in (filed, piped):
        assert "only the first is read" in read(data).losses[0]


def test_a_flac_of_unknown_length(filed: Callable) -> None:
    """FFmpeg writes 0 as the number of samples into a pipe."""
    data = bytearray(file_of("FLAC"))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    samples, losses, warnings = filed(bytes(data))
    assert samples.size == RATE
    assert (losses, warnings) == ([], [])
    samples, losses, _ = filed(bytes(data[: len(data) // 2]))
    assert 0 < samples.size < RATE
    assert "is damaged after" in losses[0]


def test_an_mp3_without_a_count_of_frames(filed: Callable) -> None:
    """Frames of the tiny clip of silence: 128 kbps, 44.1 kHz, all bits zero."""
    frame = b"\xff\xfb\x90\xc4" + bytes(413)
    assert filed(frame * 10).losses == []
    assert filed(frame * 10 + b"TAG" + bytes(125)).losses == []
    assert "is cut" in filed(frame * 10 + frame[:100]).losses[0]


@pytest.mark.parametrize("name", ["OGG", "OPUS"])
def test_a_cut_between_two_pages(name: str, filed: Callable, piped: Callable) -> None:
    """Only the mark of the end is missing: each page that is there is whole."""
    data = file_of(name)
    cut = data[: data.rindex(b"OggS")]
    for read in (filed, piped):
        assert [line for line in read(cut).losses if "the mark of its end is missing" in line]
