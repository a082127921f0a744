"""The shards of a built corpus, and how often each is drawn from."""

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
    """One shard: audio, teacher features and facts. The arrays are memory-mapped."""

    name: str
    source: str
    band_hz: float
    """Highest frequency that the recordings hold, Hz."""
    real: bool
    n_voices: int
    n_frames: int
    at_16k: NDArray[np.int16]
    at_24k: NDArray[np.int16]
    teacher: NDArray[np.float16]
    """(n_frames, width)."""


def read(folder: Path, teacher: str) -> list[Shard]:
    """Map all complete shards of a corpus, in the order of their names.

    Parameters
    ----------
    folder : Path
        A corpus that `train.corpus` wrote.
    teacher : str
        Name of the teacher: features are in NAME.<teacher>.npy.

    Raises
    ------
    ValueError
        There is none, or the arrays of one have different lengths.
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
    """Return the probability of each shard, (n,) float64.

    It grows with the square root of length times voices: more voices count more than more audio.
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
    """Shards and their probabilities. Shards may arrive, and grow, during training.

    Parameters
    ----------
    folder : Path
        The corpus.
    teacher : str
        Name of the teacher.
    real_weight, weights : float, dict of float
        As of `shares`.
    """

    def __init__(
        self, folder: Path, teacher: str, real_weight: float, weights: dict[str, float]
    ) -> None:
        self.folder, self.teacher = folder, teacher
        self.real_weight, self.weights = real_weight, weights
        self._listed: set[tuple[str, int]] = set()

    def now(self) -> tuple[list[Shard], NDArray[Any]]:
        """Return the results of `read` and `shares`."""
        shards = read(self.folder, self.teacher)
        return shards, shares(shards, self.real_weight, self.weights)

    def renewed(self) -> tuple[list[Shard], NDArray[Any]] | None:
        """Return the same where shards changed and none is being written, else None."""
        try:
            listed = {(p.name, p.stat().st_mtime_ns) for p in self.folder.glob("*.json")}
            if not listed or listed == self._listed:
                return None
            current = self.now()
        except (OSError, ValueError):
            # A shard is complete once its .json is new.
            return None
        self._listed = listed
        return current

    def wait(self, pause: float = 0.5) -> tuple[list[Shard], NDArray[Any]]:
        """Return the same as `renewed`, once there is a complete shard."""
        while (current := self.renewed()) is None:
            time.sleep(pause)
        return current


def moments(shards: list[Shard], n: int = 20000) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return mean and standard deviation of teacher features, (width,) float32 each."""
    each = max(1, n // len(shards))
    rows = [s.teacher[:: max(1, s.n_frames // each)] for s in shards]
    features = np.concatenate(rows).astype(np.float32)
    return features.mean(0), features.std(0) + np.float32(1e-3)
