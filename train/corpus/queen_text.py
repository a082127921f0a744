"""What the lines of Flight of the Amazon Queen say, from the game's own dialogues."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import click

from train.corpus.amazon_queen import ARCHIVE, contents

_BANK_BYTES = 20
_HEAD = struct.Struct(">5h12x3H")
_LEVEL_BYTES = 96
_ENTRY = struct.Struct(">2xhB")
_COMMAND = re.compile(r"\*(?:XY\d\d\(\d+,\d+\)|..)", re.DOTALL)
_NOT_SPOKEN = re.compile(r"\^_|<[^>]*>|\([^)]*\)")  # The sign of a trade mark; <gulp>; (sigh).


def line_texts(archive: Path = ARCHIVE) -> dict[str, str]:
    """Return the text of each line of the game's dialogues, by the name of its sound.

    Parameters
    ----------
    archive : Path
        ``queen.1c``, with a file NAME.DOG for each dialogue.

    Notes
    -----
    A name is the dialogue's number (two digits), the sentence's number (four hexadecimal digits),
    P (the other person) or J (Joe, the player), and the number of the part of the sentence.
    """
    texts: dict[str, str] = {}
    places = contents(archive)
    with archive.open("rb") as file:
        for name in sorted(places):
            if name.endswith(".DOG"):
                at, length = places[name]
                file.seek(at)
                texts.update(dialogue(file.read(length), name))
    return texts


def dialogue(data: bytes, name: str) -> Iterator[tuple[str, str]]:
    """Yield the sound's name, and the text, of each part of each sentence of a dialogue.

    Parameters
    ----------
    data : bytes
        A .DOG file. Big-endian; positions count from the 20 bytes of its bank's head. A head of 32
        bytes: levels (negative where the talk cannot end early), a key, the dialogue's number,
        Joe's sentences and the other's, 12 bytes, where the other's are, and two more places.
        Then 96 bytes a level, then Joe's sentences.
    name : str
        Of the file, for messages.

    Notes
    -----
    A sentence is two bytes, its number, its length in a byte, and the text, padded to four bytes;
    without text it is not padded. A command in the text, such as ``*FL``, ends a part.

    Raises
    ------
    click.ClickException
        The file ends before its sentences do.
    """
    body = data[_BANK_BYTES:]
    try:
        levels, _, number, of_joe, of_other, place, *_ = _HEAD.unpack_from(body)
        after_tree = 32 + _LEVEL_BYTES * abs(levels)
        sentences = [("J", *found) for found in _sentences(body, after_tree, of_joe)]
        sentences += [("P", *found) for found in _sentences(body, place, of_other)]
    except struct.error:
        raise click.ClickException(f"{name}: it ends before its sentences do") from None
    for who, sentence, text in sentences:
        for part, words in enumerate(_COMMAND.split(text), 1):
            spoken = " ".join(_NOT_SPOKEN.sub("", words).split())
            yield f"{number:02d}{sentence & 0xFFFF:04X}{who}{part:X}", spoken


def _sentences(body: bytes, at: int, count: int) -> Iterator[tuple[int, str]]:
    """Yield number and text of each of the sentences from a position on."""
    for _ in range(count):
        number, length = _ENTRY.unpack_from(body, at)
        at += _ENTRY.size
        (text,) = struct.unpack_from(f"{length}s", body, at)
        at = (at + length + 3) & ~3 if length else at
        yield number, text.decode("latin-1")
