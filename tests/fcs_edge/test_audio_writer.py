"""Sound files whose writing fails: the reason arrives, whatever library writes."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fcs_edge.audio.writer import FILE_FORMATS, file_output
from fcs_edge.files import creating

NOISE = np.random.default_rng(1).uniform(-1, 1, 100_000).astype(np.float32)


class Filling:
    """A file on a disk that fills up; every operation may be the one that fails."""

    def __init__(self, file: Any, capacity: int, operation: str) -> None:
        self._file, self._capacity, self._operation = file, capacity, operation

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._file, name)
        if name != self._operation:
            return method

        def limited(*arguments: Any) -> Any:
            self._capacity -= len(arguments[0]) if name == "write" else 1
            if self._capacity < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out")
            return method(*arguments)

        return limited


@pytest.mark.parametrize("capacity", [0, 4096, 20_000])
@pytest.mark.parametrize("suffix", list(FILE_FORMATS))
def test_a_disk_that_fills_up(
    suffix: str, capacity: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """No exception passes through libsndfile, which would print it and go on."""

    def write(file: Any) -> None:
        output = file_output(file, suffix, 24000)
        try:
            for start in range(0, NOISE.size, 10_000):
                output.write(NOISE[start : start + 10_000])
            output.close()
        finally:
            output.discard()

    with pytest.raises(OSError, match="No space left"), creating(tmp_path / "a") as file:
        write(Filling(file, capacity, "write"))
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", list(FILE_FORMATS))
def test_a_sound_that_is_discarded(
    suffix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """After an interrupt nothing more is written, though libsndfile still holds the file."""
    with (tmp_path / "a").open("w+b") as file:
        output = file_output(file, suffix, 24000)
        output.write(NOISE[:10])
        output.discard()
        size = file.seek(0, os.SEEK_END)
    del output
    assert (tmp_path / "a").stat().st_size == size
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", list(FILE_FORMATS))
def test_a_whole_sound(suffix: str, tmp_path: Path) -> None:
    with creating(tmp_path / "a") as file:
        output = file_output(file, suffix, 24000)
        output.write(NOISE)
        output.close()
        output.discard()
    found, rate = soundfile.read(tmp_path / "a", dtype="float32")
    assert (found.size, rate) == (NOISE.size, 24000)
    if suffix != ".ogg":
        assert np.abs(found - NOISE).max() <= 1 / 32768
