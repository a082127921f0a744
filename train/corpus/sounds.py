"""Write the corpus's speech as sound files alone: python -m train.corpus.sounds OUT_DIR.

A prior is trained on them (`fcs-edge prior train`). There are no teacher's features, and no
recogniser drops an utterance: a prior only learns which tokens follow which.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import numpy as np
import soundfile

from train.corpus.__main__ import makers, source_options
from train.corpus.audio import RATE
from train.corpus.jobs import Job, gather
from train.corpus.shard import FRAME, Utterance, with_room_tone
from train.data.pcm import Floats, to_int16

_SECONDS = 60
_GAP_FRAMES = (2, 40)


@click.command()
@source_options
def main(
    folder: Path, only: tuple[str, ...], minutes: dict[str, float], kokoro_js: Path | None
) -> None:
    """Write OUT_DIR/SHARD/NUMBER.flac: up to a minute of one voice each, 24 kHz, 16 bits.

    Variants of shards are left out, since `prior train` varies what it reads.
    """
    package = kokoro_js or folder / "kokoro-js-1.2.1.tgz"
    for name, make in makers(minutes, package).items():
        if only and name not in only:
            continue
        for job in make():
            if not job.derived:
                _write(folder, job)


def _write(folder: Path, job: Job) -> None:
    """Write a job's sounds into FOLDER/NAME, which appears when all of them are there."""
    final, unfinished = folder / job.name, folder / f"{job.name}.part"
    if final.exists():
        return
    unfinished.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(job.name.encode()))
    seconds = 0.0
    number = -1
    for number, sound in enumerate(_pieces(gather(job.speak(folder), job.minutes), rng)):
        path = unfinished / f"{number:04d}.flac"
        soundfile.write(path, to_int16(sound, rng), RATE)
        seconds += len(sound) / RATE
    os.replace(unfinished, final)
    click.echo(f"{job.name}: {seconds / 60:.1f} min, {number + 1} files")


def _pieces(spoken: Iterable[Utterance], rng: np.random.Generator) -> Iterator[Floats]:
    """Join utterances of one voice, each followed by a gap of faint noise, to a minute at most."""
    joined: list[Floats] = []
    voice = None
    for one in spoken:
        length = sum(map(len, joined)) + len(one.sound)
        if joined and (one.voice != voice or length > _SECONDS * RATE):
            yield np.concatenate(joined)
            joined = []
        voice = one.voice
        gap = int(rng.integers(*_GAP_FRAMES)) * FRAME
        joined.append(with_room_tone(one.sound, len(one.sound) + gap, rng))
    if joined:
        yield np.concatenate(joined)


if __name__ == "__main__":
    main()
