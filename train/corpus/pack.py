"""Pack a corpus into folders of limited size, for a machine with a slow link."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import soundfile

from train.data.corpus import FRAME_16K, FRAME_24K
from train.losses.whisper_features import save_small
from train.pretrained.whisper import RECOGNISER, tiny_english

PIECE_FRAMES = 15000
"""Most frames of a piece, five minutes."""
TEACHER = "teacher.safetensors"
"""The teacher's encoder in the first load."""
EXTRA_FILES = ("rooms.npz", "noise.npy", RECOGNISER)
"""Files of a corpus beside its shards."""
_NARROW_HZ = 7600
"""Shards without a higher band travel at 16 kHz."""
_RESAMPLED = ("-slower", "-faster")
"""Endings of shards that are others resampled. Crops are resampled anyway."""
_FACTS = ("source", "band_hz", "real", "voices")

Piece = tuple[Path, int, int]
"""A shard's .json, and the first frame and the frame after the last of a piece."""


def pieces(corpus: Path) -> list[Piece]:
    """Return the pieces of all shards by turns, those of held-out shards first."""
    turns = []
    for about in (*sorted(corpus.glob("held_out/*.json")), *sorted(corpus.glob("*.json"))):
        if about.stem.endswith(_RESAMPLED):
            continue
        frames = len(np.load(array_path(about, "16k"), mmap_mode="r")) // FRAME_16K
        edges = np.linspace(0, frames, -(-frames // PIECE_FRAMES) + 1).astype(int).tolist()
        for turn, (first, last) in enumerate(itertools.pairwise(edges)):
            held_out = about.parent.name == "held_out"
            turns.append((-1 if held_out else turn, about, first, last))
    turns.sort(key=lambda one: one[0])
    return [(about, first, last) for _, about, first, last in turns]


def array_path(about: Path, kind: str) -> Path:
    """Return the .npy of a kind beside a shard's .json."""
    return about.with_name(f"{about.stem}.{kind}.npy")


def write_piece(piece: Piece, folder: Path) -> int:
    """Write a piece of a shard as NAME.FIRST.flac and .json; return its size in bytes."""
    about, first, last = piece
    facts = json.loads(about.read_text("utf-8"))
    narrow = facts["band_hz"] <= _NARROW_HZ
    kind, rate, size = ("16k", 16000, FRAME_16K) if narrow else ("24k", 24000, FRAME_24K)
    sound = np.load(array_path(about, kind), mmap_mode="r")[first * size : last * size]
    path = folder / f"{about.stem}.{first}.flac"
    soundfile.write(path, sound, rate, "PCM_16")
    packed = {key: facts[key] for key in _FACTS}
    packed |= {"name": about.stem, "held_out": about.parent.name == "held_out"}
    packed["frames"] = last - first
    path.with_suffix(".json").write_text(json.dumps(packed, ensure_ascii=False), "utf-8")
    return path.stat().st_size + path.with_suffix(".json").stat().st_size


def write_loads(
    packed: list[Piece],
    corpus: Path,
    loads: Path,
    mb: float,
    teacher: Path | None,
    recogniser: Path | None,
) -> int:
    """Write loads of at most `mb` megabytes, and return their number.

    Parameters
    ----------
    packed : list of Piece
        The pieces, in the order in which they travel.
    corpus, loads : Path
        The corpus, and a folder for the loads.
    mb : float
        Most megabytes of a load.
    teacher, recogniser : Path, optional
        A model.bin of CTranslate2 in floats. By default Whisper base in the corpus, and tiny.en
        from its package.

    Raises
    ------
    ValueError
        A piece, or the first load's models, do not fit.
    """
    n, folder = 1, loads / "00"
    folder.mkdir(parents=True)
    save_small(teacher or corpus / "models" / "whisper-base" / "model.bin", folder / TEACHER)
    save_small(recogniser or tiny_english() / "model.bin", folder / RECOGNISER)
    for name in EXTRA_FILES:
        if (corpus / name).exists():
            shutil.copy(corpus / name, folder)
    remaining = mb * 1e6 - sum(path.stat().st_size for path in folder.iterdir())
    if remaining < 0:
        raise ValueError(f"the first load is larger than {mb:g} MB: give more --mb")
    for piece in packed:
        size = write_piece(piece, folder)
        if size > remaining:
            previous, folder, remaining = folder, loads / f"{n:02d}", mb * 1e6
            folder.mkdir()
            n += 1
            for end in (".flac", ".json"):
                name = f"{piece[0].stem}.{piece[1]}{end}"
                os.replace(previous / name, folder / name)
        remaining -= size
        if remaining < 0:
            raise ValueError(f"{piece[0].stem}: a piece is larger than {mb:g} MB: give more --mb")
    return n
