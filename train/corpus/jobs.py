"""A job builds one shard; variants of a shard are jobs too."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from train.corpus import audio, shard
from train.corpus.shard import Origin, Utterance
from train.corpus.teacher import Teacher
from train.corpus.utterance_filter import UtteranceFilter

SLOWER = ("slower", 0.8, 0.93)
FASTER = ("faster", 1.07, 1.25)

Speak = Callable[[Path], Iterator[Utterance]]


@dataclass(frozen=True)
class Job:
    """One shard: `minutes` of the utterances of `speak`, filtered by the recogniser or not.

    A derived one changes the utterances of another shard.
    """

    name: str
    origin: Origin
    speak: Speak
    minutes: float = math.inf
    filtered: bool = False
    derived: bool = False


class Builder:
    """Runs jobs into a folder, with the teacher and the recogniser loaded at first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._teacher: Teacher | None = None
        self._filter: UtteranceFilter | None = None

    def run(self, job: Job) -> None:
        """Build the shard unless it exists."""
        if shard.is_complete(self._folder, job.name):
            return
        began = time.monotonic()
        spoken = gather(job.speak(self._folder), job.minutes)
        counts: dict[str, Any] = {}
        if job.filtered:
            self._filter = self._filter or UtteranceFilter(self._folder / "models")
            spoken, counts = self._filter.filter(spoken)
        if not spoken:
            click.echo(f"{job.name}: no utterance to write")
            return
        self._teacher = self._teacher or Teacher(self._folder / "models")
        minutes = shard.write(self._folder, job.name, job.origin, spoken, self._teacher, counts)
        dropped = f", {counts['dropped']} of {sum_of(counts)} dropped" if counts else ""
        line = (
            f"{job.name}: {minutes:.1f} min, {len(spoken)} utterances{dropped}, "
            f"built in {(time.monotonic() - began) / 60:.1f} min"
        )
        click.echo(line)
        with (self._folder / "STATUS.md").open("a") as file:
            file.write(f"- {line}\n")


def sum_of(counts: dict[str, Any]) -> int:
    """Return how many utterances the recogniser transcribed."""
    return int(counts["kept"] + counts["dropped"])


def gather(utterances: Iterator[Utterance], minutes: float) -> list[Utterance]:
    """Take utterances until they last `minutes` or end."""
    gathered: list[Utterance] = []
    samples = 0
    for one in utterances:
        gathered.append(one)
        samples += len(one.sound)
        if samples >= minutes * 60 * audio.RATE:
            break
    return gathered


def sped(base: Job, suffix: str, low: float, high: float) -> Job:
    """Return the job of a base shard's utterances played `low` to `high` times as fast."""
    name = f"{base.name}-{suffix}"
    band = min(audio.RATE // 2, int(base.origin.band_hz * low))

    def speak(folder: Path) -> Iterator[Utterance]:
        rng = np.random.default_rng(list(name.encode()))
        for one in shard.read(folder, base.name):
            ratio = round(float(rng.uniform(low, high)), 3)
            sound = audio.clean(audio.speed_up(one.sound, ratio), audio.RATE)
            if sound is not None:
                change = {"pitch": ratio, "formant": ratio, "rate": ratio}
                yield replace(one, sound=sound, change=_combined(one.change, change))

    origin = replace(base.origin, band_hz=band)
    return Job(name, origin, speak, derived=True)


def revoiced(base: Job, minutes: float) -> Job:
    """Return the job of a base shard's utterances with pitch and formants changed independently."""
    name = f"{base.name}-world"

    def speak(folder: Path) -> Iterator[Utterance]:
        rng = np.random.default_rng(list(name.encode()))
        spoken = list(shard.read(folder, base.name))
        for index in rng.permutation(len(spoken)):
            one = spoken[index]
            pitch = round(float(np.exp(rng.uniform(np.log(0.7), np.log(1.5)))), 3)
            formant = round(float(rng.uniform(0.85, 1.2)), 3)
            sound = audio.clean(audio.revoice(one.sound, pitch, formant), audio.RATE)
            if sound is not None:
                change = {"pitch": pitch, "formant": formant, "rate": 1.0}
                yield replace(one, sound=sound, change=_combined(one.change, change))

    band = min(audio.RATE // 2, int(base.origin.band_hz * 0.85))
    return Job(name, replace(base.origin, band_hz=band), speak, minutes, derived=True)


def _combined(first: shard.Change, then: shard.Change) -> shard.Change:
    """Multiply the factors of two changes."""
    keys = {*first, *then}
    return {key: round(first.get(key, 1.0) * then.get(key, 1.0), 3) for key in sorted(keys)}
