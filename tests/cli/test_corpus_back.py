"""``fcs-edge corpus decode``, ``stats`` and ``check``."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from corpus_cases import SerialEngine
from dataset_cases import error_row, sound_row, store
from fcs_edge import Codec
from helpers import COMMAND

pytest.importorskip("pyarrow")


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode without workers; `tests/corpus/test_decoding.py` has some."""
    monkeypatch.setattr("fcs_edge.corpus.decoding._local_engine", lambda _: SerialEngine())


@pytest.fixture(scope="module")
def model(golden: Callable[[str], Any]) -> Path:
    path: Path = golden("tiny").model
    return path


@pytest.fixture(scope="module")
def rows(
    tiny: Codec, speech: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("sounds")
    parts = [speech[at : at + 8000 + at // 9] for at in range(0, 80000, 20000)]
    return [
        sound_row(tiny, folder / f"{n}.wav", f"s/{n}.flac", part) for n, part in enumerate(parts)
    ]


@pytest.fixture(scope="module")
def dataset(
    tiny: Codec, rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return store(tiny, tmp_path_factory.mktemp("dataset") / "tokens", [rows[:2], rows[2:]])


@pytest.fixture(scope="module")
def with_errors(
    tiny: Codec, rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    bad = error_row("bad\x1b[31m.wav", "holds no sound")
    return store(tiny, tmp_path_factory.mktemp("errors") / "tokens", [[rows[0], bad]])


def test_decode_writes_all_rows_and_then_leaves_them(
    run: Callable[..., Any], dataset: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sound"
    result = run("corpus", "decode", dataset, out, "-m", model, "--workers", 1)
    assert (result.code, result.out) == (0, "")
    assert "4 files, " in result.err
    assert {p.name for p in (out / "s").iterdir()} == {f"{n}.wav" for n in range(4)}
    again = run("corpus", "decode", dataset, out, "-m", model)
    assert again.code == 0
    assert "0 files, 0 s of sound; 4 files existed and stay" in again.err


def test_decode_chosen_ids(
    run: Callable[..., Any],
    dataset: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "sound"
    options = ("-m", model, "--workers", 1, "-q")
    (tmp_path / "ids.txt").write_bytes(b"\xef\xbb\xbfs/1.flac\r\n\r\ns/2.flac\n")
    chosen = ("--ids", tmp_path / "ids.txt", "--id", "s/0.flac")
    result = run("corpus", "decode", dataset, out, *chosen, "--format", "flac", *options)
    assert (result.code, result.err) == (0, "")
    assert {p.name for p in (out / "s").iterdir()} == {"0.flac", "1.flac", "2.flac"}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"s/3.flac\n")))
    result = run("corpus", "decode", dataset, tmp_path / "piped", "--ids", "-", *options)
    assert result.code == 0
    assert {p.name for p in (tmp_path / "piped/s").iterdir()} == {"3.wav"}


def test_decode_says_what_has_no_sound(
    run: Callable[..., Any], with_errors: Path, model: Path, tmp_path: Path
) -> None:
    result = run("corpus", "decode", with_errors, tmp_path / "sound", "-m", model)
    assert result.code == 1
    assert "1 row without tokens" in result.err
    assert "1 file, " in result.err


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        (("--id", "none"), 1, "none: no row of the dataset has this id"),
        (("--ids", "missing.txt"), 1, "missing.txt: No such file or directory"),
        (("--format", "mp3"), 2, "'mp3' is not one of"),
        (("--workers", "0"), 2, "0 is not in the range"),
        (("--topk", "3"), 2, "--topk and --any-voice are for --voice only"),
        (("--voice", "none.voice"), 1, "none.voice"),
    ],
)
def test_decode_refuses_in_one_line(
    options: tuple[str, ...],
    code: int,
    expected: str,
    run: Callable[..., Any],
    dataset: Path,
    model: Path,
    tmp_path: Path,
) -> None:
    result = run("corpus", "decode", dataset, tmp_path / "sound", "-m", model, *options)
    assert expected in result.failed(code)
    assert not (tmp_path / "sound").exists()


def test_lists_that_are_none(
    run: Callable[..., Any], dataset: Path, model: Path, tmp_path: Path
) -> None:
    for data, expected in ((b"", "holds no id"), (b"\xff\xfe\0", "it is not UTF-8")):
        (tmp_path / "ids.txt").write_bytes(data)
        chosen = ("--ids", tmp_path / "ids.txt", "-m", model)
        result = run("corpus", "decode", dataset, tmp_path / "sound", *chosen)
        assert expected in result.failed()


def test_the_model_is_the_datasets_and_another_is_refused(
    run: Callable[..., Any], dataset: Path, golden: Callable[[str], Any], tmp_path: Path
) -> None:
    other = golden("options").model
    result = run("corpus", "decode", dataset, tmp_path / "sound", "-m", other)
    assert "encoded with another model" in result.failed()
    result = run("corpus", "decode", dataset, tmp_path / "sound")
    assert "encoded with another model" in result.failed()


@pytest.mark.parametrize("command", ["decode", "stats", "check"])
def test_what_is_no_dataset_is_one_line(
    command: str, run: Callable[..., Any], tmp_path: Path
) -> None:
    out = (tmp_path / "sound",) if command == "decode" else ()
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"text")
    for name in ("none", "empty", "file"):
        line = run("corpus", command, tmp_path / name, *out).failed()
        assert str(tmp_path / name) in line


def test_stats_as_a_table(run: Callable[..., Any], dataset: Path, model: Path) -> None:
    result = run("corpus", "stats", dataset, "-m", model)
    assert (result.code, result.err) == (0, "")
    for text in ("4 in 2 shards; 0 without tokens, 0 cut", "perplexity", "16000 Hz", "silence"):
        assert text in result.out


def test_stats_without_the_model(run: Callable[..., Any], with_errors: Path) -> None:
    result = run("corpus", "stats", with_errors)
    assert result.code == 0
    assert "not known: no model here" in " ".join(result.out.split())
    assert "1 x holds no sound" in result.out


def test_stats_as_json(run: Callable[..., Any], dataset: Path, model: Path, tmp_path: Path) -> None:
    result = run("corpus", "stats", dataset, "-m", model, "--json", "-")
    assert result.code == 0
    facts = json.loads(result.out)
    assert facts["files"] == 4
    path = tmp_path / "stats.json"
    shown = run("corpus", "stats", dataset, "-m", model, "--json", path)
    assert json.loads(path.read_text()) == facts
    assert "4 in 2 shards" in shown.out
    assert "exists already" in run("corpus", "stats", dataset, "--json", path).failed()
    assert run("corpus", "stats", dataset, "--json", path, "-f").code == 0


@pytest.mark.parametrize("which", ["dataset", "with_errors"])
def test_stats_as_a_picture(
    which: str, run: Callable[..., Any], model: Path, tmp_path: Path, request: Any
) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "stats.png"
    folder = request.getfixturevalue(which)
    assert run("corpus", "stats", folder, "-m", model, "--plot", path).code == 0
    from matplotlib.image import imread

    pixels = imread(path)
    assert pixels.shape[:2] == (1275, 2100)
    # Each of the six panels has something in it.
    for row in np.array_split(pixels[140:], 2):
        for panel in np.array_split(row, 3, axis=1):
            assert panel[..., :3].std() > 0.05


def test_a_picture_of_no_tokens(run: Callable[..., Any], tiny: Codec, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    bad = [error_row(f"{n}.wav", "holds $no$ sound \x1b[2J") for n in range(3)]
    folder = store(tiny, tmp_path / "tokens", [bad])
    result = run("corpus", "stats", folder, "--plot", tmp_path / "stats.png")
    assert result.code == 0
    assert "3 x holds $no$ sound \\x1b[2J" in result.out


def test_a_picture_has_a_pngs_name(run: Callable[..., Any], dataset: Path, tmp_path: Path) -> None:
    result = run("corpus", "stats", dataset, "--plot", tmp_path / "stats.svg")
    assert "must end in .png" in result.failed(2)


def test_check_says_that_all_is_whole(run: Callable[..., Any], dataset: Path, model: Path) -> None:
    result = run("corpus", "check", dataset, "--sources", "--again", 2, "-m", model)
    assert (result.code, result.out) == (0, "")
    assert "2 shards; 4 sources looked at; 2 rows encoded anew, 0 differ: no fault" in result.err


def test_check_prints_a_line_for_each_fault(
    run: Callable[..., Any], tiny: Codec, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    wrong = [{**rows[0], "id": f"{n}\x1b.wav", "channels": 0} for n in range(25)]
    folder = store(tiny, tmp_path / "tokens", [wrong])
    result = run("corpus", "check", folder)
    assert result.code == 1
    lines = result.out.splitlines()
    assert len(lines) == 21
    assert lines[0] == "data/0000000000000000.parquet: 0\\x1b.wav: its channels is 0"
    assert lines[-1] == "and 5 more: its channels is N"
    assert "25 faults" in result.err


def test_check_refuses_options_without_effect(run: Callable[..., Any], dataset: Path) -> None:
    assert "--seed is for --again only" in run("corpus", "check", dataset, "--seed", 1).failed(2)


@pytest.mark.parametrize("command", ["decode", "check"])
def test_ctrl_c_at_the_start_has_the_exit_code_of_interrupts(
    command: str, run: Callable[..., Any], dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fcs_edge.corpus.decoding.open_storage", interrupted, raising=False)
    monkeypatch.setattr("fcs_edge.corpus.checking.open_storage", interrupted, raising=False)
    monkeypatch.setattr("fcs_edge.corpus.dataset.open_storage", interrupted, raising=False)
    assert run("corpus", command, dataset, *(["out"] if command == "decode" else [])).code == 130


def test_ctrl_c_leaves_whole_files_and_no_process(
    tiny: Codec, speech: NDArray[np.float32], model: Path, tmp_path: Path
) -> None:
    row = sound_row(tiny, tmp_path / "s.wav", "0", np.tile(speech, 4))
    folder = store(tiny, tmp_path / "tokens", [[{**row, "id": f"{n}"} for n in range(200)]])
    out = tmp_path / "sound"
    arguments = ["corpus", "decode", folder, out, "-m", model, "--workers", 1]
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, start_new_session=True
    ) as child:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not list(out.glob("*.wav")):
            time.sleep(0.02)
        os.killpg(child.pid, signal.SIGINT)
        _, errors = child.communicate(timeout=30)
    assert child.returncode == 130
    assert b"interrupted; the same command goes on where it stopped" in errors
    assert b"Traceback" not in errors
    files = list(out.iterdir())
    assert 0 < len(files) < 200
    assert len({file.stat().st_size for file in files}) == 1
    assert not [file for file in files if file.name.startswith(".")]
