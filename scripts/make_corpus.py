"""Make a corpus of sound files to try `fcs-edge corpus` with: many formats, and some files bad.

    python scripts/make_corpus.py FOLDER [--files 500] [--seed 0] [--bad 4] [--longest 180]

The sound is speech of tests/data and fcs_edge/data: drawn pieces of it, louder or softer, at other
rates, in one channel or two. The same options make the same bytes, with the same releases of
libsndfile and soxr. FOLDER receives:

    sound/      wav, flac, mp3, ogg, opus, aiff and au; 8 to 48 kHz; 0.01 s to minutes
    tars/       WebDataset archives of further files, with a .json beside each sound
    manifests/  nemo.jsonl, cuts.jsonl, files.csv, files.tsv and wav.scp of some of the files
    expected.json  what each file of sound/ is: "good", "cut" or "error", and what was done to it

A file that is bad is one of: empty, text, a header alone, 500 Hz, 0 samples, 1 sample, cut (WAV,
FLAC, MP3, Opus, Ogg), FLAC with a flipped bit, a WAV that states 24 hours, one of 1000 channels,
one with NaN, and one that may not be read (which counts as good for a superuser).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import struct
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

F32 = NDArray[np.float32]
ROOT = Path(__file__).parents[1]
SOURCES = (
    "fcs_edge/data/demo.flac",
    "tests/data/251-118436-0003.flac",
    "tests/data/84-121123-0005.flac",
)
RATE = 16000
_TIME_NS = 1_700_000_000 * 10**9
"""All files state this time of modification: it is part of a shard's name."""
_FOLDER_FILES = 100
_TAR_FILES = 50
_STATED_HOURS = 24


class Format(NamedTuple):
    """A kind of file, and how often there is one."""

    suffix: str
    name: str
    subtypes: tuple[str, ...]
    rates: tuple[int, ...]
    share: float


