"""Recordings on a disk that is full, under names in use, beyond 4 GB, and with a dead thread."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

import fcs_edge
from fcs_edge.live import recorder as recorder_module
from fcs_edge.live.recorder import Recorder, WavFile
from fcs_edge.tokens.fcs_options import FcsOptions
from helpers import stream_tokens

SMALL = FcsOptions(block_seconds=0.08)


class SmallDisk:
    """A disk that holds `room` bytes more: writes in full up to there, one in part, then none."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, file: int, data: memoryview) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        n = min(self.room, len(data))
        self.room -= n
        return os.write(file, data[:n])


class FullFile(recorder_module._DirectFile):
    """A file on `SmallDisk`."""

    disk: SmallDisk

    def _write_some(self, data: memoryview) -> int:
        # Headers are written in place, where a full disk has room.
        if self.tell() + len(data) <= os.fstat(self.fileno()).st_size:
            return os.write(self.fileno(), data)
        return self.disk.write(self.fileno(), data)


@pytest.mark.parametrize("room", [300, 2700, 2744, 4096, 7000])
def test_a_disk_that_fills_up(
    room: int, tmp_path: Path, tiny: fcs_edge.Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file ends whole, with one warning, and the caller goes on."""
    FullFile.disk = SmallDisk(room)
    monkeypatch.setattr(recorder_module, "_DirectFile", FullFile)
    paths = [tmp_path / name for name in ("a.fcs", "in.wav", "out.wav")]
    warnings: list[str] = []
    recorder = Recorder(*paths, tiny, warnings.append, options=SMALL)
    tokens = np.zeros(tiny.chunk_tokens, np.uint16)
    samples, sound = np.full(500, 0.5, np.float32), np.full(750, 0.5, np.float32)
    for _ in range(40):
        recorder.put(samples, tokens, sound)
    recorder.close()
    assert recorder.failed
    assert len(warnings) == 3
    for path in paths:
        assert sum(str(path) in text and "No space left" in text for text in warnings) == 1
    for path, size in zip(paths[1:], (500, 750), strict=True):
        found, _ = soundfile.read(path)
        assert found.size % size == 0
        assert path.stat().st_size == 80 + 2 * found.size
    assert stream_tokens(paths[0], tiny).size % 4 == 0


def test_a_name_in_use_is_refused_at_the_moment_of_opening(
    tmp_path: Path, tiny: fcs_edge.Codec
) -> None:
    path = tmp_path / "in.wav"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        Recorder(tmp_path / "a.fcs", path, None, tiny, pytest.fail)
    assert not (tmp_path / "a.fcs").exists()
    assert path.read_bytes() == b"precious"
    Recorder(None, path, None, tiny, pytest.fail, overwrite=True).close()
    assert soundfile.info(path).frames == 0


def test_an_error_of_the_recorders_own_reaches_the_worker(
    tmp_path: Path, tiny: fcs_edge.Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(None, tmp_path / "in.wav", None, tiny, pytest.fail)
    monkeypatch.setattr(WavFile, "write", lambda *_: 1 / 0)
    recorder.put(np.zeros(8, np.float32), np.zeros(4, np.uint16), None)
    recorder._thread.join(10)
    with pytest.raises(ZeroDivisionError):
        recorder.put(np.zeros(8, np.float32), np.zeros(4, np.uint16), None)
    with pytest.raises(ZeroDivisionError):
        recorder.close()


def test_a_recording_beyond_what_wav_can_count(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    sound = np.linspace(-1, 1, 500, dtype=np.float32)
    with path.open("wb") as file:
        wav = WavFile(file, 24000, limit=2000)
        for n in range(1, 5):
            wav.write(sound)
            assert path.read_bytes()[:4] == (b"RIFF" if n == 1 else b"RF64")
            found, rate = soundfile.read(path)
            assert (found.size, rate) == (500 * n, 24000)
