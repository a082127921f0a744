"""The reader of the game that actors' lines are taken from, on an archive of the same form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click import ClickException

from queen_cases import archive, tone
from train.corpus import amazon_queen
from train.corpus.held_out_text import ADVENTURE_LINES


def test_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "queen.1c"
    pitches = {name: 200.0 + 20 * i for i, name in enumerate(ADVENTURE_LINES)}
    files = {f"{name}.SB": tone(hz) for name, hz in pitches.items()}
    path.write_bytes(archive({"QUEEN.TXT": b"text"} | files))
    read = list(amazon_queen.lines(path))
    assert [name for name, _, _ in read] == list(ADVENTURE_LINES)
    for name, sound, rate in read:
        assert rate == 11025
        spectrum = np.abs(np.fft.rfft(sound[3000:8512] * np.hanning(5512)))
        assert abs(np.argmax(spectrum) * 2 - pitches[name]) <= 2


def test_lines_spread_over_the_game(tmp_path: Path) -> None:
    path = tmp_path / "queen.1c"
    others = {f"{number:06d}P1.SB": tone(300.0) for number in range(7)}
    files = {f"{ADVENTURE_LINES[0]}.SB": tone(200.0), "000002P1.SB": b"no sound"}
    path.write_bytes(archive({"QUEEN.TXT": b"text"} | others | files))
    read = list(amazon_queen.spread_lines(4, path))
    assert len(read) == 4
    assert all(rate == 11025 and len(sound) >= rate for sound, rate in read)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"RIFF" + bytes(100), "no QTBL"),
        (archive({"A.SB": b"x"}, packed=0), "not MP3"),
        (archive({"A.SB": b"x", "B.SB": b"y"})[:30], "truncated"),
        (archive({"A.SB": b"x" * 9})[:-1], "it ends before"),
    ],
)
def test_another_archive(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "queen.1c"
    path.write_bytes(data)
    with pytest.raises(ClickException, match=message):
        amazon_queen.contents(path)
    with pytest.raises(ClickException, match="apt-get install"):
        next(amazon_queen.lines(tmp_path / "none"))


def test_another_edition(tmp_path: Path) -> None:
    path = tmp_path / "queen.1c"
    first, *others = ADVENTURE_LINES
    path.write_bytes(archive({f"{name}.SB": b"x" for name in others}))
    with pytest.raises(ClickException, match=f"without the line {first}"):
        next(amazon_queen.lines(path))
