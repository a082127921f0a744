"""Actors of a talking game of 1995: real English for evaluation, not for training.

Flight of the Amazon Queen is free to copy and to change, but not to sell (Debian's package of that
name); so nothing of it is in the corpus, or in a shard that a loss is measured on.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import numpy as np
import soundfile
from numpy.typing import NDArray

from train.corpus.held_out_text import ADVENTURE_LINES

ARCHIVE = Path("/usr/share/scummvm/flight-of-the-amazon-queen/queen.1c")
_HEAD = struct.Struct(">4s6sBBBH")
_ENTRY = struct.Struct(">12sBII")
_MP3 = 1


def contents(archive: Path) -> dict[str, tuple[int, int]]:
    """Return where each file of the game is, and its size in bytes, by name.

    Parameters
    ----------
    archive : Path
        ``queen.1c`` as ScummVM packs it: a table, QTBL, and files, the speech among them as MP3.

    Raises
    ------
    click.ClickException
        No file, another file, or a truncated one.
    """
    if not archive.exists():
        raise click.ClickException(
            f"{archive} is missing: apt-get install flight-of-the-amazon-queen brings it"
        )
    with archive.open("rb") as file:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size or not head.startswith(b"QTBL"):
            raise click.ClickException(f"{archive}: not the game's archive: no QTBL at its start")
        *_, packed, count = _HEAD.unpack(head)
        table = file.read(count * _ENTRY.size)
        size = file.seek(0, io.SEEK_END)
    if packed != _MP3 or len(table) < count * _ENTRY.size:
        raise click.ClickException(f"{archive}: speech is not MP3, or the table is truncated")
    found = {}
    for name, _, at, length in _ENTRY.iter_unpack(table):
        if at + length > size:
            raise click.ClickException(f"{archive}: it ends before its files do")
        found[name.rstrip(b"\0").decode("latin-1")] = at, length
    return found


def lines(
    archive: Path = ARCHIVE, names: Iterable[str] = ADVENTURE_LINES
) -> Iterator[tuple[str, NDArray[np.float32], int]]:
    """Yield name, sound and rate of lines: by default, one of each of some characters.

    11,025 Hz, from MP3 of 16 kbps.
    """
    places, selected = contents(archive), tuple(names)
    missing = [name for name in selected if f"{name}.SB" not in places]
    if missing:
        raise click.ClickException(f"{archive}: another edition, without the line {missing[0]}")
    with archive.open("rb") as file:
        for name in selected:
            at, length = places[f"{name}.SB"]
            file.seek(at)
            data = io.BytesIO(file.read(length))
            yield name, *soundfile.read(data, dtype="float32")


def spread_lines(count: int, archive: Path = ARCHIVE) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Yield sound and rate of `count` other lines of a second and more, spread over the game."""
    places = contents(archive)
    names = [name for name in sorted(places) if name.endswith(".SB")]
    others = [name for name in names if name.removesuffix(".SB") not in ADVENTURE_LINES]
    found = 0
    with archive.open("rb") as file:
        for index in np.linspace(0, len(others) - 1, count * 7 // 5).round().astype(int):
            at, length = places[others[index]]
            file.seek(at)
            try:
                sound, rate = soundfile.read(io.BytesIO(file.read(length)), dtype="float32")
            except soundfile.LibsndfileError:
                continue
            if len(sound) >= rate and found < count:
                found += 1
                yield sound, rate
