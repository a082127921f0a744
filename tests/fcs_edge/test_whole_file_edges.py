"""Wrong arguments of the functions for whole files, and small stacks."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

import fcs_edge
from fcs_edge import BitstreamError, FcsError
from fcs_edge.audio.byte_source import FileBytes
from fcs_edge.audio.writer import LibraryOutput


def test_folders_in_place_of_files(tmp_path: Path) -> None:
    with pytest.raises(BitstreamError, match=f"{tmp_path}: Is a directory"):
        fcs_edge.read_fcs(tmp_path)
    with pytest.raises(BitstreamError, match="Is a directory"):
        fcs_edge.decode_file(tmp_path)
    with pytest.raises(FcsError, match="its folder does not exist"):
        fcs_edge.write_fcs(tmp_path / "none" / "a.fcs", [1])


def test_arguments_of_read_audio(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full((1000, 2), [0.1, 0.2]), 16000)
    second = fcs_edge.read_audio(path, channel=2)
    assert np.array_equal(fcs_edge.read_audio(path, channel=np.int64(2)), second)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="rate must be an integer"):
        fcs_edge.read_audio(path, rate=16000.5)  # type: ignore[arg-type]
    for channel in (True, 1.0, "1", None):
        with pytest.raises(ValueError, match="a channel is a number"):
            fcs_edge.read_audio(path, channel=channel)  # type: ignore[arg-type]


def test_a_long_block_of_ogg_on_a_small_stack(tmp_path: Path) -> None:
    """An encoder that puts the first block on the stack ends the process."""
    path = tmp_path / "a.ogg"

    def write() -> None:
        with path.open("w+b") as file:
            output = LibraryOutput(file, ".ogg", 24000)
            output.write(np.zeros(400_000, np.float32))
            output.close()

    size = threading.stack_size(1 << 20)
    try:
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(size)
    assert soundfile.info(path).frames == 400_000


def test_a_file_that_becomes_shorter_lacks_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(range(200)) * 1000)
    with path.open("rb") as file:
        data = FileBytes(file.fileno())
        assert data[3:5] == b"\3\4"
        assert data[199_990:300_000] == bytes(range(190, 200))
        assert data[150_001:150_003] == b"\1\2"
        os.truncate(path, 10)
        assert len(data) == 200_000
        assert data[100:102] == b""
        assert data[2:4] == b"\2\3"
