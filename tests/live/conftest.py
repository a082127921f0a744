"""A virtual sound card for each test, and checks of how commands end.

FCS_EDGE_NEED_SOUND=1 makes tests fail, not skip, where there is no PulseAudio.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from sound_card import SoundCard, virtual_sound_card


@pytest.fixture
def sound_card() -> Iterator[SoundCard]:
    """A virtual sound card for this test."""
    with virtual_sound_card() as card:
        yield card


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
