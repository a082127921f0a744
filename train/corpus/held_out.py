"""Clips for evaluation: held-out sentences, voices, speakers and languages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import soundfile
import soxr

from train.corpus import amazon_queen, neural, shard
from train.corpus.audio import RATE, clean
from train.corpus.held_out_text import (
    HARVARD,
    KLETTRES_LANGUAGES,
    KOKORO_VOICES,
    PROMPT_TEXTS,
    RUSSIAN,
)
from train.corpus.kokoro import Kokoro, kokoro
from train.corpus.recordings import KLETTRES, SOUNDS, read, sounds_of
from train.corpus.shard import NARROW_RATE, Origin, Utterance
from train.corpus.teacher import Teacher
from train.data.pcm import Floats

_OF_LOSSES = ("real", "synthetic")
_KNOWN_KOKORO = ("af_bella", "am_michael")
_RUSSIAN_CLIPS = 6
_SECONDS = (3.0, 10.0)
_LETTER_CLIPS = {"de": 2, "lt": 2, "pt_BR": 1, "tn": 1}
_LETTERS_SECONDS = 7.0
_PAUSE = np.zeros(int(0.25 * RATE), np.float32)


def write_clips(folder: Path, package: Path) -> None:
    """Write FOLDER/held_out/{synthetic,real,english}/NAME.wav, NAME.txt where there is a text.

    Parameters
    ----------
    folder : Path
        Of the corpus.
    package : Path
        The npm archive of kokoro-js.

    Notes
    -----
    24 kHz, and 16 kHz for the telephone prompts; 16 bits; peak 0.8. Whole once the list of
    clips, held_out/clips.txt, is there.
    """
    listed = folder / "held_out" / "clips.txt"
    if listed.exists():
        return
    clips = [*_synthetic(kokoro(folder / "models", package)), *_prompts(), *_russian(), *_letters()]
    clips += _actors()
    lines = []
    for kind, name, sound, rate, text in clips:
        path = folder / "held_out" / kind / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, soxr.resample(sound, RATE, rate, quality="VHQ"), rate)
        if text:
            path.with_suffix(".txt").write_text(f"{text}\n", "utf-8")
        lines.append(f"{kind}/{name} {len(sound) / RATE:.1f} s")
    listed.write_text("\n".join(lines) + "\n", "utf-8")
    click.echo(f"held_out: {len(lines)} clips")


def write_shards(folder: Path) -> None:
    """Write the clips as shards too, FOLDER/held_out/{wide,narrow}: training evaluates on them.

    Parameters
    ----------
    folder : Path
        Of the corpus, with its clips: those of 16 kHz, which hold nothing above 7 kHz, are narrow.
        The clips of actors are for evaluation only.
    """
    held_out = folder / "held_out"
    teacher = None
    for name, rate, band_hz in (("wide", RATE, 12000), ("narrow", NARROW_RATE, 7000)):
        if shard.is_complete(held_out, name):
            continue
        spoken = []
        for path in sorted(p for kind in _OF_LOSSES for p in held_out.glob(f"{kind}/*.wav")):
            sound, found = soundfile.read(path, dtype="float32")
            if found == rate:
                wide: Floats = soxr.resample(sound, rate, RATE, quality="VHQ")
                spoken.append(Utterance(wide, path.stem))
        licences = "those of the sources"
        origin = Origin(f"held_out-{name}", "train.corpus", "1", licences, licences, band_hz)
        teacher = teacher or Teacher(folder / "models")
        minutes = shard.write(held_out, name, origin, spoken, teacher)
        click.echo(f"held_out/{name}: {minutes:.1f} min")


Clip = tuple[str, str, Floats, int, str]


def _synthetic(model: Kokoro) -> list[Clip]:
    """Two pairs of Harvard sentences from each of four corpus voices and four held-out voices."""
    voices: list[tuple[str, Callable[[str], Floats], int]] = [
        ("known_hibari_heart", neural.hibari_speech, 24000),
        ("known_piper_joe", neural.joe_speech, 22050),
    ]
    for name in (*_KNOWN_KOKORO, *KOKORO_VOICES):
        kind = "unseen" if name in KOKORO_VOICES else "known"
        voices.append((f"{kind}_kokoro_{name}", _kokoro_voice(model, name), 24000))
    clips: list[Clip] = []
    for place, (name, speak, rate) in enumerate(voices):
        for number in (0, 1):
            index = 2 * (2 * place + number)
            text = " ".join(HARVARD[index : index + 2])
            clips.append(("synthetic", f"{name}_{number}", _clean(speak(text), rate), RATE, text))
    return clips


def _kokoro_voice(model: Kokoro, name: str) -> Callable[[str], Floats]:
    return lambda text: model.speak(text, model.styles[name], british=name.startswith("b"))


def _prompts() -> list[Clip]:
    """Prompts of a speaker of the corpus, with texts."""
    folder = SOUNDS / "en_US_f_Allison"
    return [
        ("real", f"known_allison_{name}", _clean(*read(folder / f"{name}.g722")), 16000, text)
        for name, text in PROMPT_TEXTS.items()
    ]


def _russian() -> list[Clip]:
    """Prompts of 3 to 10 s of a speaker who is not in the corpus."""
    folder = SOUNDS / RUSSIAN
    clips: list[Clip] = []
    for path in sorted(folder.rglob("*.g722")):
        sound = clean(*read(path))
        if sound is not None and _SECONDS[0] <= len(sound) / RATE <= _SECONDS[1]:
            clips.append(("real", f"unseen_russian_{path.stem}", sound, 16000, ""))
    chosen = np.linspace(0, len(clips) - 1, _RUSSIAN_CLIPS).round().astype(int)
    return [clips[index] for index in chosen]


def _letters() -> list[Clip]:
    """Letters and syllables of held-out languages, joined."""
    clips: list[Clip] = []
    for language in KLETTRES_LANGUAGES:
        cleaned = [clean(*read(path)) for path in sounds_of(KLETTRES / language)]
        sounds = [sound for sound in cleaned if sound is not None]
        share = len(sounds) // _LETTER_CLIPS[language]
        for number in range(_LETTER_CLIPS[language]):
            joined = np.zeros(0, np.float32)
            for sound in sounds[number * share :]:
                if len(joined) >= _LETTERS_SECONDS * RATE:
                    break
                joined = np.concatenate([joined, sound, _PAUSE])
            clips.append(("real", f"unseen_klettres_{language}_{number}", joined, RATE, ""))
    return clips


def _actors() -> list[Clip]:
    """Lines of a game's characters, who are not in the corpus."""
    return [
        ("english", f"unseen_{name}", _clean(sound, rate), 16000, "")
        for name, sound, rate in amazon_queen.lines()
    ]


def _clean(sound: Floats, rate: int) -> Floats:
    cleaned = clean(sound, rate)
    if cleaned is None:
        raise ValueError("a held-out clip cannot be used: it is silent, clipped or too long")
    return cleaned
