"""What tests of whole corpora share: sounds, an engine in this process, and what runs leave."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile
from numpy.typing import NDArray

from fcs_edge.corpus.job import Job, OnReport, Outcome, Recipe, Report
from fcs_edge.corpus.worker import KINDS

SOUNDS = {
    "a/one.wav": (16000, 1.0, 1),
    "a/two.flac": (16000, 0.7, 1),
    "a/three.ogg": (22050, 1.3, 1),
    "a/b/four.wav": (8000, 0.9, 1),
    "a/b/five.flac": (44100, 0.5, 2),
    "a/b/six.mp3": (24000, 0.8, 1),
    "c/seven.wav": (48000, 0.4, 1),
    "c/eight.flac": (16000, 1.6, 1),
    "c/nine.opus": (48000, 0.6, 1),
    "c/ten.aiff": (32000, 0.3, 2),
    "eleven.WAV": (11025, 1.1, 1),
    "twelve.au": (16000, 0.02, 1),
}
"""Rate in Hz, seconds and channels of each sound of the corpus."""


def sound_of(seed: int, rate: int, seconds: float, channels: int = 1) -> NDArray[np.float32]:
    """Return a sound that is like no other: swept tones and noise, (n, channels) float32."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(rate * seconds)) / rate
    tone = np.sin(2 * np.pi * (100 + 20 * seed) * t * (1 + t))
    noise = rng.standard_normal((t.size, channels))
    return (0.2 * tone[:, None] + 0.05 * noise).astype(np.float32)


def write_sound(
    path: Path, seed: int, rate: int = 16000, seconds: float = 0.1, channels: int = 1
) -> Path:
    """Write such a sound in the format of the path's suffix, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
    soundfile.write(path, sound_of(seed, rate, seconds, channels), rate, **options)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files in a folder, hidden ones too, by path."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def children(pid: int | None = None) -> list[int]:
    """Return the child processes of a process, of this one if none is given.

    Those of multiprocessing do not count: other tests leave its tracker and its server.
    """
    parent = str(pid or os.getpid())
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            command = path.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if fields[1] == parent and fields[0] != "Z" and b"multiprocessing" not in command:
            found.append(int(path.parent.name))
    return found


def ended(pid: int) -> bool:
    """Return whether a process has ended; its parent may not have noticed."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def wait_until(condition: object, seconds: float = 30.0) -> None:
    """Wait until a callable returns true; fail after some seconds."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.01)


class SerialEngine:
    """An engine that does the jobs in this process, one after the other."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self._stopped = False

    @property
    def workers(self) -> int:
        return 1

    def __enter__(self) -> SerialEngine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def run(self, jobs: Iterator[Job], recipe: Recipe, on_report: OnReport) -> Iterator[Outcome]:
        work = import_module(KINDS[recipe.kind]).prepare(recipe)
        for job in jobs:
            totals = work(job, on_report)
            self.done.append(job.name)
            yield Outcome(job, totals)
            if self._stopped:
                on_report(Report("stopping", ""))
                return

    def stop(self) -> None:
        self._stopped = True
