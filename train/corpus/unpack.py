"""Unpack loads into a corpus, piece by piece, and compute the teacher's features."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from safetensors import SafetensorError

from train.corpus.pack import EXTRA_FILES, TEACHER, array_path
from train.corpus.packed_teacher import PackedTeacher
from train.data.corpus import FRAME_16K, FRAME_24K
from train.data.pcm import Samples, rerated
from train.losses.whisper_features import load_small


def unpack_first(loads: Path, corpus: Path) -> PackedTeacher:
    """Return the teacher of the first load; copy its other files into the corpus.

    Raises
    ------
    ValueError
        The teacher is absent or truncated.
    """
    paths = list(loads.rglob(TEACHER))
    if not paths:
        raise ValueError(f"{loads}: no {TEACHER} in it: it comes with the first load")
    try:
        teacher = PackedTeacher(load_small(paths[0]))
    except SafetensorError as error:
        raise ValueError(f"{paths[0]}: truncated ({error})") from None
    for name in EXTRA_FILES:
        for path in loads.rglob(name):
            shutil.copy(path, corpus)
    return teacher


def unpack_piece(
    path: Path, corpus: Path, teacher: PackedTeacher, random: np.random.Generator
) -> None:
    """Append a piece, named by its .json, to its shard in a corpus. The .json is written last.

    Raises
    ------
    ValueError
        The piece is truncated.
    """
    facts = json.loads(path.read_text("utf-8"))
    sound, rate = _read_piece(path.with_suffix(".flac"), facts.pop("frames"))
    other = rerated(sound, rate, 24000 if rate == 16000 else 16000, random)
    narrow, wideband = (sound, other) if rate == 16000 else (other, sound)
    folder = corpus / "held_out" if facts.pop("held_out") else corpus
    folder.mkdir(parents=True, exist_ok=True)
    about = folder / f"{facts.pop('name')}.json"
    arrays: dict[str, NDArray[Any]] = {"24k": wideband, "16k": narrow}
    arrays["whisper"] = teacher.features(narrow)
    for kind, values in arrays.items():
        array = array_path(about, kind)
        if about.exists():
            values = np.concatenate([np.load(array, mmap_mode="r"), values])
        partial = array.with_suffix(".part")
        with partial.open("wb") as file:
            np.save(file, values)
        os.replace(partial, array)
    partial = about.with_suffix(".part")
    partial.write_text(json.dumps(facts, ensure_ascii=False), "utf-8")
    os.replace(partial, about)


def _read_piece(path: Path, frames: int) -> tuple[Samples, int]:
    """Return the samples of a piece, and their rate."""
    try:
        sound, rate = soundfile.read(path, dtype="int16")
    except (OSError, soundfile.LibsndfileError) as error:
        raise ValueError(f"{path}: truncated ({error})") from None
    if len(sound) != frames * (FRAME_16K if rate == 16000 else FRAME_24K):
        raise ValueError(f"{path}: truncated, {len(sound)} samples")
    return sound, rate
