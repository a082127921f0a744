"""Synthetic speech of the older voices in Debian: flite's and festival's."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from train.corpus.audio import clean
from train.corpus.jobs import Job
from train.corpus.recordings import version
from train.corpus.shard import Origin, Utterance
from train.corpus.text import share
from train.data.pcm import Floats

Reader = Callable[[str, list[str], float], Iterator[tuple[str, Floats]]]

_BATCH = 25
_ARCTIC = "Carnegie Mellon University, CMU ARCTIC"


@dataclass(frozen=True)
class Group:
    """Voices of one language, origin and band; English text is read by the rules of each."""

    name: str
    package: str
    licence: str
    attribution: str
    band_hz: int
    voices: tuple[str, ...]
    english: bool = False


_FLITE = Group(
    "flite",
    "flite",
    "flite's (BSD-like), Carnegie Mellon University",
    f"{_ARCTIC} (slt, rms, awb) and kal_diphone",
    7700,
    ("slt", "rms", "awb", "kal16"),
    english=True,
)
_FESTIVAL = (
    Group(
        "festival-slt",
        "festvox-us-slt-hts",
        "EST-2003 (BSD-like), BSD-3-clause",
        _ARCTIC,
        12000,
        ("cmu_us_slt_arctic_hts",),
        english=True,
    ),
    Group(
        "festival-ked",
        "festvox-kdlpc16k",
        "festvox (BSD-like)",
        "Carnegie Mellon University, Kurt Dusterhoff",
        7700,
        ("ked_diphone",),
        english=True,
    ),
    Group(
        "festival-ru",
        "festvox-ru",
        "festvox-ru (BSD-like)",
        "Nickolay V. Shmyrev",
        7700,
        ("msu_ru_nsh_clunits",),
    ),
    Group(
        "festival-ca",
        "festvox-ca-ona-hts",
        "LGPL-2.1+",
        "Universitat Politècnica de Catalunya, Antonio Bonafonte",
        7700,
        ("upc_ca_ona_hts",),
    ),
    Group(
        "festival-fi",
        "festvox-suopuhe-lj",
        "LGPL-2+",
        "Suopuhe, University of Helsinki (lj, and mv in festvox-suopuhe-mv)",
        10500,
        ("suo_fi_lj_diphone", "hy_fi_mv_diphone"),
    ),
    Group(
        "festival-it",
        "festvox-italp16k",
        "GPL-2+",
        "Piero Cosi, ISTC-SPFD CNR (lp, and pc in festvox-itapc16k)",
        7700,
        ("lp_diphone", "pc_diphone"),
    ),
    Group(
        "festival-cs",
        "festvox-czech-dita",
        "GPL-3+; czech_ph GPL-2+",
        "Brailcom, o.p.s. (also festvox-czech-krb, -machac and -ph)",
        12000,
        ("czech_dita", "czech_krb", "czech_machac", "czech_ph"),
    ),
)


def flite(minutes: float) -> list[Job]:
    """Return the job of flite's voices, `minutes` of each."""
    return [_job(_FLITE, minutes, _flite_reads)]


def festival(minutes: float) -> list[Job]:
    """Return the jobs of festival's voices, `minutes` of each."""
    return [_job(group, minutes, _festival_reads) for group in _FESTIVAL]


def _job(group: Group, minutes: float, reads: Reader) -> Job:
    origin = Origin(
        group.name.split("-")[0],
        group.package,
        version(group.package),
        group.licence,
        group.attribution,
        group.band_hz,
    )

    def speak(_: Path) -> Iterator[Utterance]:
        for voice in group.voices:
            rng = np.random.default_rng([4, *voice.encode()])
            texts = [str(text) for text in rng.permutation(share(0.85, 1.0))]
            spoken = 0
            for start in range(0, len(texts), _BATCH):
                slowness = round(float(rng.uniform(0.85, 1.2)), 3)
                batch = texts[start : start + _BATCH]
                for text, sound in reads(voice, batch, slowness):
                    name = f"{group.name}_{voice}"
                    yield Utterance(sound, name, text, {"rate": round(1 / slowness, 3)})
                    spoken += len(sound)
                if spoken > minutes * 60 * 24000:
                    break

    return Job(group.name, origin, speak, filtered=group.english)


def _flite_reads(voice: str, texts: list[str], slowness: float) -> Iterator[tuple[str, Floats]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        for text in texts:
            stretch = f"duration_stretch={slowness}"
            command = ["flite", "-voice", voice, "--setf", stretch, "-t", text, "-o", str(path)]
            subprocess.run(command, check=True, capture_output=True)
            sound = clean(*soundfile.read(path, dtype="float32"))
            if sound is not None:
                yield text, sound


def _festival_reads(voice: str, texts: list[str], slowness: float) -> Iterator[tuple[str, Floats]]:
    with tempfile.TemporaryDirectory() as folder:
        script = [f"(voice_{voice})", f"(Parameter.set 'Duration_Stretch {slowness})"]
        paths = [Path(folder) / f"{index}.wav" for index in range(len(texts))]
        for text, path in zip(texts, paths, strict=True):
            utterance = f"(utt.synth (Utterance Text {json.dumps(text)}))"
            saved = f'(utt.save.wave {utterance} "{path}" (quote riff))'
            script.append(f"(unwind-protect {saved} nil)")
        (Path(folder) / "script.scm").write_text("\n".join(script), "utf-8")
        subprocess.run(["festival", "-b", f"{folder}/script.scm"], capture_output=True)
        for text, path in zip(texts, paths, strict=True):
            if path.exists():
                sound = clean(*soundfile.read(path, dtype="float32"))
                if sound is not None:
                    yield text, sound
