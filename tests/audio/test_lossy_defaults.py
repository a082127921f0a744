"""Each default that discards information has a witness: a warning or an error."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import fcs_edge
from audio_cases import RATE, container, noise
from fcs_edge.audio.library import quiet_libraries
from fcs_edge.audio.reader import open_input, read_audio


def test_channels_that_cancel(filed: Callable) -> None:
    """The mean has 20 dB less energy than the louder channel."""
    left = noise()
    for right, warned in ((-left, True), (-0.9 * left, True), (-0.7 * left, False), (left, False)):
        data = container("WAV", "FLOAT", np.stack([left, right], 1))
        warnings = filed(data).warnings
        assert ["less energy than the louder channel" in line for line in warnings] == [
            True
        ] * warned
        for channel, expected in ((1, left), (2, right)):
            samples, losses, warnings = filed(data, channel=channel)
            assert np.array_equal(samples, expected.astype(np.float32))
            assert (losses, warnings) == ([], [])


def test_one_live_channel_of_many(filed: Callable) -> None:
    sound = np.zeros((RATE, 12), np.float32)
    sound[:, 4] = noise()
    assert len(filed(container("WAV", "FLOAT", sound)).warnings) == 1
    assert filed(container("WAV", "FLOAT", sound[:, :6])).warnings == []


def test_silence_and_nan_cancel_nothing(filed: Callable) -> None:
    sound = np.zeros((RATE, 2), np.float32)
    assert filed(container("WAV", "FLOAT", sound)).warnings == []
    sound[3] = np.nan
    sound[5, 0] = np.inf
    assert len(filed(container("WAV", "FLOAT", sound)).warnings) == 1


def test_a_channel_that_is_not_there(filed: Callable) -> None:
    data = container("WAV", "PCM_16", noise(100, 2))
    with pytest.raises(fcs_edge.AudioError, match="has 2 channels; there is no channel 3"):
        filed(data, channel=3)
    with pytest.raises(fcs_edge.AudioError, match="has 1 channel; there is no channel 2"):
        filed(container("WAV", "PCM_16", noise(100)), channel=2)
    for channel in (0, -1, "left", 1.0):
        with pytest.raises(ValueError, match="a channel is"):
            filed(data, channel=channel)


@pytest.mark.parametrize(
    ("scale", "warned"), [(1, False), (3.9, False), (4.1, True), (32768, True)]
)
def test_another_scale(scale: float, warned: bool, filed: Callable, tiny: fcs_edge.Codec) -> None:
    signal = noise()
    signal *= np.float32(scale) / np.abs(signal).max()
    warnings = filed(container("WAV", "FLOAT", signal)).warnings
    assert len(warnings) == warned
    if not warned:
        tiny.encode(signal)
        return
    assert f"the samples reach {np.abs(signal).max():.6g}" in warnings[0]
    signal[7] = np.nan
    with (
        pytest.warns(fcs_edge.AudioWarning, match="the samples reach"),
        pytest.warns(fcs_edge.AudioWarning, match="^1 samples are NaN or infinite"),
    ):
        tiny.encode(signal)


def test_the_wrap_of_uint16_is_stated_where_it_bites() -> None:
    """An offset for a language model's vocabulary would wrap without a warning."""
    root = Path(__file__).parents[2]
    for text in (
        fcs_edge.Codec.encode.__doc__,
        (root / "README.md").read_text(),
        (root / "docs/reference/token-files.md").read_text(),
    ):
        assert "astype(np.int64)" in str(text)


def test_samples_that_are_no_numbers(tiny: fcs_edge.Codec) -> None:
    """They count as 0, in whole chunks and in the last one."""
    signal = noise(RATE - 1)
    zeroed = signal.copy()
    signal[[3, -1]] = [np.inf, np.nan]
    zeroed[[3, -1]] = 0
    with pytest.warns(fcs_edge.AudioWarning, match="^2 samples are NaN or infinite") as caught:
        tokens = tiny.encode(signal)
    assert len(caught) == 1
    assert np.array_equal(tokens, tiny.encode(zeroed))


def test_a_bare_sample_that_is_cut(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(bytes(4 * 100 + 3))
    with open_input(str(tmp_path / "raw"), "s16le", RATE, 2) as sound:
        assert sum(block.size for block in sound.blocks) == 100
    assert "the last 3 bytes are no whole sample" in sound.warnings[0]


def test_read_audio_warns_or_refuses(tmp_path: Path) -> None:
    path = tmp_path / "in.wav"
    data = container("WAV", "PCM_16", noise())
    path.write_bytes(data[:40] + struct.pack("<I", 4 * RATE) + data[44:])
    with pytest.warns(fcs_edge.AudioWarning, match=r"ends 1.00 s before its header says"):
        assert fcs_edge.read_audio(path).size == RATE
    with pytest.raises(fcs_edge.AudioError, match=r"ends 1.00 s before its header says"):
        fcs_edge.read_audio(path, strict=True)
    path.write_bytes(data[:44])
    with pytest.raises(fcs_edge.AudioError, match="no sound"):
        fcs_edge.read_audio(path)
    with pytest.raises(ValueError, match="a rate of"):
        read_audio(path, rate=0)


def test_read_audio_at_another_rate(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", noise(44100, 2), 44100)
    signal = fcs_edge.read_audio(tmp_path / "in.wav")
    assert signal.dtype == np.float32
    assert signal.shape == (RATE,)
    second = fcs_edge.read_audio(tmp_path / "in.wav", channel=2)
    assert not np.array_equal(signal, second)


def test_import_loads_no_library_of_sound() -> None:
    code = "import fcs_edge, sys; print(sorted({'soundfile', 'soxr'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"[]\n"


def test_libraries_print_nothing(filed: Callable, capfd: pytest.CaptureFixture[str]) -> None:
    """libmpg123 reports each damaged frame on descriptor 2."""
    data = bytearray(container("MP3", "MPEG_LAYER_III", speechlike()))
    data[3000:3040] = bytes(range(40))
    filed(bytes(data[: len(data) // 2]))
    assert capfd.readouterr().err == ""


def test_what_others_print_passes(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_libraries():
        os.write(2, b"[src/libmpg123/layer3.c:10] error: some\na line of a program\nNote: some\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "a line of a program\nafter\n"


def test_standard_error_may_be_closed(tmp_path: Path) -> None:
    """Then the sound file itself is opened as descriptor 2."""
    (tmp_path / "in.mp3").write_bytes(container("MP3", "MPEG_LAYER_III", noise()))
    code = (
        "import os, sys\nfrom fcs_edge.audio.reader import read_audio\nos.close(2)\n"
        "print(read_audio(sys.argv[1]).size)\n"
        "try:\n    os.fstat(2)\nexcept OSError:\n    print('closed')\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "in.mp3")]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"16000\nclosed\n"


def speechlike() -> NDArray[np.float32]:
    """Return bursts of noise: an MP3 encoder moves bits between their frames."""
    bursts = np.repeat(np.random.default_rng(2).uniform(0, 1, 100) ** 4, 480)
    return (noise(48000) * bursts).astype(np.float32)
