"""What is no sound that is read: the message says what it is, and what helps."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from audio_cases import container, noise
from fcs_edge.audio.foreign import STREAMING
from fcs_edge.audio.reader import open_input
from fcs_edge.errors import AudioError

FILES = {
    b"\0\0\0\x20ftypM4A \0\0": ("MP4", "ffmpeg -i"),
    b"\x1aE\xdf\xa3" + bytes(40): ("WebM or Matroska", "ffmpeg -i"),
    b"\xff\xf1\x60\x40" + bytes(40): ("AAC", "ffmpeg -i"),
    b"RIFF\0\0\0\0AVI LIST": ("AVI", "ffmpeg -i"),
    b"version https://git-lfs.github.com/spec/v1\n": ("Git LFS pointer", "git lfs pull"),
    b"<!DOCTYPE html><html>": ("web page", "download the file"),
    b"PK\x03\x04" + bytes(40): ("ZIP", "unpack"),
    b"\x1f\x8b\x08" + bytes(40): ("gzip", "gunzip"),
    b'{"error": "not found"}': ("JSON", "give a sound file"),
    "Une note de texte, en français.\n".encode(): ("text", "give a sound file"),
    b"FCS\x1a" + bytes(40): ("bitstream", "fcs-edge decode"),
    b"\x89PNG\r\n\x1a\n" + bytes(40): ("PNG", "give a sound file"),
}


@pytest.mark.parametrize("data", FILES, ids=[name for name, _ in FILES.values()])
def test_a_file_is_recognised(data: bytes, filed: Callable, piped: Callable) -> None:
    name, advice = FILES[data]
    for read in (filed, piped):
        with pytest.raises(AudioError) as caught:
            read(data)
        assert name in str(caught.value)
        assert advice in str(caught.value)
        assert "--raw" not in str(caught.value)


def test_the_command_can_be_pasted(tmp_path: object) -> None:
    path = f"{tmp_path}/my phone's.m4a"
    with open(path, "wb") as file:
        file.write(b"\0\0\0\x20ftypM4A \0\0")
    with (
        pytest.raises(AudioError, match=r"ffmpeg -i '.*my phone'\"'\"'s.m4a' x.wav"),
        open_input(path, None, 0, 0),
    ):
        pass


@pytest.mark.parametrize(
    ("format", "subtype", "advice"),
    [
        ("FLAC", "PCM_16", "ffmpeg -i - -f wav - | fcs-edge encode - OUT"),
        ("MP3", "MPEG_LAYER_III", "ffmpeg -i - -f wav - | fcs-edge encode - OUT"),
        ("CAF", "PCM_16", "write it to a file first"),
        ("VOC", "PCM_16", "write it to a file first"),
        ("WAV", "IMA_ADPCM", "ffmpeg -i - -f wav - | fcs-edge encode - OUT"),
    ],
)
def test_what_does_not_stream(format: str, subtype: str, advice: str, piped: Callable) -> None:
    with pytest.raises(AudioError) as caught:
        piped(container(format, subtype, noise()))
    assert STREAMING in str(caught.value)
    assert advice in str(caught.value)


@pytest.mark.parametrize("n", range(1, 45, 3))
def test_a_header_alone(n: int, filed: Callable, piped: Callable) -> None:
    """No sound and no exception but AudioError, wherever a header is cut."""
    for format, subtype in (("WAV", "PCM_16"), ("AIFF", "PCM_16"), ("W64", "PCM_16")):
        data = container(format, subtype, noise(8))[:n]
        for read in (filed, piped):
            try:
                assert read(data).samples.size == 0
            except AudioError:
                continue


def test_a_fifo_is_a_pipe(tmp_path: object) -> None:
    import threading

    path = f"{tmp_path}/fifo"
    os.mkfifo(path)
    data = container("WAV", "PCM_16", noise(500))

    def write() -> None:
        with open(path, "wb") as file:
            file.write(data)

    writer = threading.Thread(target=write)
    writer.start()
    with open_input(path, None, 0, 0) as sound:
        assert sum(block.size for block in sound.blocks) == 500
    writer.join()
