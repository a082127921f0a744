"""Recordings: their content, at any time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

import fcs_edge
from fcs_edge.live import recorder as recorder_module
from fcs_edge.live.recorder import Recorder, WavFile
from helpers import stream_tokens


def test_a_wav_file_is_intact_at_any_time(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    parts = [np.linspace(-1, 1, n, dtype=np.float32) for n in (1, 100, 7)]
    with path.open("wb") as file:
        wav = WavFile(file, 24000)
        for number in range(4):
            found, rate = soundfile.read(path, dtype="float32")
            assert rate == 24000
            expected = np.concatenate([np.zeros(0, np.float32), *parts[:number]])
            np.testing.assert_allclose(found, expected * 32767 / 32768, atol=1 / 32768)
            if number < 3:
                wav.write(parts[number])


def test_each_chunk_is_recorded(tmp_path: Path, tiny: fcs_edge.Codec) -> None:
    random = np.random.default_rng(1)
    paths = [tmp_path / name for name in ("a.fcs", "in.wav", "out.wav")]
    recorder = Recorder(*paths, tiny, pytest.fail)
    tokens = np.zeros(tiny.chunk_tokens, np.uint16)
    samples, sound = np.zeros(tiny.chunk_size, np.float32), np.zeros(1000, np.float32)
    sent = []
    for _ in range(30):
        # The worker passes the same memory at each call.
        tokens[:] = random.integers(0, 1 << tiny.bits_per_token, tokens.size)
        sent.append(tokens.copy())
        recorder.put(samples, tokens, sound)
    recorder.close()
    got = stream_tokens(paths[0], tiny, strict=True)
    np.testing.assert_array_equal(got, np.concatenate(sent))
    assert soundfile.info(paths[1]).frames == 30 * tiny.chunk_size
    assert soundfile.info(paths[2]).frames == 30 * 1000


def test_a_full_disk_is_reported(tiny: fcs_edge.Codec) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError, match="/dev/full"):
        Recorder(full, None, None, tiny, pytest.fail)


def test_a_slow_disk_holds_nobody_up(
    tmp_path: Path, tiny: fcs_edge.Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "_QUEUE_CHUNKS", 3)
    recorder = Recorder(None, tmp_path / "in.wav", None, tiny, pytest.fail)
    monkeypatch.setattr(recorder, "_queue", Stuck())
    for _ in range(5):
        recorder.put(np.zeros(8, np.float32), np.zeros(4, np.uint16), None)
    assert recorder.n_lost == 2
    assert recorder.failed


class Stuck:
    """A queue that nobody reads."""

    def __init__(self) -> None:
        self.items: list[object] = []

    def qsize(self) -> int:
        return len(self.items)

    def put(self, item: object) -> None:
        self.items.append(item)
