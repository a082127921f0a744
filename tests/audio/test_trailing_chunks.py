"""Chunks that follow the sound, and junk: never sound."""

from __future__ import annotations

import io
import os
import select
import struct
import sys
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_cases import RATE, container, noise
from fcs_edge.audio.chunk_list import PIPE_LIST_BYTES, RIFF, TailFilter, list_start
from fcs_edge.audio.reader import open_input


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


TAILS = {
    "LIST": chunk(b"LIST", b"INFO" + chunk(b"INAM", b"A name that is 31 bytes long ..")),
    "id3": chunk(b"id3 ", b"ID3\x04" + bytes(range(256)) * 40),
    "bext": chunk(b"bext", bytes(602)),
    "padding": chunk(b"JUNK", bytes(4000)) + chunk(b"PAD ", bytes(5)),
    "three": chunk(b"LIST", b"INFO") + chunk(b"xyzw", b"abc") + chunk(b"bext", bytes(602)),
    "no pad byte": chunk(b"LIST", b"INFOabc")[:-1],
}
WHOLE = container("WAV", "PCM_16", noise())
SOUND = soundfile.read(io.BytesIO(WHOLE), dtype="float32")[0]


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("size", [2 * RATE, 0, 0xFFFFFFFF, 4 * RATE])
def test_chunks_are_no_sound(tail: str, size: int, filed: Callable, piped: Callable) -> None:
    data = WHOLE[:40] + struct.pack("<I", size) + WHOLE[44:] + TAILS[tail]
    assert np.array_equal(filed(data).samples, SOUND)
    for step in (1000, 4097):
        assert np.array_equal(piped(data, step).samples, SOUND)


@pytest.mark.parametrize("junk", [b"\0" * 100, b"junk that is no chunk", b"LIST", b"\xff"])
def test_junk_after_the_stated_sound(junk: bytes, filed: Callable, piped: Callable) -> None:
    for read in (filed, piped):
        samples, losses, warnings = read(WHOLE + junk)
        assert np.array_equal(samples, SOUND)
        assert (losses, warnings) == ([], [])


@pytest.mark.parametrize("format", ["FLAC", "MP3", "OGG", "CAF", "W64", "AU"])
def test_a_tag_of_another_format(format: str, filed: Callable) -> None:
    subtype = {"MP3": "MPEG_LAYER_III", "OGG": "VORBIS"}.get(format, "PCM_16")
    data = container(format, subtype, noise())
    for tag in (b"TAG" + bytes(125), b"APETAGEX" + bytes(56), bytes(5000)):
        samples, losses, warnings = filed(data + tag)
        assert np.array_equal(samples, filed(data).samples)
        assert (losses, warnings) == ([], [])


def test_sound_beyond_the_stated_sound_is_mentioned(filed: Callable) -> None:
    """A recorder that crashed after it had updated its header."""
    data = WHOLE[:40] + struct.pack("<I", 200) + WHOLE[44:] * 3
    samples, losses, warnings = filed(data)
    assert np.array_equal(samples, SOUND[:100])
    assert losses == []
    assert len(warnings) == 1
    assert "bytes follow the sound that its header states" in warnings[0]


def test_a_pipe_that_stays_open_ends_with_its_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, WHOLE + TAILS["LIST"])
    with os.fdopen(read_end, "rb") as file, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(file))
        with open_input("-", None, 0, 0) as sound:
            assert np.array_equal(np.concatenate(list(sound.blocks)), SOUND)
        assert not select.select([read_end], [], [], 0)[0]
        sys.stdin.detach()
    os.close(write_end)


def test_a_filler_before_the_sound(filed: Callable, piped: Callable) -> None:
    """AVAudioFile aligns the samples with FLLR, and leaves a size of 0 when it crashes."""
    data = WHOLE[:36] + chunk(b"FLLR", bytes(4008)) + b"data" + bytes(4) + WHOLE[44:]
    for read in (filed, piped):
        assert np.array_equal(read(data).samples, SOUND)


@pytest.mark.parametrize("n", [1, 3, 4, 5])
def test_a_frame_that_is_cut(n: int, filed: Callable, piped: Callable) -> None:
    stereo = container("WAV", "PCM_16", noise(100, 2))
    for read in (filed, piped):
        samples = read(stereo[:-n], channel=2).samples
        assert np.array_equal(samples, read(stereo, channel=2).samples[: 100 - (n + 3) // 4])


def test_names_within_sound_are_sound(filed: Callable, piped: Callable) -> None:
    """A chunk's name among the samples, with sizes that lead to no end."""
    sound = b"LIST" * 500 + b"id3 \x10\0\0\0" * 500 + b"bext\xff\xff\xff\x7f" * 500
    data = WHOLE[:40] + bytes(4) + sound
    for read in (filed, piped):
        assert read(data).samples.size == len(sound) // 2


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(st.sampled_from([b"LIST", b"id3 ", b"\x04\0\0\0", b"ab", b"\0\0", b"LI"])),
    steps=st.lists(st.integers(1, 9), min_size=1),
)
def test_a_pipe_agrees_with_a_file(pieces: list[bytes], steps: list[int]) -> None:
    data = b"".join(pieces)
    tail, at, passed = TailFilter(RIFF), 0, b""
    while at < len(data):
        for step in steps:
            passed += tail.feed(data[at : at + step])
            at += step
    passed += tail.end()
    assert data.startswith(passed)
    # A file's list may start at an odd byte; a pipe's does not.
    assert len(passed) >= list_start(data, RIFF)
    assert len(passed) == list_start(data, RIFF) or list_start(data, RIFF) % 2


def test_little_sound_waits() -> None:
    tail = TailFilter(RIFF)
    rng = np.random.default_rng(0)
    for _ in range(50):
        data = rng.integers(0, 256, 640, np.uint8).tobytes()
        assert len(data) - len(tail.feed(data)) <= 3
    tail.feed(b"LIST" + struct.pack("<I", PIPE_LIST_BYTES + 1))
    assert len(tail.feed(bytes(8))) == 8
