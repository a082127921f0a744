"""Drop the synthetic utterances that a speech recogniser does not transcribe well."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import soxr
from faster_whisper import WhisperModel
from whisper_normalizer.english import EnglishTextNormalizer

from train.corpus.audio import RATE
from train.corpus.shard import NARROW_RATE, Utterance
from train.data.pcm import Floats
from train.pretrained.whisper import assemble_base, tiny_english

WORST = 0.3
_WINDOW = 28.0
_GAP = np.zeros(int(0.4 * NARROW_RATE), np.float32)


class UtteranceFilter:
    """Whisper tiny.en on full windows, then Whisper base on single utterances with errors."""

    def __init__(self, folder: Path) -> None:
        self._quick = _load(tiny_english())
        self._sure = _load(assemble_base(folder))
        self._normalise = EnglishTextNormalizer()

    def filter(self, spoken: Sequence[Utterance]) -> tuple[list[Utterance], dict[str, Any]]:
        """Return the utterances with a WER of at most 0.3, and how many were dropped."""
        accepted: list[Utterance] = []
        for window in _windows(spoken):
            errors = self._window_errors(window)
            accepted += [
                one
                for one, wrong in zip(window, errors, strict=True)
                if wrong <= WORST or self._alone(one) <= WORST
            ]
        counts = {"kept": len(accepted), "dropped": len(spoken) - len(accepted), "worst_wer": WORST}
        return accepted, counts

    def _window_errors(self, window: Sequence[Utterance]) -> list[float]:
        """Return each utterance's word error rate, transcribed one after another in one window."""
        texts = [self._normalise(one.text or "").split() for one in window]
        sound = np.concatenate([part for one in window for part in (_narrow(one.sound), _GAP)])
        hypothesis = self._normalise(_transcribe(self._quick, sound)).split()
        if not hypothesis:
            return [1.0] * len(window)
        reference = " ".join(word for words in texts for word in words)
        alignment = jiwer.process_words(reference, " ".join(hypothesis)).alignments[0]
        owner = np.repeat(np.arange(len(window)), [len(words) for words in texts])
        wrong = np.zeros(len(window))
        for chunk in alignment:
            if chunk.type == "insert":
                at = min(chunk.ref_start_idx, len(owner) - 1)
                wrong[owner[at]] += chunk.hyp_end_idx - chunk.hyp_start_idx
            elif chunk.type != "equal":
                np.add.at(wrong, owner[chunk.ref_start_idx : chunk.ref_end_idx], 1)
        return [float(w) / max(1, len(words)) for w, words in zip(wrong, texts, strict=True)]

    def _alone(self, one: Utterance) -> float:
        """Return the word error rate of one utterance by the larger model."""
        hypothesis = self._normalise(_transcribe(self._sure, _narrow(one.sound)))
        return float(jiwer.wer(self._normalise(one.text or ""), hypothesis))


def _windows(spoken: Sequence[Utterance]) -> list[list[Utterance]]:
    """Group utterances, in their order, into windows of at most 28 s."""
    groups: list[list[Utterance]] = []
    filled = _WINDOW
    for one in spoken:
        seconds = len(one.sound) / RATE + len(_GAP) / NARROW_RATE
        if filled + seconds > _WINDOW:
            groups.append([])
            filled = 0.0
        groups[-1].append(one)
        filled += seconds
    return groups


def _load(folder: Path) -> WhisperModel:
    return WhisperModel(
        str(folder), device="cpu", compute_type="int8", cpu_threads=1, local_files_only=True
    )


def _narrow(sound: Floats) -> Floats:
    narrow: Floats = soxr.resample(sound, RATE, NARROW_RATE)
    return narrow


def _transcribe(model: WhisperModel, sound: Floats) -> str:
    """Return the text of a sound, decoded greedily."""
    segments, _ = model.transcribe(
        sound,
        language="en",
        beam_size=1,
        temperature=0.0,
        condition_on_previous_text=False,
        without_timestamps=True,
    )
    return " ".join(segment.text for segment in segments)
