"""Sets of real speech with texts, enough to count words: for evaluation only.

The lines of Flight of the Amazon Queen that `queen_lists` chose, and sentences of a LibriVox book
from pocketsphinx's tests. Nothing of them is in a shard.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import soundfile
import soxr

from train.corpus import amazon_queen, queen_lists
from train.corpus.queen_text import line_texts
from train.data.pcm import Floats

SETS = (*queen_lists.SETS, "librivox")
CLIP_RATE = 16000
LIBRIVOX = Path("/usr/share/pocketsphinx/test/data/librivox")
_SENTENCE = re.compile(r"<s> (.*) </s> \((.*)\)")

Spoken = tuple[str, Floats, int, str]
"""Name, sound, its samples a second, and text."""


def write_sets(folder: Path, archive: Path = amazon_queen.ARCHIVE) -> None:
    """Write FOLDER/held_out/{decision,release,librivox}/NAME.wav and NAME.txt.

    Parameters
    ----------
    folder : Path
        Of the corpus.
    archive : Path
        Of the game.

    Notes
    -----
    16 kHz, 16 bits. Lines of the game are trimmed and peak at 0.8; sentences are as they are. A
    set is whole once the list of its clips, held_out/SET.txt, is there.
    """
    for name in SETS:
        listed = folder / "held_out" / f"{name}.txt"
        if listed.exists():
            continue
        spoken = sentences() if name == "librivox" else game_lines(name, archive)
        rows, words = [], 0
        for clip, sound, rate, text in spoken:
            path = listed.with_suffix("") / f"unseen_{clip}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, soxr.resample(sound, rate, CLIP_RATE, quality="VHQ"), CLIP_RATE)
            path.with_suffix(".txt").write_text(f"{text}\n", "utf-8")
            words += len(text.split())
            rows.append(f"unseen_{clip} {len(sound) / rate:.1f} s, {len(text.split())} words")
        listed.write_text("\n".join(rows) + "\n", "utf-8")
        click.echo(f"held_out/{name}: {len(rows)} clips, {words} words")


def game_lines(name: str, archive: Path) -> Iterator[Spoken]:
    """Yield the lines of a set.

    Raises
    ------
    click.ClickException
        Another edition, whose line is another.
    """
    from train.corpus.audio import RATE, clean

    texts = line_texts(archive)
    for line, sound, rate in amazon_queen.lines(archive, queen_lists.listed(name)):
        cleaned = clean(sound, rate)
        if cleaned is None or line not in texts:
            raise click.ClickException(f"{archive}: another edition, with another line {line}")
        yield line, cleaned, RATE, texts[line]


def sentences() -> Iterator[Spoken]:
    """Yield the sentences of a LibriVox book in Debian's pocketsphinx-testdata."""
    listed = LIBRIVOX / "transcription"
    if not listed.exists():
        raise click.ClickException(
            f"{LIBRIVOX} is missing: apt-get install pocketsphinx-testdata brings it"
        )
    for text, name in _SENTENCE.findall(listed.read_text("utf-8")):
        sound, rate = soundfile.read(LIBRIVOX / f"{name}.wav", dtype="float32")
        yield name, sound, rate, text
