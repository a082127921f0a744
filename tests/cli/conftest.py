"""Runs the command, in this process or as a shell does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from fcs_edge.cli.main import main


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    def failed(self, code: int = 1) -> str:
        """Check that the command failed with one line and no traceback; return that line."""
        assert self.code == code, self.err
        assert self.out == ""
        lines = [line for line in self.err.splitlines() if "error" in line.lower()]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        assert "internal error" not in self.err
        return lines[0]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run the command in this process."""

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return Result(caught.value.code, captured.out, captured.err)

    return call


@pytest.fixture
def wav(tmp_path: Path, speech: NDArray[np.float32]) -> Path:
    """About two seconds of speech: 33333 samples at 16 kHz."""
    path = tmp_path / "speech.wav"
    soundfile.write(path, speech[20000:53333], 16000, "PCM_16")
    return path
