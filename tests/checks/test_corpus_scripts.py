"""The scripts that make a corpus and measure it, on a few files."""

from __future__ import annotations

import json
import tarfile
import warnings
from pathlib import Path

import make_corpus
import measure_corpus
import numpy as np
import pytest

import fcs_edge


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """34 files, of which every second one is bad: in all ways."""
    out = tmp_path_factory.mktemp("corpus")
    make_corpus.make(out, files=34, seed=3, bad=50, longest=2)
    return out


def test_the_same_seed_makes_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    make_corpus.make(tmp_path, files=34, seed=3, bad=50, longest=2)
    assert contents(tmp_path) == contents(corpus)
    times = {path.stat().st_mtime_ns for path in (corpus / "sound").rglob("*.*")}
    assert len(times) == 1


def test_another_seed_makes_other_sounds() -> None:
    files = [make_corpus.Maker(seed, 1).good(np.random.default_rng(seed)) for seed in (1, 2)]
    assert files[0].data != files[1].data


def test_each_bad_file_is_what_expected_json_states(corpus: Path) -> None:
    """Read as `encode_file` does: an error, a warning of what is missing, or neither."""
    expected = json.loads((corpus / "expected.json").read_text())
    assert sum(row["state"] != "good" for row in expected.values()) >= 13
    for name, row in expected.items():
        if row["state"] != "any":
            assert state_of(corpus / name, row["what"]) == row["state"], (name, row)


def state_of(path: Path, what: str) -> str:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        try:
            fcs_edge.read_audio(path)
        except (fcs_edge.AudioError, OSError):
            return "error"
    return "cut" if found and what != "has NaN" else "good"


def test_archives_and_manifests(corpus: Path) -> None:
    with tarfile.open(corpus / "tars/000.tar") as tar:
        names = tar.getnames()
    assert len(names) == 6
    assert names[1] == "000000.json"
    manifests = corpus / "manifests"
    assert {path.name for path in manifests.iterdir()} == {
        *("nemo.jsonl", "cuts.jsonl", "files.csv", "files.tsv", "wav.scp")
    }
    rows = [json.loads(line) for line in (manifests / "nemo.jsonl").read_text().splitlines()]
    there = [(manifests / row["audio_filepath"]).exists() for row in rows]
    assert there.count(False) == 1
    assert (manifests / "files.csv").read_bytes().startswith(b"\xef\xbb\xbfid,path\r\n")


def test_figures_of_a_few_files(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow")
    figures = tmp_path / "figures.json"
    arguments = [str(corpus / "sound"), "--work", str(tmp_path), "--json", str(figures)]
    numbers = ["--rounds", "1", "--paths", "2000"]
    measure_corpus.main([*arguments, *numbers, "--parts", "overhead,rows,scan"])
    facts = json.loads(figures.read_text())
    assert facts["files"] == 34
    assert facts["paths"] == 2000
    assert facts["corpus_cpu_a_file"]["median"] > facts["alone_cpu_a_file"]["median"] > 0
    assert 1 < facts["bytes_a_token"] < 200
    assert "| bytes_a_token |" in capsys.readouterr().out


def test_short_sounds_have_many_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more of them than a file system allows."""
    monkeypatch.setattr(measure_corpus, "_LINKS", 3)
    measure_corpus.link_files(tmp_path / "a", 7)
    links = [path.stat().st_nlink for path in measure_corpus.sounds(tmp_path)]
    assert links == [3, 3, 3, 3, 3, 3, 1]
