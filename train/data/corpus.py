"""A built corpus, and the crops that training draws from it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FRAME_16K, FRAME_24K = 320, 480
"""Samples of a frame of 20 ms."""


@dataclass(frozen=True)
class Shard:
    """One file of sound and what is known of it; the arrays are mapped, not read."""

    name: str
    source: str
    band_hz: float
    """Highest frequency, in Hz, that the sound really has."""
    real: bool
    n_voices: int
    n_frames: int
    at_16k: NDArray[np.int16]
    at_24k: NDArray[np.int16]
    teacher: NDArray[np.float16]
    """(n_frames, width)."""


def read(folder: Path, teacher: str) -> list[Shard]:
    """Map all whole shards of a corpus, by name.

    Parameters
    ----------
    folder : Path
        As `train.corpus` writes it.
    teacher : str
        Whose features to take: NAME.<teacher>.npy.

    Raises
    ------
    ValueError
        There is none, or one whose arrays do not fit each other.
    """
    shards = [_shard(path, teacher) for path in sorted(folder.glob("*.json"))]
    if not shards:
        raise ValueError(f"{folder}: no shards; build them with python -m train.corpus {folder}")
    return shards


def _shard(path: Path, teacher: str) -> Shard:
    facts: dict[str, Any] = json.loads(path.read_text())
    stem = str(path).removesuffix(".json")
    at_16k, at_24k, features = (
        np.load(f"{stem}.{kind}.npy", mmap_mode="r") for kind in ("16k", "24k", teacher)
    )
    n = len(at_16k) // FRAME_16K
    if len(at_16k) != n * FRAME_16K or len(at_24k) != n * FRAME_24K or len(features) != n:
        raise ValueError(f"{stem}: {len(at_16k)}, {len(at_24k)} samples, {len(features)} frames")
    return Shard(
        name=path.stem,
        source=facts["source"],
        band_hz=float(facts["band_hz"]),
        real=bool(facts["real"]),
        n_voices=max(1, len(facts["voices"])),
        n_frames=n,
        at_16k=at_16k,
        at_24k=at_24k,
        teacher=features,
    )


def shares(shards: list[Shard], real_weight: float, weights: dict[str, float]) -> NDArray[Any]:
    """Return how often each shard is drawn from, (n,) float64 that sum to 1.

    A shard counts by the square root of its length and voices: many voices more than much sound.
    """
    share = np.array(
        [
            np.sqrt(s.n_frames * s.n_voices)
            * (real_weight if s.real else 1)
            * weights.get(s.source, 1.0)
            for s in shards
        ]
    )
    return share / share.sum()


class Corpus:
    """Shards and how often each is drawn from; they may come, and grow, meanwhile.

    Parameters
    ----------
    folder : Path
        Of the corpus.
    teacher : str
        Whose features to take.
    real_weight, weights : float, dict of float
        As of `shares`.
    """

    def __init__(
        self, folder: Path, teacher: str, real_weight: float, weights: dict[str, float]
    ) -> None:
        self.folder, self.teacher = folder, teacher
        self.real_weight, self.weights = real_weight, weights
        self._seen: set[tuple[str, int]] = set()

    def now(self) -> tuple[list[Shard], NDArray[Any]]:
        """Return what `read` and `shares` do."""
        shards = read(self.folder, self.teacher)
        return shards, shares(shards, self.real_weight, self.weights)

    def renewed(self) -> tuple[list[Shard], NDArray[Any]] | None:
        """Return the same, where shards are others than before and none is being written."""
        try:
            there = {(p.name, p.stat().st_mtime_ns) for p in self.folder.glob("*.json")}
            if not there or there == self._seen:
                return None
            found = self.now()
        except (OSError, ValueError):
            # A shard is whole when its .json is new.
            return None
        self._seen = there
        return found

    def wait(self, pause: float = 0.5) -> tuple[list[Shard], NDArray[Any]]:
        """Return the same as `renewed`, once there is a whole shard."""
        while (found := self.renewed()) is None:
            time.sleep(pause)
        return found


def moments(shards: list[Shard], n: int = 20000) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return mean and standard deviation of teacher features, (width,) float32 each."""
    each = max(1, n // len(shards))
    rows = [s.teacher[:: max(1, s.n_frames // each)] for s in shards]
    found = np.concatenate(rows).astype(np.float32)
    return found.mean(0), found.std(0) + np.float32(1e-3)
