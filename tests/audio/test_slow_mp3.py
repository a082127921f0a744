"""MPEG 2.5, the MP3 of 8 to 12 kHz: whole files are whole, and cut ones are cut."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from fcs_edge.audio.endings import mp3_ends_within_a_frame


@pytest.mark.parametrize("rate", [8000, 11025, 12000, 16000, 44100])
@pytest.mark.parametrize("seconds", [0.01, 2.0])
def test_only_a_cut_file_ends_within_a_frame(rate: int, seconds: float) -> None:
    noise = np.random.default_rng(rate).standard_normal(round(rate * seconds)) * 0.1
    file = io.BytesIO()
    soundfile.write(file, noise, rate, format="MP3")
    data = file.getvalue()
    assert not mp3_ends_within_a_frame(data)
    assert mp3_ends_within_a_frame(data[:-20])
