"""Real speech of many people: words for children, and the actors of games."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import click

from train.corpus.held_out_text import KLETTRES_LANGUAGES
from train.corpus.jobs import Job
from train.corpus.recordings import sounds_of, utterances, version
from train.corpus.shard import Origin

STAMPS = Path("/usr/share/tuxpaint/stamps")
POTATOES = Path("/usr/share/ktuberling/sounds")
HEDGEHOGS = Path("/usr/share/games/hedgewars/Data/Sounds/voices")
FISHES = Path("/usr/share/games/fillets-ng/sound")
TILES = Path("/usr/share/kajongg/voices")

_LONG = ("be", "bg", "ca", "da", "el", "es", "fr", "ro", "ru")
"""Languages with hundreds of described stamps."""
_SHORT = ("", "ml", "nl")
_SAME_AS_SR = ("sr@ijekavian", "sr@ijekavianlatin", "sr@latin")
_LEAST_RATE = 16000
_BAND = 11000
_STAMPS_NARROW = {"el": 8000}
_FISH = {"m": "small", "v": "large"}
"""Speaker of a line of Fish Fillets, by a letter in the file's name."""
_FISHES_BAND = {"cs": 11000, "nl": 7000}


def stamps() -> list[Job]:
    """Return the jobs of Tux Paint's stamps: a shard for each language, and one for short ones."""
    package = "tuxpaint-stamps-default"
    who = "Bill Kendrick and the contributors to Tux Paint, who describe its stamps"

    origin = Origin("tuxpaint", package, version(package), "GPL-2+", who, _BAND, real=True)
    sounds = sounds_of(STAMPS)

    def job(name: str, languages: Iterable[str], band: int) -> Job:
        spoken = []
        for one in languages:
            ending = f"_desc_{one}" if one else "_desc"
            paths = [path for path in sounds if path.stem.endswith(ending)]
            spoken.append((f"tuxpaint_{one or 'en'}", paths))
        return Job(name, replace(origin, band_hz=band), utterances(spoken, _LEAST_RATE))

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


def tiles() -> list[Job]:
    """Return the job of Kajongg's tiles: four voices call them in English, four in German."""
    who = "Wolfgang Rohdewald and the contributors to Kajongg"
    return [_by_folder(("kajongg", "kajongg", "GPL-2+", who), TILES, set())]


def fishes() -> list[Job]:
    """Return the jobs of Fish Fillets' actors: a shard for Czech, and one for Dutch."""
    who = "ALTAR interactive, Ivo and Pavel Danihelka and the contributors to Fish Fillets"
    sounds, jobs = sounds_of(FISHES), []
    for language, band in _FISHES_BAND.items():
        package = f"fillets-ng-data-{language}"
        origin = Origin("fillets", package, version(package), "GPL-2", who, band, real=True)
        cast: dict[str, list[Path]] = {}
        for path in sounds:
            if path.parent.name == language:
                cast.setdefault(f"fillets_{language}_{_fish(path)}", []).append(path)
        jobs.append(Job(f"fillets-{language}", origin, utterances(cast.items(), _LEAST_RATE)))
    return jobs


def _fish(path: Path) -> str:
    """Return the speaker of a line: one of the two fish, or one of the others."""
    letters = _FISH.keys() & path.stem.split("-")
    return _FISH[letters.pop()] if len(letters) == 1 else "others"


def _by_folder(names: tuple[str, str, str, str], root: Path, left_out: set[str]) -> Job:
    """Return the job of a package that has a folder for each voice."""
    source, package, licence, who = names
    origin = Origin(source, package, version(package), licence, who, _BAND, real=True)
    if not root.is_dir():
        raise click.ClickException(f"{root} is missing: apt-get install {package}")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name not in left_out)
    spoken = [(f"{source}_{one.name}", sounds_of(one)) for one in folders]
    return Job(source, origin, utterances(spoken, _LEAST_RATE))
