"""Lines of a game with the texts of its dialogues, and the sets of them that count words."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click import ClickException

from queen_cases import archive, tone
from train.corpus import queen_lists, word_sets
from train.corpus.amazon_queen import ARCHIVE
from train.corpus.held_out_text import ADVENTURE_LINES
from train.corpus.queen_text import dialogue, line_texts

LEVELS = -2


def sentence(number: int, text: bytes) -> bytes:
    """Return a sentence of a dialogue, at a position that four divides."""
    size = (5 + len(text) + 3) // 4 * 4
    return (struct.pack(">hhB", 0, number, len(text)) + text).ljust(size, b"\0")


def dog(number: int, joe: list[bytes], other: list[bytes]) -> bytes:
    """Return a dialogue of two levels, of sentences."""
    of_joe, of_other = b"".join(joe), b"".join(other)
    place = 32 + 96 * abs(LEVELS) + len(of_joe)
    head = struct.pack(">5h12x3H", LEVELS, 9, number, len(joe), len(other), place, 0, 0)
    return b"AmBk".ljust(20, b"\0") + head.ljust(32 + 96 * abs(LEVELS), b"\0") + of_joe + of_other


def test_texts_of_a_dialogue(tmp_path: Path) -> None:
    first = sentence(0x1E, b"*FLNo.*XY00(237,112)I know  <gulp> the Treatment^_.")
    other = [first, sentence(300, b"Yes")]
    path = tmp_path / "queen.1c"
    files = {
        "A.DOG": dog(2, [sentence(7, b"Hello there."), sentence(1, b"x")], other),
        "A.SAM": b"other",
    }
    path.write_bytes(archive(files | {"B.DOG": dog(41, [], [sentence(6, b"Good day")])}))
    assert line_texts(path) == {
        "020007J1": "Hello there.",
        "020001J1": "x",
        "02001EP1": "",
        "02001EP2": "No.",
        "02001EP3": "I know the Treatment.",
        "02012CP1": "Yes",
        "410006P1": "Good day",
    }


def test_a_sentence_without_text_is_not_padded() -> None:
    empty, next_one = struct.pack(">hhB", 0, 5, 0), struct.pack(">hhB", 0, 6, 2)
    data = dog(3, [], [empty, next_one + b"Go"])
    assert dict(dialogue(data, "C.DOG")) == {"030005P1": "", "030006P1": "Go"}


@pytest.mark.parametrize("size", [19, 40, 215])
def test_a_truncated_dialogue(size: int) -> None:
    data = dog(2, [sentence(7, b"Hello there, how are you?")], [])
    with pytest.raises(ClickException, match=r"A.DOG: it ends before"):
        list(dialogue(data[:size], "A.DOG"))


def test_lines_have_words_and_are_not_in_use() -> None:
    used = ADVENTURE_LINES[0]
    words = "Seven words are enough for this one."
    texts = {
        used: "The line in use says this and that.",
        f"{used[:2]}0FFFP1": "The line in use says THIS and that!",
        "030001P1": words,
        "030002P1": words.upper(),
        "030003P1": "Six words are one too few.",
        "030004J1": "The player is not one of the others.",
        "030005P1": "There is no sound of this one here.",
    }
    sounds = [name for name in texts if name != "030005P1"]
    found = queen_lists.candidates(texts, sounds)
    assert list(found) == ["03"]
    assert found["03"] in (["030001P1"], ["030002P1"])
    assert found == queen_lists.candidates(dict(reversed(texts.items())), sounds[::-1])


def test_scenes_in_use_are_for_decisions() -> None:
    used = ADVENTURE_LINES[0][:2]
    rows = {
        used: [f"{used}{i:04X}P1" for i in range(40)],
        "03": [f"03{i:04X}P1" for i in range(40)],
    }
    sets = queen_lists.chosen(rows, lambda line: line[5] != "0")
    for name, place in (("decision", used), ("release", "03")):
        assert len(sets[name]) == queen_lists.MOST_IN_A_SCENE[name]
        assert all(line[:2] == place and line[5] != "0" for line in sets[name])


def test_listed_lines() -> None:
    decision, release = map(queen_lists.listed, queen_lists.SETS)
    lines = (*decision, *release, *ADVENTURE_LINES)
    assert len(set(lines)) == len(lines)
    scenes = [{queen_lists.scene(line) for line in name} for name in (decision, release)]
    assert not scenes[0] & scenes[1]
    assert not scenes[1] & {queen_lists.scene(line) for line in ADVENTURE_LINES}
    assert all(line[6] == "P" for line in lines)
    assert [len(places) > 25 for places in scenes] == [True, True]
    for name in queen_lists.SETS:
        assert sorted(queen_lists.listed(name)) == list(queen_lists.listed(name))


@pytest.mark.parametrize(("name", "fewest"), [("decision", 1200), ("release", 2500)])
def test_listed_lines_have_words(name: str, fewest: int) -> None:
    if not ARCHIVE.exists():
        pytest.skip("apt-get install flight-of-the-amazon-queen")
    texts = line_texts()
    words = [len(texts[line].split()) for line in queen_lists.listed(name)]
    assert min(words) >= queen_lists.FEWEST_WORDS
    assert sum(words) >= fewest


@pytest.mark.parametrize(
    ("output", "fits"), [("one two 3 4", True), ("one 2 3 4", False), ("", False)]
)
def test_lines_that_say_something_else_are_left_out(output: str, fits: bool) -> None:
    pytest.importorskip("jiwer")

    class Recogniser:
        def normalise(self, text: str) -> str:
            return text.lower()

        def transcribe(self, signal: np.ndarray) -> str:
            return output

    assert queen_lists.matches("One two three four", np.zeros(9, np.float32), Recogniser()) is fits


@pytest.fixture
def sentences_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder like that of pocketsphinx's tests."""
    folder = tmp_path / "librivox"
    folder.mkdir()
    (folder / "transcription").write_text("<s> he was not </s> (book-0880)\n")
    soundfile.write(folder / "book-0880.wav", np.full(8000, 0.25), 16000)
    monkeypatch.setattr(word_sets, "LIBRIVOX", folder)
    return folder


