"""Carry a corpus to a machine that only small loads reach, and train there before all have come.

    python -m train.corpus.transfer pack CORPUS LOADS        writes LOADS/00, LOADS/01, ...
    python -m train.corpus.transfer take LOADS CORPUS        there: takes up each load as it comes

What a shard does not say above 7.6 kHz goes at 16 kHz. The teacher goes with the first load, its
matrices in 8 bits: its features are larger than the sound, and are made anew where it arrives. So
does the recogniser that listens.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional

from train.data.corpus import FRAME_16K, FRAME_24K
from train.data.pcm import Samples, rerated
from train.losses.whisper_features import Listener, floats, load_small, norm, save_small
from train.pretrained.whisper import LISTENER, WINDOW, in_windows, tiny_english

_PIECE = 15000
"""Frames, five minutes."""
_NARROW_HZ = 7600
_RESAMPLED = ("-slower", "-faster")
"""Shards that are others resampled: crops are resampled anyway."""
_FACTS = ("source", "band_hz", "real", "voices")
_AS_THEY_ARE = ("rooms.npz", "noise.npy", LISTENER)
"""Files that a corpus has beside its shards."""
_TEACHER = "teacher.safetensors"
_AT_ONCE = 16

Piece = tuple[Path, int, int]


def pieces(corpus: Path) -> list[Piece]:
    """Return shards' .json files with first and last frames, by turns; what is held out first."""
    found = []
    for about in (*sorted(corpus.glob("held_out/*.json")), *sorted(corpus.glob("*.json"))):
        if about.stem.endswith(_RESAMPLED):
            continue
        frames = len(np.load(_beside(about, "16k"), mmap_mode="r")) // FRAME_16K
        edges = np.linspace(0, frames, -(-frames // _PIECE) + 1).astype(int).tolist()
        for turn, (first, last) in enumerate(itertools.pairwise(edges)):
            held_out = about.parent.name == "held_out"
            found.append((-1 if held_out else turn, about, first, last))
    found.sort(key=lambda one: one[0])
    return [(about, first, last) for _, about, first, last in found]


def write_piece(piece: Piece, folder: Path) -> int:
    """Write a piece of a shard, NAME.FIRST.flac and .json; return its size in bytes."""
    about, first, last = piece
    facts = json.loads(about.read_text("utf-8"))
    narrow = facts["band_hz"] <= _NARROW_HZ
    kind, rate, size = ("16k", 16000, FRAME_16K) if narrow else ("24k", 24000, FRAME_24K)
    sound = np.load(_beside(about, kind), mmap_mode="r")[first * size : last * size]
    path = folder / f"{about.stem}.{first}.flac"
    soundfile.write(path, sound, rate, "PCM_16")
    kept = {key: facts[key] for key in _FACTS}
    kept |= {"name": about.stem, "held_out": about.parent.name == "held_out"}
    kept["frames"] = last - first
    path.with_suffix(".json").write_text(json.dumps(kept, ensure_ascii=False), "utf-8")
    return path.stat().st_size + path.with_suffix(".json").stat().st_size


class Teacher:
    """The same features as `train.corpus.teacher`'s, by PyTorch, on a GPU where there is one.

    Parameters
    ----------
    arrays : dict of ndarray
        Of a model.bin of CTranslate2, or as `load_small` returns them.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        layers = len({name.split("/")[1] for name in arrays if name.startswith("encoder/layer_")})
        layers -= "encoder/layer_norm/gamma" in arrays
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.listener = Listener(arrays, layers).to(self.device)
        last = norm(floats(arrays, "encoder/"), "layer_norm")
        self.last = last.to(self.device).requires_grad_(False)

    @torch.no_grad()
    def features(self, narrow: Samples) -> NDArray[np.float16]:
        """Return (frames, width) of int16 (320 x frames,) at 16 kHz, in windows of 30 s."""
        width = self.last.normalized_shape[0]
        return in_windows(narrow, FRAME_16K, width, self._heard, _AT_ONCE)

    def _heard(self, parts: list[Samples]) -> NDArray[np.float16]:
        """Return (windows, WINDOW, width) of as many windows' samples."""
        mels = torch.stack([self._mel(part) for part in parts])
        rows: NDArray[np.float16] = self._encode(mels).half().cpu().numpy()
        return rows

    def _mel(self, narrow: Samples) -> Tensor:
        """Return (bands, 2 x WINDOW): what is no sound at the end is 0, as Whisper has it."""
        sound = torch.from_numpy(narrow.astype(np.float32) / 32768).to(self.device)
        mel = self.listener.log_mel(sound[None])[0][:, : 2 * WINDOW]
        return functional.pad(mel, (0, 2 * WINDOW - mel.shape[1]))

    def _encode(self, mels: Tensor) -> Tensor:
        on_gpu = self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.float16, enabled=on_gpu):
            seen = self.listener.encode(mels)[-1]
        encoded: Tensor = self.last(seen.float())
        return encoded


def take_piece(path: Path, corpus: Path, teacher: Teacher, random: np.random.Generator) -> None:
    """Add a piece, by its .json, to its shard in a corpus: a file at a time, the .json last.

    Raises
    ------
    ValueError
        It is not whole.
    """
    facts = json.loads(path.read_text("utf-8"))
    try:
        sound, rate = soundfile.read(path.with_suffix(".flac"), dtype="int16")
    except (OSError, soundfile.LibsndfileError) as error:
        raise ValueError(f"{path.with_suffix('.flac')}: not whole ({error})") from None
    size = FRAME_16K if rate == 16000 else FRAME_24K
    frames = facts.pop("frames")
    if len(sound) != frames * size:
        raise ValueError(f"{path.with_suffix('.flac')}: not whole, {len(sound)} samples")
    other = rerated(sound, rate, 24000 if rate == 16000 else 16000, random)
    narrow, wide = (sound, other) if rate == 16000 else (other, sound)
    folder = corpus / "held_out" if facts.pop("held_out") else corpus
    folder.mkdir(parents=True, exist_ok=True)
    about = folder / f"{facts.pop('name')}.json"
    made: dict[str, NDArray[Any]] = {"24k": wide, "16k": narrow}
    made["whisper"] = teacher.features(narrow)
    for kind, values in made.items():
        whole = _beside(about, kind)
        if about.exists():
            values = np.concatenate([np.load(whole, mmap_mode="r"), values])
        partial = whole.with_suffix(".part")
        with partial.open("wb") as file:
            np.save(file, values)
        os.replace(partial, whole)
    partial = about.with_suffix(".part")
    partial.write_text(json.dumps(facts, ensure_ascii=False), "utf-8")
    os.replace(partial, about)


def _beside(about: Path, kind: str) -> Path:
    return about.with_name(f"{about.stem}.{kind}.npy")


@click.group()
def main() -> None:
    """Carry a corpus in small loads."""


@main.command()
@click.argument("corpus", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("loads", type=click.Path(file_okay=False, path_type=Path))
@click.option("--mb", default=60.0, show_default=True, help="Megabytes a load, at most.")
@click.option(
    "--teacher",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A model.bin of floats. [default: CORPUS/models/whisper-base/model.bin]",
)
@click.option(
    "--listener",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The same of who listens. [default: Whisper tiny.en, from its package]",
)
def pack(corpus: Path, loads: Path, mb: float, teacher: Path | None, listener: Path | None) -> None:
    """Pack CORPUS into folders of LOADS: what is held out first, then shards by turns."""
    if loads.exists() and any(loads.iterdir()):
        raise click.ClickException(f"{loads} is not empty: give a new folder")
    found = pieces(corpus)
    if not found:
        raise click.ClickException(f"{corpus}: no shards")
    try:
        n = _pack(found, corpus, loads, mb, teacher, listener)
    except ValueError as error:
        shutil.rmtree(loads)
        raise click.ClickException(str(error)) from None
    click.echo(f"{len(found)} pieces of {len({p[0] for p in found})} shards in {n} loads")


def _pack(
    found: list[Piece],
    corpus: Path,
    loads: Path,
    mb: float,
    teacher: Path | None,
    listener: Path | None,
) -> int:
    """Write loads, and return how many.

    Raises
    ------
    ValueError
        What has to go in one is larger than that.
    """
    n, folder = 1, loads / "00"
    folder.mkdir(parents=True)
    save_small(teacher or corpus / "models" / "whisper-base" / "model.bin", folder / _TEACHER)
    save_small(listener or tiny_english() / "model.bin", folder / LISTENER)
    for name in _AS_THEY_ARE:
        if (corpus / name).exists():
            shutil.copy(corpus / name, folder)
    room = mb * 1e6 - sum(path.stat().st_size for path in folder.iterdir())
    if room < 0:
        raise ValueError(f"the first load is larger than {mb:g} MB: give more --mb")
    for piece in found:
        size = write_piece(piece, folder)
        if size > room:
            before, folder, room = folder, loads / f"{n:02d}", mb * 1e6
            folder.mkdir()
            n += 1
            for end in (".flac", ".json"):
                name = f"{piece[0].stem}.{piece[1]}{end}"
                os.replace(before / name, folder / name)
        room -= size
        if room < 0:
            raise ValueError(f"{piece[0].stem}: a piece is larger than {mb:g} MB: give more --mb")
    return n


@main.command()
@click.argument("loads", type=click.Path(file_okay=False, path_type=Path))
@click.argument("corpus", type=click.Path(file_okay=False, path_type=Path))
@click.option("--once", is_flag=True, help="Take what is there, and end.")
def take(loads: Path, corpus: Path, once: bool) -> None:
    """Take up what comes in LOADS, a piece when its .json is there, into CORPUS."""
    corpus.mkdir(parents=True, exist_ok=True)
    teacher: Teacher | None = None
    taken: set[Path] = set()
    random = np.random.default_rng(1)
    while True:
        try:
            teacher = teacher or _first(loads, corpus)
            for path in sorted(set(loads.rglob("*.json")) - taken):
                take_piece(path, corpus, teacher, random)
                taken.add(path)
                click.echo(f"{len(taken)} {path.stem}")
        except ValueError as error:
            # What is still being copied is whole a little later.
            if once:
                raise click.ClickException(str(error)) from None
        if once:
            return
        time.sleep(0.2)


def _first(loads: Path, corpus: Path) -> Teacher:
    """Return the teacher of the first load; what else comes with it goes beside the corpus.

    Raises
    ------
    ValueError
        It is not there.
    """
    found = list(loads.rglob(_TEACHER))
    if not found:
        raise ValueError(f"{loads}: no {_TEACHER} in it: it comes with the first load")
    try:
        teacher = Teacher(load_small(found[0]))
    except SafetensorError as error:
        raise ValueError(f"{found[0]}: not whole ({error})") from None
    for name in _AS_THEY_ARE:
        for path in loads.rglob(name):
            shutil.copy(path, corpus)
    return teacher


if __name__ == "__main__":
    main()
