"""The recogniser of the evaluation: Whisper, from checked weights, decoded greedily."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from train.evaluation.metrics import F32
from train.pretrained.whisper import assemble_base, tiny_english

NAMES = {True: "Whisper tiny.en", False: "Whisper base"}


class Recogniser:
    """Whisper base, or tiny.en, on 16 kHz audio.

    The SHA-256 of the weights is checked before they are loaded.

    Parameters
    ----------
    quick : bool
        Take Whisper tiny.en in place of base.
    """

    def __init__(self, quick: bool = False) -> None:
        from whisper_normalizer.english import EnglishTextNormalizer

        self.name = NAMES[quick]
        self._normalizer = EnglishTextNormalizer()
        if quick:
            self._whisper = _load(tiny_english())
        else:
            with tempfile.TemporaryDirectory() as folder:
                self._whisper = _load(assemble_base(Path(folder)))

    def normalise(self, text: str) -> str:
        """Return text as it is compared: English spelling, numbers and contractions unified."""
        return str(self._normalizer(text))

    def transcribe(self, signal: F32) -> str:
        """Return the normalised text of a sound at 16 kHz."""
        options: dict[str, Any] = {"beam_size": 1, "temperature": 0.0, "without_timestamps": True}
        segments, _ = self._whisper.transcribe(
            signal, language="en", condition_on_previous_text=False, **options
        )
        return self.normalise(" ".join(segment.text for segment in segments))


def _load(folder: Path) -> Any:
    from faster_whisper import WhisperModel

    return WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)