def test_sets_are_written(
    tmp_path: Path, sentences_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyworld")
    path = tmp_path / "queen.1c"
    text = b"I can say *FRwhat you want to know about this."
    path.write_bytes(archive({"A.DOG": dog(4, [], [sentence(9, text)]), "040009P2.SB": tone(300)}))
    lists = {"decision": ("040009P2",), "release": ()}
    monkeypatch.setattr(queen_lists, "listed", lists.__getitem__)
    word_sets.write_sets(tmp_path, path)
    found = tmp_path / "held_out"
    assert (found / "decision.txt").read_text().startswith("unseen_040009P2 1.")
    words = found / "decision/unseen_040009P2.txt"
    assert words.read_text() == "what you want to know about this.\n"
    sound, rate = soundfile.read(words.with_suffix(".wav"))
    assert rate == 16000
    assert np.abs(sound).max() == pytest.approx(0.8, abs=0.01)
    sound, rate = soundfile.read(found / "librivox/unseen_book-0880.wav")
    assert (rate, sound.size, sound.max()) == (16000, 8000, pytest.approx(0.25, abs=1e-3))
    words.unlink()
    word_sets.write_sets(tmp_path, path)
    assert not words.exists()


def test_sources_that_are_missing(
    tmp_path: Path, sentences_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sentences_folder / "transcription").unlink()
    with pytest.raises(ClickException, match="apt-get install pocketsphinx-testdata"):
        list(word_sets.sentences())
    path = tmp_path / "queen.1c"
    with pytest.raises(ClickException, match="apt-get install flight-of-the-amazon-queen"):
        line_texts(path)
    pytest.importorskip("pyworld")
    path.write_bytes(archive({"040009P2.SB": tone(300)}))
    monkeypatch.setattr(queen_lists, "listed", lambda name: ("040009P2",))
    with pytest.raises(ClickException, match="another edition, with another line 040009P2"):
        list(word_sets.game_lines("decision", path))
