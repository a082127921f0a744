"""The teacher: Whisper's base encoder, 50 feature rows a second."""

from __future__ import annotations

from pathlib import Path

import ctranslate2
import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

from train.data.pcm import Samples
from train.pretrained.whisper import WINDOW, assemble_base, in_windows

WIDTH = 512
_SAMPLES = 320


class Teacher:
    """Whisper base's encoder on one core."""

    def __init__(self, folder: Path) -> None:
        self._mel = FeatureExtractor()
        self._model = ctranslate2.models.Whisper(
            str(assemble_base(folder)), device="cpu", compute_type="float32", intra_threads=1
        )

    def features(self, narrow: Samples) -> NDArray[np.float16]:
        """Encode speech in windows of 30 s, 26 s apart, of which the middles are used.

        Parameters
        ----------
        narrow : ndarray of int16, shape (320 * frames,)
            16 kHz.

        Returns
        -------
        ndarray of float16, shape (frames, 512)
            Row i belongs to samples 320 i to 320 i + 319.
        """
        return in_windows(narrow, _SAMPLES, WIDTH, lambda parts: map(self._encode, parts))

    def _encode(self, narrow: Samples) -> NDArray[np.float32]:
        """Encode at most 30 s of 16 kHz speech to float32 [1500, 512]."""
        mel = self._mel(narrow.astype(np.float32) / 32768)[:, : 2 * WINDOW]
        padded = np.pad(mel, ((0, 0), (0, 2 * WINDOW - mel.shape[1])))
        batch = ctranslate2.StorageView.from_array(np.ascontiguousarray(padded[None], np.float32))
        rows: NDArray[np.float32] = np.array(self._model.encode(batch))[0]
        return rows
