"""Real speech of many people: what stamps and toys show, said for children, and a game's shouts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import soundfile

from .audio import clean
from .held_out_text import KLETTRES_LANGUAGES
from .jobs import Job, Speak
from .recordings import read, version
from .shard import Origin, Utterance

STAMPS = Path("/usr/share/tuxpaint/stamps")
POTATOES = Path("/usr/share/ktuberling/sounds")
HEDGEHOGS = Path("/usr/share/games/hedgewars/Data/Sounds/voices")

_LONG = ("be", "bg", "ca", "da", "el", "es", "fr", "ro", "ru")
"""Languages in which some hundreds of stamps are described."""
_SHORT = ("", "ml", "nl")
_SAME_AS_SR = ("sr@ijekavian", "sr@ijekavianlatin", "sr@latin")
_SUFFIXES = {".ogg", ".opus", ".wav"}
_LEAST_RATE = 16000
_BAND = 11000
_STAMPS_NARROW = {"el": 8000}


def stamps() -> list[Job]:
    """Return the jobs of Tux Paint's stamps: a shard a language, and one of the short ones."""
    package = "tuxpaint-stamps-default"
    who = "Bill Kendrick and the contributors to Tux Paint, who describe its stamps"

    def job(name: str, languages: Iterable[str], band: int) -> Job:
        origin = Origin("tuxpaint", package, version(package), "GPL-2+", who, band, real=True)
        spoken = [(f"tuxpaint_{one or 'en'}", _described(one)) for one in languages]
        return Job(name, origin, _said(spoken))

    long = [job(f"tuxpaint-{one}", [one], _STAMPS_NARROW.get(one, _BAND)) for one in _LONG]
    return [*long, job("tuxpaint", _SHORT, _BAND)]


def potatoes() -> list[Job]:
    """Return the job of KTuberling's toys, in all languages but those that are held out."""
    who = "KDE and the contributors to KTuberling in each language"
    names = ("ktuberling", "ktuberling-data", "GPL-2+", who)
    return [_by_folder(names, POTATOES, {*KLETTRES_LANGUAGES, *_SAME_AS_SR})]


def hedgehogs() -> list[Job]:
    """Return the job of Hedgewars' shouts, in all voices but the robot's."""
    who = "Andrey Korotaev and the contributors to Hedgewars"
    return [_by_folder(("hedgewars", "hedgewars-data", "GFDL-1.3", who), HEDGEHOGS, {"Robot"})]


def _by_folder(names: tuple[str, str, str, str], root: Path, left_out: set[str]) -> Job:
    """Return the job of a package that has a folder for each voice."""
    source, package, licence, who = names
    origin = Origin(source, package, version(package), licence, who, _BAND, real=True)
    if not root.is_dir():
        raise click.ClickException(f"{root} is missing: apt-get install {package}")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name not in left_out)
    return Job(source, origin, _said([(f"{source}_{one.name}", _sounds(one)) for one in folders]))


def _described(language: str) -> list[Path]:
    ending = f"_desc_{language}" if language else "_desc"
    return [path for path in _sounds(STAMPS) if path.stem.endswith(ending)]


def _sounds(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in _SUFFIXES)


def _said(spoken: list[tuple[str, list[Path]]]) -> Speak:
    """Return what reads the voices' files, but for those of telephone band and broken ones."""

    def speak(_: Path) -> Iterator[Utterance]:
        for voice, paths in spoken:
            for path in paths:
                try:
                    if soundfile.info(path).samplerate < _LEAST_RATE:
                        continue
                    sound = clean(*read(path))
                except soundfile.LibsndfileError:
                    continue
                if sound is not None:
                    yield Utterance(sound, voice)

    return speak
