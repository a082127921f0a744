"""Several sounds in one file, as ``cat`` joins them: what is not read is mentioned."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest

from audio_cases import container, noise
from fcs_edge.errors import AudioError

SUBTYPES = {"MP3": "MPEG_LAYER_III", "OGG": "VORBIS"}
LIST = b"LIST" + struct.pack("<I", 4) + b"INFO"


def sound(format: str) -> bytes:
    return container(format, SUBTYPES.get(format, "PCM_16"), noise())


@pytest.mark.parametrize("format", ["WAV", "AIFF", "AU", "CAF", "W64", "FLAC", "MP3", "OGG"])
def test_a_second_file(format: str, filed: Callable) -> None:
    data = sound(format)
    samples, losses, _ = filed(data + data)
    assert np.array_equal(samples, filed(data).samples)
    assert len(losses) == 1
    assert "only the first is read" in losses[0]
    with pytest.raises(AudioError, match="only the first"):
        filed(data + data, strict=True)


def test_a_second_flac_adds_nothing(filed: Callable) -> None:
    """libsndfile fills its last block where it loses the frames' rhythm."""
    data = container("FLAC", "PCM_16", noise(17000))
    samples, losses, _ = filed(data + data)
    assert samples.size == 17000
    assert len(losses) == 1


@pytest.mark.parametrize("between", [LIST, b""])
def test_a_second_file_on_a_pipe(between: bytes, piped: Callable) -> None:
    data = sound("WAV") + between
    samples, losses, _ = piped(data + data, len(data) * 2)
    assert samples.size == noise().size
    assert [line.split(": ")[1][:28] for line in losses] == ["holds another sound after th"]


def test_a_second_chunk_of_samples(filed: Callable) -> None:
    data = sound("WAV")
    assert len(filed(data + LIST + data[36:]).losses) == 1


@pytest.mark.parametrize("tag", [b"TAG" + bytes(125), b"ID3\4\0\0\0\0\0\5" + bytes(5)])
def test_a_second_mp3_after_a_tag(tag: bytes, filed: Callable) -> None:
    data = sound("MP3")
    assert len(filed(data + tag + data).losses) == 1
    assert filed(data + tag).losses == []


def test_a_chunk_of_any_size_ends_the_search(filed: Callable) -> None:
    tail = b"xyzw" + struct.pack("<I", 0xFFFFFFFF) + bytes(100)
    assert filed(sound("WAV") + tail).losses == []
