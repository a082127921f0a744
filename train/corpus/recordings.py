"""Real speech: telephone prompts, a spelling game's letters and syllables, a voice's sentences."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import click
import numpy as np
import soundfile

from train.corpus.audio import clean
from train.corpus.held_out_text import KLETTRES_LANGUAGES, PROMPTS
from train.corpus.jobs import FASTER, SLOWER, Job, Speak, revoiced, sped
from train.corpus.shard import Origin, Utterance
from train.data.pcm import Floats, to_float

SOUNDS = Path("/usr/share/asterisk/sounds")
KLETTRES = Path("/usr/share/klettres")
RUSSIAN = Path("/usr/share/festival/voices/russian/msu_ru_nsh_clunits/wav")
_NOT_SPEECH = {"beep", "beeperr", "ascending-2tone", "descending-2tone", "tt-monkeys"}
_G722_BAND = 7000
_WIDE_BAND = {
    "en": ("en_US_f_Allison", "CC-BY-SA-3.0", "Allison Smith, Digium, Inc."),
    "es": ("es_MX_f_Allison", "CC-BY-SA-3.0", "Allison Smith, Digium, Inc."),
    "fr": ("fr_CA_f_June", "CC-BY-SA-3.0", "June Wallack, Digium, Inc."),
    "it": ("it_IT_m_Carlo", "CC-BY-3.0", "Carlo Flora, segreterietelefoniche.it"),
}
_NARROW_BAND = {
    "it-menardi-wav": (
        "it_IT_f_Menardi",
        "CC-BY-SA-3.0",
        "Marco Menardi, Paola Dal Zot",
        3600,
    ),
    "fr-armelle": ("fr", "BSD-3-clause-like", "Armelle Desjardins, Michel Gutierrez", 3400),
    "es-co": ("es", "GPL-2", "July E. Jiménez, Avatar Ltda.", 3400),
}
_KLETTRES_NARROW = {"es": 7500}
_KLETTRES_BAND = 11000
_RUSSIAN_BAND = 7000
_SUFFIXES = {".mp3", ".ogg", ".opus", ".wav"}


def version(package: str) -> str:
    """Return an installed Debian package's version, or stop and name the package to install."""
    command = ["dpkg-query", "-W", "-f=${Version}", package]
    found = subprocess.run(command, capture_output=True, text=True).stdout
    if not found:
        raise click.ClickException(f"{package} is missing: apt-get install {package}")
    return found


def asterisk() -> list[Job]:
    """Return the jobs of the 16 kHz prompts in four languages, and of their variants."""
    jobs = []
    for language, (folder, licence, who) in _WIDE_BAND.items():
        package = f"asterisk-core-sounds-{language}-g722"
        origin = Origin("asterisk", package, version(package), licence, who, _G722_BAND, real=True)
        voice = f"asterisk_{re.split('_[fm]_', folder)[1].lower()}"
        paths = sorted((SOUNDS / folder).rglob("*.g722"))
        jobs.append(Job(f"asterisk-{language}", origin, _prompts(paths, voice)))
    english, spanish, french, italian = jobs
    sped_up = [sped(job, *FASTER) for job in (spanish, french, italian)]
    slowed_down = [sped(job, *SLOWER) for job in (english, french, italian)]
    moved = [revoiced(job, minutes) for job, minutes in ((french, 6), (italian, 6))]
    return [*jobs, *sped_up, *slowed_down, *moved]


def narrow_prompts() -> list[Job]:
    """Return the jobs of the 8 kHz prompts in three languages."""
    jobs = []
    for name, (folder, licence, who, band) in _NARROW_BAND.items():
        package = f"asterisk-prompt-{name}"
        origin = Origin("prompts", package, version(package), licence, who, band, real=True)
        listed = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, check=True)
        paths = sorted(
            Path(line)
            for line in listed.stdout.splitlines()
            if f"/sounds/{folder}/" in line and line.endswith((".wav", ".gsm"))
        )
        jobs.append(Job(f"prompts-{name}", origin, _prompts(paths, f"prompts_{name}")))
    return jobs


def klettres() -> list[Job]:
    """Return the jobs of the spelling game's languages but the held-out ones."""
    package = "klettres-data"
    languages = [path.name for path in sorted(KLETTRES.iterdir()) if any(sounds_of(path))]
    others = [name for name in languages if name not in KLETTRES_LANGUAGES]
    groups = {"klettres": [name for name in others if name not in _KLETTRES_NARROW]}
    groups |= {f"klettres-{name}": [name] for name in _KLETTRES_NARROW}
    who = "KLettres, Anne-Marie Mahfouf and the readers of each language"
    jobs = []
    for name, members in groups.items():
        band = _KLETTRES_NARROW.get(members[0], _KLETTRES_BAND)
        origin = Origin("klettres", package, version(package), "GPL-2+", who, band, real=True)
        spoken = [(f"klettres_{one}", sounds_of(KLETTRES / one)) for one in members]
        jobs.append(Job(name, origin, utterances(spoken)))
    return jobs


def russian() -> list[Job]:
    """Return the job of the sentences that festival's Russian voice is cut from."""
    package, who = "festvox-ru", "Nickolay V. Shmyrev"
    origin = Origin(package, package, version(package), "BSD-like", who, _RUSSIAN_BAND, real=True)
    return [Job(package, origin, utterances([("festvox_ru_nsh", sounds_of(RUSSIAN))]))]


def sounds_of(folder: Path) -> list[Path]:
    """Return a language's recordings."""
    return sorted(path for path in folder.rglob("*") if path.suffix in _SUFFIXES)


def _prompts(paths: Iterable[Path], voice: str) -> Speak:
    listed = list(paths)

    def speak(_: Path) -> Iterator[Utterance]:
        for index in np.random.default_rng(0).permutation(len(listed)):
            path = listed[index]
            if path.stem in _NOT_SPEECH or path.parent.name == "silence":
                continue
            if "en_US" in str(path) and path.stem in PROMPTS:
                continue
            sound = clean(*read(path))
            if sound is not None:
                yield Utterance(sound, voice)

    return speak


def utterances(spoken: Iterable[tuple[str, list[Path]]], least_rate: int = 0) -> Speak:
    """Return what reads each voice's files, except those of a lower rate."""

    def speak(_: Path) -> Iterator[Utterance]:
        for voice, paths in spoken:
            for path in paths:
                recorded, rate = read(path)
                sound = clean(recorded, rate) if rate >= least_rate else None
                if sound is not None:
                    yield Utterance(sound, voice)

    return speak


def read(path: Path) -> tuple[Floats, int]:
    """Read a recording: mono float32 [n], and its samples a second. G.722 and GSM may be bare."""
    if path.suffix not in {".g722", ".gsm"}:
        sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
        return sound.mean(axis=1, dtype=np.float32), rate
    with av.open(str(path), format=path.suffix[1:]) as file:
        blocks = [frame.to_ndarray().ravel() for frame in file.decode(audio=0)]
    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.int16)
    return to_float(samples), 16000 if path.suffix == ".g722" else 8000