_RATES = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000)
_WAV = ("PCM_16", "PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "DOUBLE", "ALAW", "ULAW")
FORMATS = (
    Format("wav", "WAV", (*_WAV, "IMA_ADPCM", "MS_ADPCM"), _RATES, 0.4),
    Format("flac", "FLAC", ("PCM_16", "PCM_24"), _RATES, 0.2),
    Format("mp3", "MP3", ("MPEG_LAYER_III",), _RATES, 0.15),
    Format("ogg", "OGG", ("VORBIS",), _RATES, 0.08),
    Format("opus", "OGG", ("OPUS",), (8000, 16000, 24000, 48000), 0.07),
    Format("aiff", "AIFF", ("PCM_16", "PCM_24"), _RATES, 0.05),
    Format("au", "AU", ("PCM_16", "ULAW", "FLOAT"), _RATES, 0.05),
)


class SoundFile(NamedTuple):
    """A file's bytes, what they are, and what was done to them."""

    suffix: str
    data: bytes
    state: str
    what: str
    seconds: float


def speech() -> F32:
    """Return the sounds of the repository, one after the other, at 16 kHz."""
    parts = []
    for name in SOURCES:
        samples, rate = soundfile.read(ROOT / name, dtype="float32", always_2d=True)
        parts.append(soxr.resample(samples[:, 0], rate, RATE))
    return np.concatenate(parts).astype(np.float32)


def file_bytes(samples: F32, rate: int, kind: Format, subtype: str) -> bytes:
    """Return a sound file, without what depends on the time: serial numbers and dates."""
    file = io.BytesIO()
    channels = samples.shape[1]
    with soundfile.SoundFile(file, "w", rate, channels, subtype, format=kind.name) as sound:
        # Vorbis of libsndfile 1.2.2 ends the process where it is given minutes at once.
        for at in range(0, max(len(samples), 1), rate):
            sound.write(samples[at : at + rate])
    data = bytearray(file.getvalue())
    if kind.name == "OGG":
        _number_pages(data)
    at = data.find(b"PEAK", 0, 200)
    if at >= 0:
        data[at + 12 : at + 16] = bytes(4)
    return bytes(data)


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
        table.append(value & 0xFFFFFFFF)
    return table


_CRC = _crc_table()


def _number_pages(data: bytearray) -> None:
    """Give the pages of an Ogg stream the serial number 1 in place of a random one."""
    at = 0
    while data[at : at + 4] == b"OggS":
        n_segments = data[at + 26]
        end = at + 27 + n_segments + sum(data[at + 27 : at + 27 + n_segments])
        data[at + 14 : at + 18] = struct.pack("<I", 1)
        data[at + 22 : at + 26] = bytes(4)
        value = 0
        for byte in data[at:end]:
            value = (value << 8 & 0xFFFFFFFF) ^ _CRC[value >> 24 ^ byte]
        data[at + 22 : at + 26] = struct.pack("<I", value)
        at = end


class Maker:
    """Makes files; each depends on the seed and its number alone.

    Parameters
    ----------
    seed : int
        Another one makes another corpus.
    longest : float
        Seconds of the longest file.
    """

    def __init__(self, seed: int, longest: float) -> None:
        self._seed, self._longest = seed, longest
        self._speech = speech()

    def random(self, *numbers: int) -> np.random.Generator:
        """Return the random numbers of a file."""
        return np.random.default_rng([self._seed, *numbers])

    def good(self, random: np.random.Generator, suffix: str | None = None) -> SoundFile:
        """Return a file of any format, or of one that a suffix names."""
        shares = [kind.share for kind in FORMATS]
        kind = FORMATS[int(random.choice(len(FORMATS), p=np.divide(shares, sum(shares))))]
        if suffix is not None:
            kind = next(kind for kind in FORMATS if kind.suffix == suffix)
        rate = int(random.choice(kind.rates))
        subtype = str(random.choice(kind.subtypes))
        samples = self._sound(random, self._seconds(random, suffix is not None), rate)
        data = file_bytes(samples, rate, kind, subtype)
        return SoundFile(kind.suffix, data, "good", f"{kind.name} {subtype}", len(samples) / rate)

    def _seconds(self, random: np.random.Generator, middling: bool) -> float:
        """Draw a length: few seconds mostly, 0.01 s and minutes now and then."""
        if middling:
            # Ogg has pages of seconds: of a shorter one, nothing would be intact.
            return float(random.uniform(6, 10))
        draw = random.random()
        if draw < 0.02:
            return min(0.01, self._longest)
        if draw > 0.99:
            return float(random.uniform(min(60, self._longest / 3), self._longest))
        longest = min(30, self._longest)
        return float(np.clip(random.lognormal(1.1, 0.8), min(1.5, longest), longest))

    def _sound(self, random: np.random.Generator, seconds: float, rate: int) -> F32:
        """Draw a piece of speech, (n, channels)."""
        start = int(random.integers(self._speech.size))
        n = max(round(seconds * RATE), 1)
        piece = np.take(self._speech, np.arange(start, start + n), mode="wrap")
        piece = piece * np.float32(random.uniform(0.1, 1.0))
        sound = np.asarray(soxr.resample(piece, RATE, rate), np.float32)[:, None]
        if random.random() < 0.3:
            other = np.roll(sound, int(random.integers(1, 40))) * np.float32(0.7)
            sound = np.concatenate([sound, other], 1)
        return np.clip(sound, -1, 1)

    def bad(self, random: np.random.Generator, way: int) -> SoundFile:
        """Return a file that is bad in a way, by the number of the way."""
        return _DEFECTS[way % len(_DEFECTS)](self, random)

    def wav(self, samples: F32, rate: int = RATE, subtype: str = "PCM_16") -> bytes:
        """Return a WAV of samples, (n, channels)."""
        return file_bytes(samples, rate, FORMATS[0], subtype)


def _cut(suffix: str, state: str) -> Callable[[Maker, np.random.Generator], SoundFile]:
    def way(maker: Maker, random: np.random.Generator) -> SoundFile:
        whole = maker.good(random, suffix)
        n = int(len(whole.data) * random.uniform(0.4, 0.8))
        what = f"cut: {n} of {len(whole.data)} bytes"
        return SoundFile(suffix, whole.data[:n], state, what, whole.seconds)

    return way


def _flipped(maker: Maker, random: np.random.Generator) -> SoundFile:
    whole = maker.good(random, "flac")
    data = bytearray(whole.data)
    data[int(len(data) * 0.6)] ^= 1 << int(random.integers(8))
    return SoundFile("flac", bytes(data), "cut", "a flipped bit", whole.seconds)


def _claimed(maker: Maker, random: np.random.Generator) -> SoundFile:
    data = bytearray(maker.wav(maker._sound(random, 2, RATE)))
    at = data.find(b"data") + 4
    struct.pack_into("<I", data, at, min(_STATED_HOURS * 3600 * RATE * 2, 2**32 - 64))
    return SoundFile("wav", bytes(data), "cut", f"states {_STATED_HOURS} h", 2)


def _with_nan(maker: Maker, random: np.random.Generator) -> SoundFile:
    samples = maker._sound(random, 3, RATE)
    samples[:: int(random.integers(500, 2000))] = np.nan
    return SoundFile("wav", maker.wav(samples, subtype="FLOAT"), "good", "has NaN", 3)


def _fixed(suffix: str, state: str, what: str, data: Callable[[Maker], bytes]) -> _Way:
    return lambda maker, random: SoundFile(suffix, data(maker), state, what, 0)


_Way = Callable[[Maker, np.random.Generator], SoundFile]
_TEXT = b"This is a text, although its name ends like that of a sound.\n" * 20
_TONE = (0.1 * np.sin(np.arange(4000) / 7)).astype(np.float32)[:, None]
_DEFECTS: tuple[_Way, ...] = (
    _fixed("wav", "error", "empty", lambda maker: b""),
    _fixed("wav", "error", "text", lambda maker: _TEXT),
    _fixed("mp3", "error", "text", lambda maker: _TEXT),
    _fixed("wav", "error", "a rate of 500 Hz", lambda maker: maker.wav(_TONE, 500)),
    _fixed("wav", "error", "a header alone", lambda maker: maker.wav(_TONE)[:44]),
    _fixed("wav", "error", "0 samples", lambda maker: maker.wav(_TONE[:0])),
    _fixed("wav", "good", "1 sample", lambda maker: maker.wav(_TONE[3:4])),
    _fixed("wav", "any", "1000 channels", lambda maker: maker.wav(np.repeat(_TONE[:800], 1000, 1))),
    _fixed("wav", "unreadable", "may not be read", lambda maker: maker.wav(_TONE)),
    _cut("wav", "cut"),
    _cut("flac", "cut"),
    _cut("mp3", "cut"),
    _cut("opus", "cut"),
    _cut("ogg", "cut"),
    _flipped,
    _claimed,
    _with_nan,
)


def write(path: Path, created: SoundFile) -> None:
    """Write a file, and give it the time that all have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(created.data)
    os.utime(path, ns=(_TIME_NS, _TIME_NS))
    if created.state == "unreadable":
        path.chmod(0)


def make_sounds(out: Path, maker: Maker, count: int, bad: float) -> dict[str, SoundFile]:
    """Write the files of sound/; return what each is, by name."""
    created = {}
    step = 100 / bad if bad else 0
    for number in range(count):
        random = maker.random(0, number)
        way = int((number + 1) / step) if step else 0
        is_bad = step and int(number / step) < way
        file = maker.bad(random, way - 1) if is_bad else maker.good(random)
        name = f"sound/{number // _FOLDER_FILES:03}/{number:06}.{file.suffix}"
        write(out / name, file)
        created[name] = file._replace(data=b"")
    return created


def make_tars(out: Path, maker: Maker, count: int) -> None:
    """Write archives of further files, each sound with its facts."""
    for first in range(0, count, _TAR_FILES):
        path = out / f"tars/{first // _TAR_FILES:03}.tar"
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            for number in range(first, min(first + _TAR_FILES, count)):
                file = maker.good(maker.random(1, number))
                facts = json.dumps({"text": f"sound {number}"}).encode()
                for suffix, data in ((file.suffix, file.data), ("json", facts)):
                    member = tarfile.TarInfo(f"{number:06}.{suffix}")
                    member.size, member.mtime = len(data), _TIME_NS // 10**9
                    tar.addfile(member, io.BytesIO(data))
        os.utime(path, ns=(_TIME_NS, _TIME_NS))


def make_manifests(out: Path, created: dict[str, SoundFile]) -> None:
    """Write manifests of good files: all of them, and parts of the longer ones."""
    good = [(f"../{name}", file) for name, file in created.items() if file.state == "good"]
    nemo, cuts = [], []
    for number, (path, file) in enumerate(good):
        row = {"audio_filepath": path, "duration": file.seconds, "text": f"sound {number}"}
        nemo.append({"id": f"nemo-{number:06}", **row})
        if file.seconds < 3:
            continue
        source = {"type": "file", "channels": [0], "source": path}
        for part in range(int(file.seconds / 2)):
            cuts.append(
                {
                    "id": f"cut-{number:06}-{part}",
                    "start": 2.0 * part,
                    "duration": 1.5,
                    "channel": 0,
                    "type": "MonoCut",
                    "recording": {"id": f"{number:06}", "sources": [source]},
                }
            )
    nemo.append({"id": "nemo-missing", "audio_filepath": "../sound/none.wav", "duration": 1.0})
    if good:
        beyond = {"audio_filepath": good[0][0], "offset": 1e5, "duration": 1.0}
        nemo.append({"id": "nemo-beyond", **beyond})
    folder = out / "manifests"
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("nemo", nemo), ("cuts", cuts)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = [("id", "path"), *((f"row-{i:06}", path) for i, (path, _) in enumerate(good))]
    lines = "".join(f"{a},{b}\r\n" for a, b in table)
    # With the byte order mark and the line ends that a spreadsheet writes.
    (folder / "files.csv").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    (folder / "files.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in table))
    scp = "".join(f"utt-{i:06} {path}\n" for i, (path, _) in enumerate(good))
    (folder / "wav.scp").write_text(scp + "utt-pipe sox -t wav a.wav - |\n")
    for manifest in folder.iterdir():
        os.utime(manifest, ns=(_TIME_NS, _TIME_NS))


def state_of(file: SoundFile) -> str:
    """Return what a file is for this user: a superuser reads any."""
    if file.state == "unreadable":
        return "good" if os.geteuid() == 0 else "error"
    return file.state


def make(out: Path, files: int, seed: int, bad: float, longest: float) -> dict[str, SoundFile]:
    """Make a corpus; return what each file of sound/ is, by name."""
    maker = Maker(seed, longest)
    created = make_sounds(out, maker, files, bad)
    make_tars(out, maker, files // 10)
    make_manifests(out, created)
    expected = {
        name: {"state": state_of(file), "what": file.what, "seconds": round(file.seconds, 6)}
        for name, file in created.items()
    }
    (out / "expected.json").write_text(json.dumps(expected, indent=0) + "\n")
    return created


def main(arguments: Sequence[str] | None = None) -> None:
    """Make a corpus, and say what there is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", metavar="FOLDER", type=Path, help="a folder that is new or empty")
    parser.add_argument("--files", type=int, default=500, help="files in sound/ [500]")
    parser.add_argument("--seed", type=int, default=0, help="another one, another corpus [0]")
    parser.add_argument("--bad", type=float, default=4, help="percent of the files [4]")
    parser.add_argument("--longest", type=float, default=180, help="seconds of a file [180]")
    parser.add_argument("--force", action="store_true", help="delete what FOLDER holds")
    options = parser.parse_args(arguments)
    if options.out.exists() and any(options.out.iterdir()):
        if not options.force:
            sys.exit(f"{options.out}: is not empty; --force deletes what it holds")
        shutil.rmtree(options.out)
    created = make(options.out, options.files, options.seed, options.bad, options.longest)
    hours = sum(file.seconds for file in created.values()) / 3600
    states = [state_of(file) for file in created.values()]
    counts = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    print(f"{options.out}: {len(created)} files, {hours:.2f} h: {counts}")


if __name__ == "__main__":
    main()
