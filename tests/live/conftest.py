"""A virtual sound card for each test, and checks of how commands end.

FCS_EDGE_NEED_SOUND=1 makes tests fail, not skip, where there is no PulseAudio.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sound_card import PROGRAMS, SoundCard


@pytest.fixture
def sound_card() -> Iterator[SoundCard]:
    """A virtual sound card for this test."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        if os.environ.get("FCS_EDGE_NEED_SOUND"):
            pytest.fail(f"{', '.join(missing)}: not installed")
        pytest.skip(f"{', '.join(missing)}: not installed")
    # Not pytest's folder: the path of a socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="fcs"))
    card = SoundCard(folder)
    try:
        yield card
    finally:
        card.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def finished() -> Callable[..., str]:
    """Return what a command printed once it is done; check its exit code."""

    def wait(process: subprocess.Popen[bytes], code: int = 0, seconds: float = 60) -> str:
        _, output = process.communicate(timeout=seconds)
        text = output.decode()
        assert process.returncode == code, text
        assert "Traceback" not in text
        return text

    return wait
