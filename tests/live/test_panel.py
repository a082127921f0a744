"""The live panel and its keys, on a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from fcs_edge.model.layers import F32
from sound_card import SoundCard

WORDS = ("in", "out", "chunk", "latency", "clock", "lost", "800 bit/s", "capture", "playback")


class Terminal:
    """A pseudo-terminal, 100 columns wide, and the output of a program on it."""

    def __init__(self) -> None:
        self.ours, self.its = pty.openpty()
        os.set_blocking(self.ours, False)
        self.written = ""

    def read_until(self, done: Callable[[str], bool], seconds: float) -> str:
        """Return the output so far, once `done` accepts it."""
        deadline = time.monotonic() + seconds
        while not done(self.written):
            assert time.monotonic() < deadline, self.written[-2000:]
            if select.select([self.ours], [], [], 0.1)[0]:
                self.written += os.read(self.ours, 1 << 16).decode(errors="replace")
        return self.written

    def press(self, key: str) -> None:
        os.write(self.ours, key.encode())


def test_panel_and_keys(sound_card: SoundCard, tmp_path: Path, speech: F32) -> None:
    voice = tmp_path / "speech.wav"
    soundfile.write(voice, np.tile(speech, 3), 16000)
    sound_card.speak(voice)
    sound_card.env |= {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    terminal = Terminal()
    process = sound_card.fcs("mic", stdin=terminal.its, stdout=terminal.its, stderr=terminal.its)
    os.close(terminal.its)
    drawn = terminal.read_until(lambda text: text.count("█" * 10) > 5, 30)
    for word in WORDS:
        assert word in drawn
    # From the first frame on: the names, and nothing that is not known yet.
    assert re.search(r"microphone +default \(opening\)", drawn)
    assert re.search(r"speaker +default", drawn)
    assert "nan" not in drawn
    assert "you hear decoded sound" in drawn
    assert "you hear uncoded sound" not in drawn
    terminal.press("b")
    terminal.read_until(lambda text: "you hear uncoded sound, b changes to decoded" in text, 10)
    # The sound server's audio from before the start, up to 2 s, does not count as lost.
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.written)
    assert re.search(r"lost +\S", plain)
    seconds = [float(n) for n in re.findall(r"([\d.]+) s not (?:played|encoded)", plain)]
    assert max(seconds, default=0) < 0.5
    terminal.press("q")
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        if select.select([terminal.ours], [], [], 0.1)[0]:
            try:
                terminal.written += os.read(terminal.ours, 1 << 16).decode(errors="replace")
            except OSError:
                break
    assert process.wait(10) == 0
    assert "Traceback" not in terminal.written
    os.close(terminal.ours)
