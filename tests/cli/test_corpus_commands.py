"""``fcs-edge corpus encode``: what a user sees of it, with the work done in this process."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("pyarrow")

from corpus_cases import SerialEngine, tree, write_sound
from fcs_edge.corpus import driver
from fcs_edge.corpus import open as open_dataset

NAMES = ("a/one.wav", "a/two.flac", "b/three.ogg", "four.wav")


@pytest.fixture
def sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four sounds of 0.5 s in the current folder's folder speech, as users have them."""
    for seed, name in enumerate(NAMES):
        write_sound(tmp_path / "speech" / name, seed, seconds=0.5)
    monkeypatch.chdir(tmp_path)
    return Path("speech")


@pytest.fixture
def encode(run: Callable, golden: Callable, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Call the command with a tiny model; `workers` of the local engine work in this process."""
    monkeypatch.setattr(driver, "LocalEngine", lambda workers: SerialEngine())
    model = golden("tiny").model

    def call(*arguments: object) -> Any:
        return run("corpus", "encode", "-m", model, *arguments)

    return call


def test_a_folder_becomes_a_dataset(encode: Callable, sounds: Path) -> None:
    result = encode("speech/", "tokens/")
    assert (result.code, result.out) == (0, "")
    first, last = result.err.splitlines()[-2:]
    assert first.startswith("tokens/: 4 files, 2 s, 1")
    assert " tokens in 1 shard; " in first
    assert last == 'read it: datasets.load_dataset("tokens/"), or fcs_edge.corpus.open("tokens/")'
    tokens = open_dataset("tokens/")
    assert sorted(row["id"] for row in tokens.rows()) == sorted(NAMES)

    written = tree(Path("tokens"))
    again = encode("speech/", "tokens/")
    assert again.code == 0
    assert again.err.startswith("4 files in 1 shard are there already\n")
    assert "; nothing was left to encode (" in again.err
    assert tree(Path("tokens")) == written


def test_json_is_all_there_is_on_standard_output(encode: Callable, sounds: Path) -> None:
    result = encode("speech", "tokens", "--json", "-", "--quiet")
    assert (result.code, result.err) == (0, "")
    facts = json.loads(result.out)
    assert (facts["files"], facts["errors"], facts["cut"], facts["exit_code"]) == (4, 0, 0, 0)
    assert facts["hours"] == pytest.approx(4 * 0.5 / 3600)
    assert facts["tokens"] == sum(row["n_tokens"] for row in open_dataset("tokens").rows())
    assert facts["complete"] is True
    encode("speech", "tokens", "--json", "facts.json")
    assert json.loads(Path("facts.json").read_text())["shards_resumed"] == 1
    # The same command goes on, also where it writes its summary.
    assert encode("speech", "tokens", "--json", "facts.json").code == 0
    Path("facts.json").write_text("{}")
    assert "--force overwrites it" in encode("speech", "tokens", "--json", "facts.json").failed()


def test_errors_are_grouped_and_named_also_of_a_resumed_run(encode: Callable, sounds: Path) -> None:
    for number in range(3):
        (sounds / f"bad{number}.wav").write_bytes(b"")
    cut = (sounds / "four.wav").read_bytes()
    (sounds / "cut.wav").write_bytes(cut[:8000])
    for quiet in ((), ("--quiet",)):
        result = encode("speech", "tokens", *quiet)
        assert (result.code, result.out) == (1, "")
        lines = result.err.splitlines()
        at = lines.index(
            "fcs-edge: warning: 3 of 8 files failed, 1 is cut; tokens/_errors.tsv lists them"
        )
        assert lines[at + 1].startswith("  3 x not a readable sound file")
        assert lines[at + 1].endswith("(bad0.wav, the first)")
        assert lines[at + 2].startswith("  1 x cut: ")
        assert lines[at + 2].endswith("(cut.wav)")
    assert len(Path("tokens/_errors.tsv").read_text().splitlines()) == 5
    for number in range(3):
        (sounds / f"bad{number}.wav").unlink()
    (sounds / "cut.wav").unlink()
    repaired = encode("speech", "tokens")
    assert repaired.code == 0
    assert "1 shard of other inputs or settings was moved to tokens/stale; " in repaired.err
    assert len(list(Path("tokens/stale").iterdir())) == 1
    pruned = encode("speech/a", "tokens", "--prune")
    assert "1 shard of other inputs or settings was deleted" in pruned.err
    assert not list(Path("tokens/stale").glob("*"))


def test_retry_errors_takes_a_repaired_file(encode: Callable, sounds: Path) -> None:
    (sounds / "locked.wav").symlink_to("nowhere.wav")
    assert encode("speech", "tokens").code == 1
    assert encode("speech", "tokens", "--retry-errors").code == 1
    assert len(open_dataset("tokens")) == 4


def test_a_dry_run_writes_nothing(encode: Callable, sounds: Path) -> None:
    before = tree(Path())
    result = encode("--dry-run", "--json", "-", "speech", "tokens")
    assert result.code == 0
    first, second, third = result.err.splitlines()
    assert first.startswith("4 files, ")
    assert "in 1 shard" in first
    assert second.startswith("2 s of it, from 4 files, were encoded: ")
    assert third.startswith("all of it: about 0 s on 1 worker, and ")
    assert third.endswith(" on disk; nothing is written")
    facts = json.loads(result.out)
    # The bytes of FLAC and Ogg do not say how long they are; what was encoded does.
    assert facts["hours"] == pytest.approx(2 / 3600, rel=0.01)
    encode("speech", "tokens")
    size = sum(path.stat().st_size for path in Path("tokens/data").iterdir())
    assert facts["dataset_bytes"] == pytest.approx(size, rel=0.1)
    (sounds / "bad.wav").write_bytes(b"x" * 99)
    result = encode("--dry-run", "speech/bad.wav", "other")
    assert "1 of 1 file that were tried failed" in result.err
    assert "nothing is known" in result.err
    line = encode("--dry-run", "--channel", "1", "speech", "tokens").failed()
    assert "holds tokens of the channel mean, and this run has the channel 1" in line
    assert "and no dataset; give a new folder" in encode("--dry-run", "tokens", "speech").failed()
    assert set(tree(Path())) - set(before) <= {
        *(f"tokens/{name}" for name in tree(Path("tokens"))),
        "speech/bad.wav",
    }


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("speech",), "Missing argument 'OUT': give IN, one or more, and then OUT."),
        ((), "Missing argument 'OUT'"),
        (("speech", "-"), "it cannot be standard output"),
        (("-0", "speech", "out"), "--null is for an IN of - only"),
        (("--keep-text", "speech", "out"), "--keep-text is for an IN that is a list with columns"),
        (("--mixed-cpus", "speech", "out"), "--mixed-cpus is for --engine dask only"),
        (("--engine", "dask", "--workers", "2", "a", "b"), "--workers is for --engine local only"),
        (("--engine", "ray", "a", "b"), "'ray' is not local, dask or dask://HOST:PORT"),
        (
            ("--engine", "dask://host", "a", "b"),
            "'dask://host' is not local, dask or dask://HOST:P",
        ),
        (("--also", "npy", "a", "b"), "'npy' is not one of"),
        (("--shard-rows", "0", "a", "b"), "0 is not in the range"),
        (("--shard-hours", "nan", "a", "b"), "is not a number"),
        (("--window", "30", "speech", "out"), "--window is for models that need the whole sound"),
        (("--exact", "--window", "30", "a", "b"), "give one"),
    ],
)
def test_wrong_calls_are_one_line(
    arguments: tuple[str, ...], problem: str, encode: Callable, sounds: Path
) -> None:
    assert problem in encode(*arguments).failed(2)
    assert sorted(path.name for path in Path().iterdir()) == ["speech"]


def test_failures_are_one_line_and_leave_nothing(encode: Callable, sounds: Path) -> None:
    assert "nowhere: no such file" in encode("nowhere", "out").failed()
    assert "speech: holds a, and no dataset; give a new folder" in encode("x", "speech").failed()
    assert "is a file" in encode("speech", "speech/four.wav").failed()
    assert sorted(path.name for path in Path().iterdir()) == ["speech"]
    encode("speech", "tokens")
    assert "--force" in encode("--channel", "1", "speech", "tokens").failed()


def test_paths_on_standard_input(
    encode: Callable, sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for data, options in ((b"speech/four.wav\n", ()), (b"speech/four.wav\0", ("-0",))):
        names = SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False)
        monkeypatch.setattr(sys, "stdin", names)
        assert encode("-", *options, f"tokens{len(options)}").code == 0
        assert len(open_dataset(f"tokens{len(options)}")) == 1
    terminal = SimpleNamespace(buffer=io.BytesIO(), isatty=lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    assert "standard input is a terminal" in encode("-", "other").failed(2)


def test_ctrl_c_twice_says_how_to_go_on(
    encode: Callable, sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: object) -> Any:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(driver.Driver, "shards", interrupted)
    result = encode("speech", "tokens")
    assert (result.code, result.out) == (130, "")
    assert result.err == (
        "fcs-edge: warning: interrupted; what is complete stays, and the same command continues\n"
    )


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_ctrl_c_before_the_run_has_the_same_exit_code(
    options: tuple[str, ...], encode: Callable, sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object, **others: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fcs_edge.load", interrupted)
    result = encode(*options, "speech", "tokens")
    assert (result.code, result.out) == (130, "")
    assert "interrupted" in result.err


def test_ctrl_c_once_ends_after_the_running_shards(
    encode: Callable, sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first_only(self: SerialEngine, *arguments: Any) -> Any:
        for outcome in run_all(self, *arguments):
            yield outcome
            return

    run_all = SerialEngine.run
    monkeypatch.setattr(SerialEngine, "run", first_only)
    taken = driver.Driver._take

    def take(self: driver.Driver, outcome: Any) -> bool:
        self.interrupted = True
        return taken(self, outcome)

    monkeypatch.setattr(driver.Driver, "_take", take)
    result = encode("--shard-rows", "1", "speech", "tokens")
    assert result.code == 130
    assert "1 file, 0 s, " in result.err or "1 file, 1 s, " in result.err
    assert " in 1 of " in result.err
    assert "read it" not in result.err
    assert not Path("tokens/dataset.json").exists()


def test_libraries_are_required_before_any_scan(
    encode: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    line = encode("nowhere", "out").failed()
    assert line.endswith("fcs-edge corpus needs pyarrow: pip install pyarrow")
    monkeypatch.undo()
    pytest.importorskip("distributed")
    monkeypatch.setitem(sys.modules, "distributed", None)
    line = encode("--engine", "dask", "nowhere", "out").failed()
    assert line.endswith("--engine dask needs distributed: pip install distributed")


def test_too_few_shards_for_the_workers_are_mentioned(
    encode: Callable, sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SerialEngine, "workers", 4)
    monkeypatch.setattr("fcs_edge.cli.ui.corpus_progress._WORTH_HOURS", 1e-5)
    line = encode("speech", "tokens").err.splitlines()[0]
    assert re.fullmatch(r"1 shard for 4 workers; --shard-hours [\de.-]+ gives work to all", line)


def test_options_reach_the_run(
    encode: Callable, sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []

    def called(inputs: Any, out: str, **options: Any) -> Any:
        calls.append(options)
        raise KeyboardInterrupt

    monkeypatch.setattr("fcs_edge.corpus.run.encode", called)
    given = ["--workers", "3", "--root", ".", "--also", "npz", "--also", "fcs", "--strict"]
    given += ["--shard-rows", "7", "--shard-hours", "0.5", "--file-timeout", "9", "--prune"]
    given += ["--channel", "2", "--resampler", "torchaudio", "--retry-errors", "--force"]
    assert encode(*given, "speech", "tokens").code == 130
    (options,) = calls
    del options["watcher"], options["model"]
    assert options == {
        **{"workers": 3, "engine": "local", "root": ".", "nul": False, "keep_text": False},
        **{"also": ("npz", "fcs"), "retry_errors": True, "strict": True, "shard_rows": 7},
        **{"shard_hours": 0.5, "file_timeout": 9.0, "activations": None, "channel": 2},
        **{"resampler": "torchaudio", "mixed_cpus": False, "prune": True, "force": True},
        **{"exact": False, "window": None, "overlap": None},
    }
