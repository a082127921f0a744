"""Differences of two codecs on the same clips, with intervals and marks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from train.evaluation import differences, report

CLIPS = 40
TWO_BANDS = "periodic_2000_4000_10ms"
ROWS = "envelope_100hz"


def rows(codec: str, group: str = "s", **values: Any) -> list[dict[str, Any]]:
    base: list[dict[str, Any]] = [
        {"codec": codec, "set": group, "clip": f"{i}", "words": 1} for i in range(CLIPS)
    ]
    return [row | {key: value[i] for key, value in values.items()} for i, row in enumerate(base)]


def spread(mean: float, sd: float, seed: int) -> list[float]:
    values = np.random.default_rng(seed).normal(0, sd, CLIPS)
    return (values - values.mean() + mean).tolist()


def test_clips_are_paired() -> None:
    # What differs between clips is far larger than what differs between codecs.
    clips = np.array(spread(0.5, 0.2, 0))
    change = np.array(spread(0.01, 0.005, 1))
    found = differences.differences(
        rows("old", stoi=clips.tolist()) + rows("new", stoi=(clips + change).tolist()), "old"
    )["s"]["new"]["stoi"]
    assert found["mean"] == pytest.approx(0.01)
    half = 1.96 * change.std() / np.sqrt(CLIPS)
    assert found["low"] == pytest.approx(0.01 - half, abs=0.3 * half)
    assert found["high"] == pytest.approx(0.01 + half, abs=0.3 * half)
    assert (found["mark"], found["clips"]) == (report.BETTER, CLIPS)


def test_word_errors_weigh_by_words() -> None:
    words = [1] * (CLIPS - 1) + [61]
    old = rows("old", words=words, wer=[0.0] * CLIPS)
    new = rows("new", words=words, wer=[1.0] * (CLIPS - 1) + [0.0])
    found = differences.differences(old + new, "old")["s"]["new"]["wer"]
    assert found["mean"] == pytest.approx((CLIPS - 1) / 100)
    # The draws with the long clip several times, and without.
    assert found["low"] < 0.2
    assert found["high"] == 1


def test_marks() -> None:
    values = {
        "wer": (spread(0.1, 0.001, 0), report.WORSE),
        "pesq": (spread(-0.1, 0.01, 1), report.WORSE),
        TWO_BANDS: (spread(-0.2, 0.01, 2), report.BETTER),
        ROWS: (spread(-3, 0.3, 7), report.BETTER),
        "level": (spread(-1, 0.1, 3), differences.NEITHER),
        "periodic_2000_4000_10.5ms": (spread(0.1, 0.01, 4), differences.NEITHER),
        "cents": (spread(0.0, 1, 5), ""),
        "band_gain": (spread(0.0, 1, 6), ""),
    }
    old = rows("old", **{key: [0.0] * CLIPS for key in values})
    new = rows("new", **{key: value for key, (value, _) in values.items()})
    found = differences.differences(old + new, "old")["s"]["new"]
    assert {key: facts["mark"] for key, facts in found.items()} == {
        key: expected for key, (_, expected) in values.items()
    }


def test_missing_values_are_left_out_on_both_sides() -> None:
    half = CLIPS // 2
    old = rows("old", pesq=[1.0] * half + [None] * half, hiss=[None] * CLIPS)
    new = rows("new", pesq=[None] + [2.0] * (CLIPS - 1), hiss=[-30.0] * CLIPS)
    found = differences.differences(old + new + rows("more", "other", pesq=[1.0] * CLIPS), "old")
    assert found["s"]["new"]["pesq"]["clips"] == half - 1
    assert "hiss" not in found["s"]["new"]
    assert found["other"] == {"more": {}}


def save(path: Path, words: str = "go", by: str = "base", **codecs: float) -> Path:
    """Results of codecs, by their PESQ."""
    path.parent.mkdir(exist_ok=True)
    pesq = {name: [value + i / 100 for i in range(CLIPS)] for name, value in codecs.items()}
    clips = [{"set": "s", "clip": f"{i}", "words": words} for i in range(CLIPS)]
    of_all = [row for name, values in pesq.items() for row in rows(name, pesq=values)]
    results: dict[str, Any] = {
        "clips": clips,
        "codecs": {name: {} for name in codecs},
        "rows": of_all,
    }
    results["recogniser"] = by
    path.write_text(json.dumps(results))
    return path


def test_the_command_compares_results_of_several_files(tmp_path: Path) -> None:
    old = save(tmp_path / "old.json", edge=1.2, uncoded=4.6)
    new = save(tmp_path / "new.json", edge=1.5, uncoded=4.6)
    out = tmp_path / "below" / "d.json"
    call = [str(old), str(new), "--against", "edge", "--json", str(out)]
    done = CliRunner().invoke(differences.main, call)
    assert done.exit_code == 0, done.output
    assert "s: differences from edge, 40 clips" in done.output
    found = json.loads(out.read_text())["s"]
    # A codec that both files have, with the same figures, is there once.
    assert list(found) == ["uncoded", "edge (new)"]
    assert found["edge (new)"]["pesq"]["mean"] == pytest.approx(0.3)
    assert "+0.300 (+0.300 to +0.300)✓" in done.output
    done = CliRunner().invoke(differences.main, [*call[:4], "--codec", "edge (new)"])
    assert "uncoded" not in done.output


def test_files_of_the_same_name_stay_separate(tmp_path: Path) -> None:
    files = [save(tmp_path / f"{i}" / "r.json", edge=1.0 + i) for i in range(3)]
    found = differences.differences(differences.merge([*files, files[1]]), "edge")["s"]
    names = ["edge (r)", f"edge ({files[2]})"]
    assert {name: round(facts["pesq"]["mean"], 6) for name, facts in found.items()} == {
        names[0]: 1.0,
        names[1]: 2.0,
    }


def test_one_clip_has_no_interval_and_few_a_narrow_one(capsys: pytest.CaptureFixture[str]) -> None:
    old, new = (
        rows(name, pesq=[value] * CLIPS, level=[value] * CLIPS)
        for name, value in (("old", 1.0), ("new", 2.0))
    )
    for count, beyond in ((1, False), (2, True), (report.FEW_CLIPS, True)):
        found = differences.differences(old[:count] + new[:count], "old")
        marks = [facts["mark"] for facts in found["s"]["new"].values()]
        assert marks == ([report.BETTER, differences.NEITHER] if beyond else ["", ""])
        differences.show(found, "old", Console(width=120))
        shown = " ".join(capsys.readouterr().out.split())
        assert ("too narrow with so few" in shown) == (count < report.FEW_CLIPS)


def test_the_command_refuses_what_cannot_be_compared(tmp_path: Path) -> None:
    old, other = save(tmp_path / "a.json", edge=1.2), save(tmp_path / "b.json", "no", edge=1.2)
    quick = save(tmp_path / "q.json", by="tiny", edge=1.2)
    (tmp_path / "c.json").write_text("[1]")
    (tmp_path / "d.json").write_text("{")
    for call, message in (
        ([old, other, "--against", "edge"], "b.json: 0 has another text than in"),
        ([old, quick, "--against", "edge"], "q.json: its recogniser is tiny, that of"),
        ([old, "--against", "x"], "Error: no codec 'x': there are edge"),
        ([tmp_path / "c.json", "--against", "x"], "c.json: no results of the evaluation"),
        ([tmp_path / "d.json", "--against", "x"], "d.json: no results of the evaluation"),
    ):
        done = CliRunner().invoke(differences.main, [str(part) for part in call])
        assert done.exit_code == 1
        assert message in done.output.replace("\n", " ")
