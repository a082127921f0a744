"""A small corpus of sounds, a small model, and runs over both in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from fcs_edge.corpus import run
from fcs_edge.corpus.job import Job, OnReport, Outcome, Recipe
from fcs_edge.corpus.shard_work import prepare

pytest.importorskip("pyarrow")

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


def write_sound(path: Path, seed: int, rate: int, seconds: float, channels: int = 1) -> Path:
    """Write such a sound in the format of the path's suffix, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
    soundfile.write(path, sound_of(seed, rate, seconds, channels), rate, **options)
    return path


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Return a folder of twelve sounds of many formats and rates."""
    folder = tmp_path / "sounds"
    for seed, (name, facts) in enumerate(SOUNDS.items()):
        write_sound(folder / name, seed, *facts)
    return folder


@pytest.fixture(scope="session")
def model(golden: Callable[[str], Any]) -> Path:
    """Return the file of a tiny model of random weights."""
    path: Path = golden("tiny").model
    return path


class SerialEngine:
    """An engine that does the jobs in this process, one after the other."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.stopped = False

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
        work = prepare(recipe)
        for job in jobs:
            if self.stopped:
                return
            self.done.append(job.name)
            yield Outcome(job, work(job, on_report))

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def encode(model: Path) -> Callable[..., run.Run]:
    """Return `corpus.encode` with the tiny model, in this process, in shards of five rows."""

    def call(inputs: Any, out: Path, **options: Any) -> run.Run:
        options = {"model": model, "engine": SerialEngine(), "shard_rows": 5, **options}
        return run.encode(inputs, out, **options)

    return call


def tree(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files in a folder, hidden ones too, by path."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}
