"""Sentences to speak, from Debian's fortunes, the King James Bible and a word list."""

from __future__ import annotations

import random
import re
import subprocess
from functools import cache
from pathlib import Path

from train.corpus.held_out_text import HELD_OUT

_FORTUNES = Path("/usr/share/games/fortunes")
_WORDS = Path("/usr/share/dict/american-english")
_SKIPPED = {"perl", "linux", "knghtbrd", "computers", "startrek", "songs-poems", "ascii-art"}
_BIBLE = "gen1:1-rev22:21"
_VERSES = 4000
_TEMPLATES = (
    "The {} {} {} near the {} and {}.",
    "She said {} {}, but {} was {} again.",
    "Seven {} and nine {} were {} by {}.",
    "Please {} the {} {}, then {} it.",
    "Why would {} {} the {} of {}?",
    "Nobody {} a {} {} in {} before.",
)
_SPEAKABLE = re.compile(r"[A-Za-z ,.;:'!?-]+")


@cache
def sentences() -> tuple[str, ...]:
    """Return every sentence, in one fixed shuffled order, none of them a held-out one."""
    rng = random.Random(0)
    excluded = {plain(text) for text in HELD_OUT}
    prose = sorted({s for s in (*_fortunes(), *_verses(rng)) if plain(s) not in excluded})
    odd = [_odd_words(rng, words) for words in [_words()] for _ in range(len(prose) // 8)]
    spoken = prose + odd
    rng.shuffle(spoken)
    return tuple(spoken)


def share(begin: float, end: float) -> tuple[str, ...]:
    """Return the sentences from `begin` to `end`, fractions of all of them."""
    whole = sentences()
    return whole[int(begin * len(whole)) : int(end * len(whole))]


def plain(text: str) -> str:
    """Return lower-case letters and single spaces only, for comparisons."""
    return " ".join(re.sub(r"[^a-z ]", "", text.lower()).split())


def _fortunes() -> list[str]:
    """Return the sentences of the fortunes files, less their authors' names."""
    found = []
    for path in sorted(_FORTUNES.iterdir()):
        if path.suffix or path.name in _SKIPPED:
            continue
        for entry in path.read_text("utf-8", "ignore").split("\n%\n"):
            found += _split(re.sub(r"\n\s*--.*", "", entry, flags=re.S))
    return found


def _verses(rng: random.Random) -> list[str]:
    """Draw some thousands of sentences from the King James Bible."""
    command = ["bible", "-f", _BIBLE]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    verses = [re.sub(r"^\S+\s+", "", line) for line in lines]
    found = [sentence for verse in verses for sentence in _split(verse)]
    return rng.sample(found, min(_VERSES, len(found)))


def _split(prose: str) -> list[str]:
    """Return the sentences that a speech synthesiser can read without a normaliser for numbers."""
    flat = re.sub(r"\s+", " ", prose)
    parts = (part.strip(" \"'") for part in re.split(r"(?<=[.!?])\s+", flat))
    return [
        part
        for part in parts
        if 25 <= len(part) <= 200 and _SPEAKABLE.fullmatch(part) and not part.isupper()
    ]


def _words() -> list[str]:
    words = _WORDS.read_text("utf-8").split()
    return [word for word in words if re.fullmatch("[a-z]{3,11}", word)]


def _odd_words(rng: random.Random, words: list[str]) -> str:
    text = rng.choice(_TEMPLATES)
    while "{}" in text:
        text = text.replace("{}", rng.choice(words), 1)
    return text[0].upper() + text[1:]
