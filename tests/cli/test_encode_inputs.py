"""encode: inputs that are cut, odd or lossy, and what the command says of them."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import fcs_edge
from audio_cases import RATE, container, noise
from helpers import stream_tokens


@pytest.fixture
def encode(run: Callable, golden: Callable) -> Callable:
    """Run encode with the tiny model."""
    return lambda *arguments: run("encode", "--model", golden("tiny").model, *arguments)


def with_size(size: int) -> bytes:
    data = container("WAV", "PCM_16", noise())
    return data[:40] + struct.pack("<I", size) + data[44:]


def tokens_of(path: Path) -> np.ndarray:
    return stream_tokens(path)


def test_a_cut_file_is_encoded_and_reported(encode: Callable, tmp_path: Path) -> None:
    source, whole = tmp_path / "cut.wav", tmp_path / "whole.wav"
    source.write_bytes(with_size(4 * RATE))
    whole.write_bytes(with_size(2 * RATE))
    result = encode(source, tmp_path / "a.fcs")
    assert result.code == 1
    assert f"warning: {source}: ends 1.00 s before its header says" in result.err
    assert encode(whole, tmp_path / "b.fcs").code == 0
    assert (tmp_path / "a.fcs").read_bytes() == (tmp_path / "b.fcs").read_bytes()
    line = encode("--strict", source, tmp_path / "c.fcs").failed()
    assert "ends 1.00 s before its header says" in line
    assert not list(tmp_path.glob("*c*.fcs"))


def test_a_size_of_0_loses_nothing(encode: Callable, tmp_path: Path) -> None:
    (tmp_path / "in.wav").write_bytes(with_size(0))
    result = encode("--strict", tmp_path / "in.wav", tmp_path / "a.fcs")
    assert result.code == 0
    assert result.err.count("warning") == 1
    assert "1.00 s in" in result.err


def test_no_sound_leaves_no_output(encode: Callable, tmp_path: Path) -> None:
    (tmp_path / "in.wav").write_bytes(with_size(0)[:44])
    assert "holds no sound" in encode(tmp_path / "in.wav", tmp_path / "a.fcs").failed()
    (tmp_path / "empty").write_bytes(b"")
    assert "it is empty" in encode(tmp_path / "empty", tmp_path / "a.fcs").failed()
    for source in ("in.wav", "empty"):
        raw = ("--raw", "s16le") if source == "empty" else ()
        for out in (tmp_path / "a.fcs", "-"):
            assert "no sound" in encode(*raw, tmp_path / source, out).failed()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "in.wav"]


@pytest.mark.parametrize("kind", ["wav", "mp3", "ogg", "flac"])
def test_read_audio_is_what_the_command_encodes(
    kind: str, encode: Callable, golden: Callable, tmp_path: Path
) -> None:
    source, out = tmp_path / f"in.{kind}", tmp_path / "a.npy"
    soundfile.write(source, noise(44100, 2), 44100)
    codec = fcs_edge.load(golden("tiny").model)
    for channel in ("mean", 2):
        assert encode("--channel", channel, "--force", source, out).code == 0
        signal = fcs_edge.read_audio(source, channel=channel)
        assert np.array_equal(np.load(out), codec.encode(signal))


def test_channels(encode: Callable, tmp_path: Path) -> None:
    left = noise()
    soundfile.write(tmp_path / "in.wav", np.stack([left, -left], 1), RATE)
    source, out = tmp_path / "in.wav", tmp_path / "a.fcs"
    result = encode(source, out)
    assert result.code == 0
    assert "less energy than the louder channel" in result.err
    assert "the mean of 2 channels is encoded" in result.err
    result = encode("--channel", 1, "--force", source, out)
    assert "warning" not in result.err
    assert "the mean of" not in result.err
    assert "has 2 channels" in encode("--channel", 3, "--force", source, out).failed()
    for wrong in ("0", "left", "-1"):
        assert "not mean" in encode("--channel", wrong, source, tmp_path / "b.fcs").failed(2)


def test_types_and_suffixes(encode: Callable, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", noise(), RATE)
    assert encode(tmp_path / "in.wav", tmp_path / "O.FCS").code == 0
    tokens = tokens_of(tmp_path / "O.FCS")
    assert encode("--dtype", "int64", tmp_path / "in.wav", tmp_path / "T.NPY").code == 0
    wide = np.load(tmp_path / "T.NPY")
    assert wide.dtype == np.int64
    assert np.array_equal(wide, tokens)
    assert encode("--dtype", "int64", tmp_path / "in.wav", tmp_path / "T.NPZ").code == 0
    assert np.load(tmp_path / "T.NPZ")["tokens"].dtype == np.int64
    line = encode("--dtype", "int64", tmp_path / "in.wav", tmp_path / "a.fcs").failed(2)
    assert "--dtype is for" in line


def test_the_last_line_names_what_is_written(encode: Callable, tmp_path: Path) -> None:
    """The bit rate is the file's, with its header and checks."""
    soundfile.write(tmp_path / "in.wav", noise(), RATE)
    out = tmp_path / "a.fcs"
    last = encode(tmp_path / "in.wav", out).err.splitlines()[-1]
    size = out.stat().st_size
    assert last == f"{out}: 1.00 s in {size} bytes, {8 * size} bit/s"


@pytest.mark.parametrize("options", [(), ("--block", "2"), ("--fec", "50%", "--tag", "title=a")])
def test_the_last_line_counts_what_a_pipe_receives(
    options: tuple[str, ...], encode: Callable, tmp_path: Path
) -> None:
    """Not the tokens' own rate: framing, coding and protection change it."""
    soundfile.write(tmp_path / "in.wav", noise(), RATE)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    last = encode(*options, tmp_path / "in.wav", pipe).err.splitlines()[-1]
    reader.join()
    size = len(received[0])
    assert last == f"1.00 s in {size} bytes, {8 * size} bit/s"
