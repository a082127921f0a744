"""`encode --mic -` and `decode - --play`, with a pipe between them."""

from __future__ import annotations

import io
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import fcs_edge
from fcs_edge.cli.bitstream_facts import RecordList
from fcs_edge.model.layers import F32
from helpers import stream_tokens
from sound_card import SoundCard, interrupt


def test_a_voice_link(
    sound_card: SoundCard, tmp_path: Path, speech: F32, finished: Callable[..., str]
) -> None:
    voice, recording = tmp_path / "speech.wav", tmp_path / "spk.raw"
    soundfile.write(voice, np.tile(speech, 3), 16000)
    sound_card.record("spk.monitor", recording, 48000)
    sound_card.speak(voice)
    sender = sound_card.fcs("encode", "--mic", "-", stdout=subprocess.PIPE)
    receiver = sound_card.fcs("decode", "-", "--play", stdin=sender.stdout)
    assert sender.stdout is not None
    sender.stdout.close()
    time.sleep(10)
    interrupt(sender)
    assert "bit/s" in finished(sender)
    assert "24000 Hz" in finished(receiver)
    sound = np.fromfile(recording, "<i2")
    loud = np.abs(sound) > 100
    assert loud.any()
    assert np.ptp(np.flatnonzero(loud)) > 4 * 48000


@pytest.fixture
def stream(tmp_path: Path, speech: F32, shell: Callable[..., subprocess.CompletedProcess[bytes]]):
    """A live stream of 10.96 s of speech, as its bytes."""
    path = tmp_path / "speech.wav"
    soundfile.write(path, speech, 16000)
    encoded = shell("encode", "-", "-", data=path.read_bytes())
    assert encoded.returncode == 0
    return encoded.stdout


def tokens_of(stream: bytes, tmp_path: Path) -> np.ndarray:
    path = tmp_path / "whole.fcs"
    path.write_bytes(stream)
    return stream_tokens(path)


@pytest.mark.parametrize("cut", [1, 100, 333, 700])
def test_joining_in_the_middle(
    cut: int,
    stream: bytes,
    tmp_path: Path,
    shell: Callable[..., subprocess.CompletedProcess[bytes]],
) -> None:
    """It starts at the next block, says so, and ends with 1."""
    joined = shell("decode", "--raw", "s16le", "-", "-", data=stream[cut:])
    assert joined.returncode == 1, joined.stderr
    assert b"its start is missing; decoded as tokens of edge-65k" in joined.stderr
    found = [r for r in RecordList(io.BytesIO(stream), "") if r.kind == "block" and r.offset >= cut]
    skipped = found[0].position
    assert skipped is not None
    codec = fcs_edge.load()
    got = np.frombuffer(joined.stdout, "<i2")
    expected = codec.decode(tokens_of(stream, tmp_path)[skipped:])
    expected = np.rint(expected * np.float32(32767)).astype(np.int16)
    assert got.size == 175360 * 3 // 2 - skipped * 480
    np.testing.assert_array_equal(got, expected[: got.size])


def test_joining_what_is_no_stream(
    shell: Callable[..., subprocess.CompletedProcess[bytes]],
) -> None:
    noise = np.random.default_rng(1).bytes(5000)
    refused = shell("decode", "--raw", "s16le", "-", "-", data=noise)
    assert refused.returncode == 1
    assert refused.stdout == b""
    assert b"not an .fcs file" in refused.stderr


def test_a_recording_through_a_pipe_is_played_whole(
    sound_card: SoundCard, stream: bytes, finished: Callable[..., str]
) -> None:
    start = time.monotonic()
    process = sound_card.fcs("decode", "-", "--play", stdin=subprocess.PIPE)
    message = process.communicate(stream, timeout=60)[1].decode()
    assert process.returncode == 0, message
    assert time.monotonic() - start > 10
    assert "not played" not in message
