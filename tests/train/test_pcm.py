"""Samples of 16 bits, and windows of frames."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("soxr")

from train.data.pcm import rerated, to_float, to_int16
from train.pretrained.whisper import WINDOW, windows


@pytest.mark.parametrize(("rate", "to"), [(24000, 16000), (16000, 24000)])
def test_another_rate_is_in_step(rate: int, to: int) -> None:
    n = rate // 50 * 37
    sound = (9000 * np.sin(2 * np.pi * 440 * np.arange(n) / rate)).astype(np.int16)
    result = rerated(sound, rate, to, np.random.default_rng(1))
    assert result.shape == (to // 50 * 37,)
    assert result.dtype == np.int16
    expected = 9000 * np.sin(2 * np.pi * 440 * np.arange(len(result)) / to)
    middle = slice(to // 50, -to // 50)
    assert np.abs(result[middle] - expected[middle]).max() < 5


def test_no_stretch_is_silent_and_all_levels_come_back() -> None:
    silence = to_int16(np.zeros(4800, np.float32), np.random.default_rng(2))
    assert set(silence.tolist()) == {-1, 0, 1}
    levels = np.arange(-32767, 32768, 257, dtype=np.int16)
    again = to_int16(to_float(levels), np.random.default_rng(3))
    assert np.abs(again.astype(int) - levels).max() <= 1
    loud = to_int16(np.array([-1.5, 1.5], np.float32), np.random.default_rng(4))
    assert loud.tolist() == [-32768, 32767]


@pytest.mark.parametrize("frames", [1, 1300, 1500, 1501, 2800, 2801, 9000])
def test_windows_cover_all_frames_once(frames: int) -> None:
    result = windows(frames)
    owner = np.full(frames, -1)
    for i, (begin, end, first) in enumerate(result):
        assert 0 < end - begin <= WINDOW
        assert begin <= first < end
        owner[first:end] = i
    assert (owner >= 0).all()
    assert set(owner.tolist()) == set(range(len(result)))
    # But for the first and the last, what is kept has 2 s before it and after it.
    for i, (begin, end, _) in enumerate(result):
        mine = np.flatnonzero(owner == i)
        assert mine[0] - begin == (100 if i else 0)
        assert end - 1 - mine[-1] == (0 if i == len(result) - 1 else 100)
