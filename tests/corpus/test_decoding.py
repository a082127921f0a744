"""Rows of a dataset back to sound files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import ReferenceType, ref

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from voice_cases import drawn_voice

import fcs_edge
from corpus_cases import SerialEngine
from dataset_cases import error_row, sound_row, store
from fcs_edge import Codec, CorpusError, FcsError
from fcs_edge.corpus import Decoded, Watcher, decode
from fcs_edge.corpus.job import Job, OnReport, Outcome, Recipe, Report
from fcs_edge.tokens.npz import NpzWriter, origin_of

pytest.importorskip("pyarrow")

IDS = ("a/one.wav", "a/two.flac", "b/three.mp3", "four.wav")


@pytest.fixture(scope="module")
def rows(
    tiny: Codec, speech: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("sounds")
    sizes = (4000, 16000, 7777, 1)
    return [
        sound_row(tiny, folder / f"{n}.wav", id, speech[20000 : 20000 + size])
        for n, (id, size) in enumerate(zip(IDS, sizes, strict=True))
    ]


@pytest.fixture(scope="module")
def dataset(
    tiny: Codec, rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return store(tiny, tmp_path_factory.mktemp("dataset") / "tokens", [rows[:3], rows[3:]])


@pytest.fixture
def run(model: Path) -> Callable[..., Decoded]:
    """Return `decode` with the tiny model, in this process."""

    def call(dataset: Path, out: Path, **options: Any) -> Decoded:
        return decode(dataset, out, **{"model": model, "engine": SerialEngine(), **options})

    return call


def files_of(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_sound_equals_that_of_the_same_tokens_as_a_file(
    suffix: str,
    run: Callable[..., Decoded],
    dataset: Path,
    rows: list[dict[str, Any]],
    tiny: Codec,
    tmp_path: Path,
) -> None:
    done = run(dataset, tmp_path / "sound", suffix=suffix)
    assert (done.files, done.existing, done.exit_code) == (4, 0, 0)
    found = files_of(tmp_path / "sound")
    assert len(found) == 4
    for row in rows:
        with (tmp_path / "tokens.npz").open("wb") as file:
            NpzWriter(file, origin_of(tiny)).close(row["n_samples"], row["tokens"])
        expected = tmp_path / f"expected{suffix}"
        fcs_edge.decode_file(tmp_path / "tokens.npz", expected, tiny, force=True)
        name = str(Path(row["id"]).with_suffix(suffix))
        if suffix != ".ogg":
            assert found[name] == expected.read_bytes(), name
        else:
            # Each Ogg file has a serial number of its own.
            sound, _ = soundfile.read(tmp_path / "sound" / name)
            assert np.array_equal(sound, soundfile.read(expected)[0]), name


def test_seconds_are_those_of_the_sound(
    run: Callable[..., Decoded], dataset: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    seconds = sum(row["n_samples"] for row in rows) / 16000
    assert run(dataset, tmp_path / "sound").seconds == pytest.approx(seconds)


def test_files_that_exist_stay_unless_forced(
    run: Callable[..., Decoded], dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sound"
    run(dataset, out)
    whole = files_of(out)
    (out / "a/one.wav").write_bytes(b"mine")
    (out / "four.wav").unlink()
    done = run(dataset, out)
    assert (done.files, done.existing, done.exit_code) == (1, 3, 0)
    assert files_of(out) == {**whole, "a/one.wav": b"mine"}
    assert run(dataset, out, force=True).files == 4
    assert files_of(out) == whole


def test_chosen_ids_alone(run: Callable[..., Decoded], dataset: Path, tmp_path: Path) -> None:
    done = run(dataset, tmp_path / "sound", ids=["four.wav", "a/two.flac"])
    assert done.files == 2
    assert set(files_of(tmp_path / "sound")) == {"four.wav", "a/two.wav"}


def test_an_unknown_id_is_named_before_any_work(
    run: Callable[..., Decoded], dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(CorpusError, match=r"^five: no row .* nor 1 more"):
        run(dataset, tmp_path / "sound", ids=["four.wav", "six", "five"])
    assert not (tmp_path / "sound").exists()


def test_two_rows_of_one_file_are_refused(
    run: Callable[..., Decoded], tiny: Codec, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    both = [{**rows[0], "id": "x.wav"}, {**rows[1], "id": "x.flac"}]
    folder = store(tiny, tmp_path / "tokens", [both[:1], both[1:]])
    with pytest.raises(CorpusError, match=r"x\.wav and x\.flac would both be x\.wav; --keep-s"):
        run(folder, tmp_path / "sound")
    assert not (tmp_path / "sound").exists()
    assert run(folder, tmp_path / "sound", keep_suffix=True).files == 2
    assert set(files_of(tmp_path / "sound")) == {"x.wav.wav", "x.flac.wav"}


def test_rows_without_tokens_are_counted(
    run: Callable[..., Decoded], tiny: Codec, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    mixed = [rows[3], error_row("bad.wav", "holds no sound")]
    done = run(store(tiny, tmp_path / "tokens", [mixed]), tmp_path / "sound")
    assert (done.files, done.without_tokens, done.n_failed, done.exit_code) == (1, 1, 0, 1)


def test_hostile_ids_stay_below_the_folder(
    run: Callable[..., Decoded], tiny: Codec, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    ids = ("../out.wav", "/tmp/out.wav", "a/../../../b", ".", "", "y" * 300, "line\nbreak")
    hostile = [{**rows[3], "id": id} for id in ids]
    out = tmp_path / "deep" / "sound"
    done = run(store(tiny, tmp_path / "tokens", [hostile]), out)
    assert done.files == len(ids)
    assert len(files_of(out)) == len(ids)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["sound"]


def test_a_row_that_cannot_be_decoded_leaves_the_others(
    run: Callable[..., Decoded], tiny: Codec, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    highest = np.full(rows[0]["tokens"].size, (1 << tiny.bits_per_token) - 1, np.uint16)
    wrong = {**rows[0], "tokens": highest + np.uint16(1)}
    short = {**rows[1], "tokens": rows[1]["tokens"][:-2]}
    unknown = {**rows[3], "n_samples": None}
    folder = store(tiny, tmp_path / "tokens", [[wrong, short, rows[2], unknown]])
    done = run(folder, tmp_path / "sound")
    assert (done.files, done.n_failed, done.exit_code) == (1, 3, 1)
    reasons = dict(done.failed)
    assert f"the model's are 0 to {highest[0]}" in reasons["a/one.wav"]
    assert "2 of the" in reasons["a/two.flac"]
    assert reasons[rows[3]["id"]] == "its n_samples is None"
    assert set(files_of(tmp_path / "sound")) == {"b/three.wav"}


def test_tokens_of_another_model_are_refused(
    run: Callable[..., Decoded], golden: Callable[[str], Any], dataset: Path, tmp_path: Path
) -> None:
    other = golden("options").model
    with pytest.raises(FcsError, match="another model"):
        run(dataset, tmp_path / "sound", model=other)
    assert not (tmp_path / "sound").exists()


def test_a_voice(
    run: Callable[..., Decoded],
    tiny: Codec,
    rows: list[dict[str, Any]],
    dataset: Path,
    tmp_path: Path,
) -> None:
    voice = drawn_voice(tiny, 40)
    voice.save(tmp_path / "anna.voice")
    found = run(dataset, tmp_path / "sound", voice=tmp_path / "anna.voice", ids=["a/two.flac"])
    assert found.files == 1
    with (tmp_path / "tokens.npz").open("wb") as file:
        NpzWriter(file, origin_of(tiny)).close(rows[1]["n_samples"], rows[1]["tokens"])
    fcs_edge.decode_file(tmp_path / "tokens.npz", tmp_path / "expected.wav", tiny, voice=voice)
    expected = (tmp_path / "expected.wav").read_bytes()
    assert files_of(tmp_path / "sound") == {"a/two.wav": expected}


class _Interrupting(Watcher):
    """Ends the run as Ctrl-C does, once a row is decoded."""

    def report(self, report: Report) -> None:
        if report.kind == "done":
            raise KeyboardInterrupt


def test_ctrl_c_leaves_whole_files_and_the_next_run_goes_on(
    run: Callable[..., Decoded], dataset: Path, tmp_path: Path
) -> None:
    done = run(dataset, tmp_path / "sound", watcher=_Interrupting())
    assert (done.interrupted, done.exit_code) == (True, 130)
    assert len(files_of(tmp_path / "sound")) == 1
    again = run(dataset, tmp_path / "sound")
    assert (again.files, again.existing, again.exit_code) == (3, 1, 0)
    run(dataset, tmp_path / "whole")
    assert files_of(tmp_path / "sound") == files_of(tmp_path / "whole")


class _Remembering(SerialEngine):
    """Notes how many jobs are in memory as each begins."""

    def __init__(self) -> None:
        super().__init__()
        self.n_alive: list[int] = []
        self._jobs: list[ReferenceType[Job]] = []

    def run(self, jobs: Iterator[Job], recipe: Recipe, on_report: OnReport) -> Iterator[Outcome]:
        return super().run(map(self._noted, jobs), recipe, on_report)

    def _noted(self, job: Job) -> Job:
        self._jobs.append(ref(job))
        self.n_alive.append(sum(job() is not None for job in self._jobs))
        return job


def test_jobs_that_are_done_are_forgotten(
    run: Callable[..., Decoded], tiny: Codec, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    engine = _Remembering()
    folder = store(tiny, tmp_path / "tokens", [[row] for row in rows])
    run(folder, tmp_path / "sound", engine=engine)
    assert len(engine.n_alive) == 4
    assert max(engine.n_alive) <= 2


def test_processes_write_the_same_files(
    run: Callable[..., Decoded], dataset: Path, model: Path, tmp_path: Path
) -> None:
    run(dataset, tmp_path / "here")
    done = decode(dataset, tmp_path / "there", model=model, workers=2)
    assert done.files == 4
    assert files_of(tmp_path / "there") == files_of(tmp_path / "here")


def test_an_out_in_the_dataset_is_refused(run: Callable[..., Decoded], dataset: Path) -> None:
    for out in (dataset, dataset / "data"):
        with pytest.raises(CorpusError, match="is in the dataset"):
            run(dataset, out)


def test_an_out_that_is_a_file_is_one_line(
    run: Callable[..., Decoded], dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "sound").write_bytes(b"mine")
    with pytest.raises(CorpusError, match="sound: "):
        run(dataset, tmp_path / "sound")


def test_a_folder_in_a_files_place_is_that_rows_failure(
    run: Callable[..., Decoded], dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "sound/four.wav").mkdir(parents=True)
    done = run(dataset, tmp_path / "sound", force=True)
    assert (done.files, done.n_failed) == (3, 1)
    assert done.failed[0][0] == "four.wav"


def test_a_damaged_shard_is_one_line(
    run: Callable[..., Decoded], tiny: Codec, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    folder = store(tiny, tmp_path / "tokens", [rows])
    (shard,) = (folder / "data").iterdir()
    shard.write_bytes(shard.read_bytes()[:-40])
    with pytest.raises(CorpusError, match=shard.name) as caught:
        run(folder, tmp_path / "sound")
    assert "\n" not in str(caught.value)
