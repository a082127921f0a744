"""The teacher's features by PyTorch, from packed weights, where a corpus is unpacked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from train.data.corpus import FRAME_16K
from train.data.pcm import Samples
from train.losses.whisper_features import WhisperEncoder, floats, norm
from train.pretrained.whisper import WINDOW, in_windows

_BATCH = 16
"""Windows that are encoded at once."""


class PackedTeacher:
    """The features of `train.corpus.teacher` by PyTorch, on a GPU where there is one.

    Parameters
    ----------
    arrays : dict of ndarray
        Weights of Whisper's encoder, from `read_weights` or `load_small`.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        layers = len({name.split("/")[1] for name in arrays if name.startswith("encoder/layer_")})
        layers -= "encoder/layer_norm/gamma" in arrays
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.encoder = WhisperEncoder(arrays, layers).to(self.device)
        last = norm(floats(arrays, "encoder/"), "layer_norm")
        self.last = last.to(self.device).requires_grad_(False)

    @torch.no_grad()
    def features(self, narrow: Samples) -> NDArray[np.float16]:
        """Return (frames, width) of int16 (320 x frames,) at 16 kHz, in windows of 30 s."""
        width = self.last.normalized_shape[0]
        return in_windows(narrow, FRAME_16K, width, self._windows, _BATCH)

    def _windows(self, parts: list[Samples]) -> NDArray[np.float16]:
        """Return (windows, WINDOW, width) of the samples of each window."""
        mels = torch.stack([self._mel(part) for part in parts])
        rows: NDArray[np.float16] = self._encode(mels).half().cpu().numpy()
        return rows

    def _mel(self, narrow: Samples) -> Tensor:
        """Return (bands, 2 x WINDOW), 0 after the end of the sound, as Whisper pads it."""
        sound = torch.from_numpy(narrow.astype(np.float32) / 32768).to(self.device)
        mel = self.encoder.log_mel(sound[None])[0][:, : 2 * WINDOW]
        return functional.pad(mel, (0, 2 * WINDOW - mel.shape[1]))

    def _encode(self, mels: Tensor) -> Tensor:
        on_gpu = self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.float16, enabled=on_gpu):
            features = self.encoder.encode(mels)[-1]
        encoded: Tensor = self.last(features.float())
        return encoded
