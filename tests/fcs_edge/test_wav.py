"""WAV and RF64 files that are written before their length is known."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fcs_edge.audio import wav
from fcs_edge.audio.writer import StreamOutput, WavOutput

SOUND = np.sin(np.arange(5000, dtype=np.float32) / 7) * np.float32(1.05)
PCM = wav.to_pcm16(SOUND).astype(np.int16)


@pytest.mark.parametrize("limit", [wav.MAX_SIZE, 10_072, 10_073])
def test_a_file_beyond_the_limit_is_rf64(limit: int) -> None:
    """72 bytes of header count towards it; the samples and their place stay the same."""
    file = io.BytesIO()
    writer = wav.WavWriter(file, 24000, limit=limit)
    writer.write(PCM[:3000])
    writer.write(PCM[3000:])
    writer.finish()
    data = file.getvalue()
    assert data[80:] == PCM.astype("<i2").tobytes()
    info = soundfile.info(io.BytesIO(data))
    assert info.format == ("RF64" if limit == 10_072 else "WAV")
    found, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    assert rate == 24000
    np.testing.assert_array_equal(found, PCM)
    if info.format == "RF64":
        assert data[:20] == b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack("<I", 28)
        assert struct.unpack_from("<QQQI", data, 20) == (10_072, 10_000, 5_000, 0)
    else:
        assert struct.unpack_from("<I", data, 4) == (10_072,)


def test_a_file_is_intact_whenever_it_is_finished() -> None:
    """Samples may follow; the change to RF64 is part of it."""
    file = io.BytesIO()
    writer = wav.WavWriter(file, 24000, limit=5000)
    for number in range(6):
        writer.finish()
        found, _ = soundfile.read(io.BytesIO(file.getvalue()), dtype="int16")
        np.testing.assert_array_equal(found, PCM[: 1000 * number])
        writer.write(PCM[1000 * number :][:1000])


def test_a_real_limit_is_that_of_32_bits() -> None:
    assert wav.file_header(24000, 0xFFFFFFFE - 72)[:4] == b"RIFF"
    assert wav.file_header(24000, 0xFFFFFFFF - 72)[:4] == b"RF64"


def test_samples_are_those_of_libsndfile(tmp_path: Path) -> None:
    """A sound has the same samples in each lossless format."""
    random = np.random.default_rng(3)
    edges = [1, -1, 1 - 2**-24, -1 + 2**-24, 2, -2, 0.5 / 32768, -0.5 / 32768, 1 / 32768]
    sound = np.concatenate([random.uniform(-1.2, 1.2, 100_000), edges]).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, sound, 24000, "PCM_16", format="WAV")
    file.seek(0)
    expected, _ = soundfile.read(file, dtype="int16")
    with (tmp_path / "a.wav").open("w+b") as out:
        output = WavOutput(out, 24000)
        output.write(sound)
        output.close()
    np.testing.assert_array_equal(soundfile.read(tmp_path / "a.wav", dtype="int16")[0], expected)


@pytest.mark.parametrize(("mode", "before"), [("wb", b""), ("ab", b"earlier bytes")])
def test_a_stream_into_a_file(mode: str, before: bytes, tmp_path: Path) -> None:
    """The header states the length, but not after ``>>``: there nothing is written in place."""
    path = tmp_path / "a.wav"
    path.write_bytes(before)
    with path.open(mode) as file:
        output = StreamOutput(file, None, 24000)
        output.write(SOUND)
        output.close()
    data = path.read_bytes()
    assert data.startswith(before)
    assert data.endswith(PCM.astype("<i2").tobytes())
    size = struct.unpack_from("<I", data, len(before) + 4)[0]
    assert size == (wav.MAX_SIZE if before else len(data) - 8)


def test_a_stream_into_a_pipe() -> None:
    reader, writer = os.pipe()
    with open(writer, "wb") as file:
        output = StreamOutput(file, None, 24000)
        output.write(SOUND[:1000])
        output.close()
    with open(reader, "rb") as file:
        data = file.read()
    assert data == wav.header(24000, wav.MAX_SIZE, wav.MAX_SIZE) + PCM[:1000].tobytes()
