"""Choose lines of Flight of the Amazon Queen for two sets: python -m train.corpus.queen_lists.

The lists are in git, so that each evaluation has the same lines. This command wrote them once.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import soundfile

from train.corpus import amazon_queen
from train.corpus.held_out_text import ADVENTURE_LINES
from train.corpus.queen_text import line_texts
from train.data.pcm import Floats

SETS = ("decision", "release")
MOST_IN_A_SCENE = {"decision": 7, "release": 30}
FEWEST_WORDS = 7
MOST_WRONG = 0.5
"""Of the words of the game's text, in Whisper base's transcript of the line. Above it the actor
says something else, or nothing that can be judged."""
_RECOGNISER_RATE = 16000
_SEED = 39


def list_file(name: str) -> Path:
    """Return the file that lists the lines of a set, one a row."""
    return Path(__file__).with_name(f"queen_{name}.txt")


def listed(name: str) -> tuple[str, ...]:
    """Return the names of the lines of a set."""
    return tuple(list_file(name).read_text("utf-8").split())


def scene(line: str) -> str:
    """Return the dialogue that a line is of."""
    return line[:2]


def candidates(texts: Mapping[str, str], sounds: Iterable[str]) -> dict[str, list[str]]:
    """Return by scene, in random order, the lines of other persons that have enough words.

    Parameters
    ----------
    texts : mapping of str to str
        By line.
    sounds : iterable of str
        Lines that have a sound.

    Returns
    -------
    dict
        Without the lines that are in use, and with one of those that say the same.
    """
    words = {_letters(texts[line]) for line in ADVENTURE_LINES if line in texts}
    shuffled = sorted(line for line in set(sounds) & set(texts) if line[6] == "P")
    random.Random(_SEED).shuffle(shuffled)
    found: dict[str, list[str]] = {}
    for line in shuffled:
        text = _letters(texts[line])
        if line not in ADVENTURE_LINES and len(text.split()) >= FEWEST_WORDS and text not in words:
            words.add(text)
            found.setdefault(scene(line), []).append(line)
    return found


def chosen(
    by_scene: Mapping[str, list[str]], fits: Callable[[str], bool]
) -> dict[str, tuple[str, ...]]:
    """Return the lines of each set.

    Scenes of `ADVENTURE_LINES` are for decisions, since those lines were used for many; the others
    are for releases.
    """
    used = {scene(line) for line in ADVENTURE_LINES}
    sets: dict[str, list[str]] = {name: [] for name in SETS}
    for place in sorted(by_scene):
        name = SETS[place not in used]
        fitting = (line for line in by_scene[place] if fits(line))
        sets[name] += [line for line, _ in zip(fitting, range(MOST_IN_A_SCENE[name]), strict=False)]
    return {name: tuple(sorted(lines)) for name, lines in sets.items()}


def matches(text: str, signal: Floats, recogniser: Any) -> bool:
    """Return whether the recogniser's transcript of a sound at 16 kHz is near its text."""
    from train.evaluation.wer import clip_errors

    found = clip_errors(recogniser.normalise(text), recogniser.transcribe(signal))
    return found.rate is not None and found.rate <= MOST_WRONG


@click.command()
def main() -> None:
    """Write the lists of lines."""
    import soxr

    from train.corpus.audio import RATE, clean
    from train.evaluation.recogniser import Recogniser

    recogniser, texts = Recogniser(), line_texts()
    places = amazon_queen.contents(amazon_queen.ARCHIVE)
    sounds = [name.removesuffix(".SB") for name in places if name.endswith(".SB")]

    def fits(line: str) -> bool:
        try:
            ((_, sound, rate),) = amazon_queen.lines(names=[line])
        except soundfile.LibsndfileError:
            return False
        cleaned = clean(sound, rate)
        if cleaned is None:
            return False
        signal = soxr.resample(cleaned, RATE, _RECOGNISER_RATE, quality="VHQ")
        return matches(texts[line], signal, recogniser)

    for name, lines in chosen(candidates(texts, sounds), fits).items():
        list_file(name).write_text("\n".join(lines) + "\n", "utf-8")
        words = sum(len(texts[line].split()) for line in lines)
        click.echo(
            f"{name}: {len(lines)} lines, {words} words, {len(set(map(scene, lines)))} scenes"
        )


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9 ]", "", text.lower()).strip()


if __name__ == "__main__":
    main()
