"""Faults of disk, devices, threads and signals while live sound runs, on a virtual sound card."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from helpers import COMMAND, FIRST_BLOCK, stream_events, stream_tokens
from sound_card import SoundCard

INJECTED = """
import errno, signal, sys, time
from fcs_edge.cli.main import main
from fcs_edge.live import recorder, session, speaker
{}
main(sys.argv[1:])
"""
FULL_DISK_AND_A_LATE_CALL = """
def full(self, data):
    if self.tell() > 40_000:
        raise OSError(errno.ENOSPC, "No space left on device")
    return super(recorder._DirectFile, self).write(data)
recorder._DirectFile._write_some = full
play, n = speaker.Playout.play, 0
def late(self, out):
    global n
    n += out.size
    if n > 24_000:
        n = 0
        time.sleep(0.3)
    play(self, out)
speaker.Playout.play = late
"""


def injected(card: SoundCard, code: str, *arguments: object) -> subprocess.Popen[bytes]:
    """Start the command after some code."""
    command = (sys.executable, "-c", INJECTED.format(code), *arguments)
    return card.popen(*command, stderr=subprocess.PIPE)


def check_whole(bitstream: Path) -> None:
    """Check that nothing of a bitstream is damaged or missing."""
    stream_events(bitstream, strict=True)


def wait_for(path: Path, size: int, seconds: float = 60) -> float:
    """Wait until a file has `size` bytes; return how long it took."""
    start = time.monotonic()
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < start + seconds, f"{path} did not grow"
        time.sleep(0.02)
    return time.monotonic() - start


def test_neither_a_full_disk_nor_a_late_callback_ends_the_sound(
    sound_card: SoundCard, tmp_path: Path, finished: Callable[..., str]
) -> None:
    """The duration counts sound; the disk is full after 1.2 s; callbacks are late by 0.3 s."""
    bitstream, sound = tmp_path / "a.fcs", tmp_path / "in.wav"
    recording = ("--record-bitstream", bitstream, "--record-input", sound)
    start = time.monotonic()
    process = injected(sound_card, FULL_DISK_AND_A_LATE_CALL, "mic", "--duration", 4, *recording)
    message = finished(process, code=1)
    assert time.monotonic() - start > 4
    assert message.count("No space left on device") == 1
    assert f"{sound}: " in message
    assert "the sound goes on" in message
    assert "4.00 s at" in message
    assert re.search(r"[1-9]\d* (underrun|gap)s? of the speaker", message)
    assert 1.0 < soundfile.info(sound).duration < 2.0
    check_whole(bitstream)
    assert stream_tokens(bitstream).size == 200


def test_a_microphone_that_falls_silent_ends_a_duration(
    sound_card: SoundCard, tmp_path: Path, finished: Callable[..., str]
) -> None:
    bitstream = tmp_path / "a.fcs"
    arguments = ("mic", "--monitor", "off", "--duration", 600, "--record-bitstream", bitstream)
    process = injected(sound_card, "session.SILENT_SECONDS = 4.0", *arguments)
    wait_for(bitstream, FIRST_BLOCK)
    sound_card.control("suspend-source", "mic", "1")
    assert "no sound arrived for 4 s" in finished(process, code=1)
    check_whole(bitstream)


def test_a_signal_that_the_caller_ignores(sound_card: SoundCard, tmp_path: Path) -> None:
    """SIGHUP and a log on a full disk change nothing; SIGTERM ends it as Ctrl-C does."""
    bitstream = tmp_path / "a.fcs"
    arguments = ("mic", "--monitor", "off", "--record-bitstream", bitstream)
    ignoring = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    command = (sys.executable, "-c", INJECTED.format(ignoring), *arguments)
    with open("/dev/full", "wb") as full:
        process = sound_card.popen(*command, stderr=full)
    wait_for(bitstream, FIRST_BLOCK)
    process.send_signal(signal.SIGHUP)
    # The next block.
    wait_for(bitstream, bitstream.stat().st_size + 1, 30)
    process.send_signal(signal.SIGTERM)
    # There is no place for the last message.
    assert process.wait(30) in (0, 1)
    check_whole(bitstream)


def test_channels_that_cancel(
    sound_card: SoundCard, tmp_path: Path, finished: Callable[..., str]
) -> None:
    """The mean is silent, and there is a warning; one channel has the sound. SIGHUP ends it."""
    sine = 0.3 * np.sin(2 * np.pi * 440 * np.arange(60 * 16000) / 16000)
    source = tmp_path / "two.wav"
    soundfile.write(source, np.stack([sine, -sine], 1), 16000)
    sound_card.control("load-module", "module-null-sink", "sink_name=two", "channels=2")
    sound_card.control("set-default-source", "two.monitor")
    sound_card.popen("paplay", "--device=two", source)
    mean, one, out = (tmp_path / name for name in ("mean.wav", "one.wav", "a.fcs"))
    live = ("mic", "--monitor", "off", "--record-input")
    first = sound_card.fcs(*live, mean, "--duration", 2)
    second = sound_card.fcs(*live, one, "--duration", 2, "--channel", 2)
    third = sound_card.fcs("encode", "--mic", out)
    assert "20 dB less" in finished(first)
    assert "20 dB less" not in finished(second)
    third.send_signal(signal.SIGHUP)
    assert "bit/s" in finished(third)
    check_whole(out)
    rms = [np.std(soundfile.read(path)[0][8000:]) for path in (mean, one)]
    assert rms[0] < 0.01
    assert rms[1] == pytest.approx(0.3 / np.sqrt(2), rel=0.05)


def test_receive_recovers_from_a_restarted_server(
    sound_card: SoundCard, tmp_path: Path, speech: np.ndarray, finished: Callable[..., str]
) -> None:
    """Within seconds of the server's return: 2 s on a quiet machine, 20 s on any."""
    voice, played = tmp_path / "speech.wav", tmp_path / "spk.raw"
    soundfile.write(voice, np.tile(speech, 5), 16000)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    receiver = sound_card.fcs("receive", port, "--reconnect")
    sender = subprocess.Popen([*COMMAND, "send", "--from", voice, f"127.0.0.1:{port}", "-q"])
    try:
        sound_card.record("spk.monitor", played, 8000)
        assert until_loud(played) < 30
        sound_card.server.kill()
        sound_card.server.communicate()
        sound_card.start()
        sound_card.record("spk.monitor", played, 8000)
        assert until_loud(played) < 20
    finally:
        sender.kill()
        sender.wait()
    receiver.send_signal(signal.SIGINT)
    line = finished(receiver).splitlines()[-1]
    assert re.search(r"; [1-9]\d* times? without a device", line), line


def until_loud(path: Path, seconds: float = 40) -> float:
    """Wait until one second of a recording has sound in most of its parts; return the time."""
    begin = time.monotonic()
    while time.monotonic() < begin + seconds:
        sound = np.fromfile(path, "<i2")[-8000:]
        parts = np.abs(sound.astype(np.int32)).reshape(-1, 400).max(1) if sound.size == 8000 else []
        if np.count_nonzero(np.asarray(parts) > 50) >= 12:
            break
        time.sleep(0.1)
    return time.monotonic() - begin
