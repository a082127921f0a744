"""A shard: one source's speech at two rates, its teacher features, speakers and texts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.corpus.audio import RATE
from train.corpus.teacher import Teacher
from train.data.pcm import Floats, Samples, rerated, to_float, to_int16

FRAME = 480
NARROW_FRAME = 320
NARROW_RATE = 16000
_GAP_FRAMES = (2, 15)
_ROOM_TONE = (-76.0, -62.0)

Change = dict[str, float]


@dataclass(frozen=True, eq=False)
class Utterance:
    """One utterance: 24 kHz sound, float32 [n], peak 0.8; who says it; what; how it was changed."""

    sound: Floats
    voice: str
    text: str | None = None
    change: Change = field(default_factory=dict)


@dataclass(frozen=True)
class Origin:
    """Where a shard's speech comes from.

    `band_hz` is the highest frequency that the recordings hold; `real` says whether people speak.
    """

    source: str
    package: str
    version: str
    licence: str
    attribution: str
    band_hz: int
    real: bool = False


def is_complete(folder: Path, name: str) -> bool:
    """Return whether the shard was written to its end."""
    return (folder / f"{name}.json").exists()


def write(
    folder: Path,
    name: str,
    origin: Origin,
    spoken: Sequence[Utterance],
    teacher: Teacher,
    counts: dict[str, Any] | None = None,
) -> float:
    """Write a shard's four files, the .json last.

    Parameters
    ----------
    folder : Path
    name : str
        The files are NAME.24k.npy, int16 [480 F]; NAME.16k.npy, int16 [320 F]; NAME.whisper.npy,
        float16 [F, 512]; and NAME.json, for F frames of 20 ms.
    origin : Origin
    spoken : sequence of Utterance
        Each begins on a frame; 40 to 300 ms of faint noise follow it.
    teacher : Teacher
    counts : dict, optional
        How many utterances the filter retained and dropped.

    Returns
    -------
    float
        Minutes written.
    """
    rng = np.random.default_rng(_seed(name))
    voices = sorted({utterance.voice for utterance in spoken})
    pieces: list[Floats] = []
    places: list[list[Any]] = []
    at = 0
    for one in spoken:
        frames = -(-len(one.sound) // FRAME)
        gap = int(rng.integers(_GAP_FRAMES[0], _GAP_FRAMES[1] + 1))
        pieces.append(with_room_tone(one.sound, (frames + gap) * FRAME, rng))
        places.append([at, frames, voices.index(one.voice), one.text, one.change])
        at += frames + gap
    wide = to_int16(np.concatenate(pieces), rng)
    narrow = rerated(wide, RATE, NARROW_RATE, rng)
    about = {
        **vars(origin),
        "voices": voices,
        "minutes": round(at * FRAME / RATE / 60, 2),
        "filter": counts or {},
        "utterances": places,
    }
    save_array(folder / f"{name}.24k.npy", wide)
    save_array(folder / f"{name}.16k.npy", narrow)
    save_array(folder / f"{name}.whisper.npy", teacher.features(narrow))
    unfinished = folder / f"{name}.json.part"
    unfinished.write_text(json.dumps(about, ensure_ascii=False, indent=0), "utf-8")
    os.replace(unfinished, folder / f"{name}.json")
    return at * FRAME / RATE / 60


def read(folder: Path, name: str) -> Iterator[Utterance]:
    """Yield a finished shard's utterances."""
    about = json.loads((folder / f"{name}.json").read_text("utf-8"))
    wide: Samples = np.load(folder / f"{name}.24k.npy", mmap_mode="r")
    for first, frames, voice, text, change in about["utterances"]:
        sound = to_float(wide[first * FRAME : (first + frames) * FRAME])
        yield Utterance(sound, about["voices"][voice], text, change)


def with_room_tone(sound: Floats, length: int, rng: np.random.Generator) -> Floats:
    """Follow a sound by silence up to `length` samples, over faint noise throughout."""
    level = 10 ** (rng.uniform(*_ROOM_TONE) / 20)
    noise: Floats = rng.standard_normal(length, dtype=np.float32) * np.float32(level)
    noise[: len(sound)] += sound
    return noise


def save_array(path: Path, values: NDArray[Any]) -> None:
    """Write an .npy file under a temporary name, then rename it."""
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        np.save(file, values)
    os.replace(unfinished, path)


def _seed(name: str) -> list[int]:
    return list(name.encode())
