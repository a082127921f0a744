"""Runs that are interrupted, ended or killed: nothing is lost, doubled, half-written or left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hostile_worker
from corpus_cases import children, ended, tree, wait_until, write_sound
from fcs_edge import signals
from fcs_edge.corpus.job import Report
from fcs_edge.corpus.run import Run
from fcs_edge.corpus.watcher import Watcher

Encode = Callable[..., Run]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return four sounds, the first of which a hostile worker waits at."""
    for seed, name in enumerate(("a.wait.wav", "b.wav", "c.wav", "d.wav")):
        write_sound(tmp_path / "sounds" / name, seed)
    return tmp_path / "sounds"


class Interrupter(Watcher):
    """Sends this process signals when the first file begins; then that file may end."""

    def __init__(self, marks: Path, *numbers: int) -> None:
        self.marks = marks
        self.numbers = numbers
        self.stops: list[int] = []

    def report(self, report: Report) -> None:
        numbers, self.numbers = self.numbers, ()
        for number in numbers:
            signal.raise_signal(number)
        (self.marks / "go").touch()

    def stopping(self, n_running: int, seconds: float | None) -> None:
        self.stops.append(n_running)


@pytest.fixture
def expected(encode: Encode, folder: Path, tmp_path: Path) -> dict[str, bytes]:
    """Return the files of a run that nothing disturbs."""
    encode(folder, tmp_path / "serial", shard_rows=1)
    return tree(tmp_path / "serial")


def test_ctrl_c_lets_shards_in_work_end_and_a_later_run_goes_on(
    encode: Encode, hostile: Path, folder: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    watcher = Interrupter(hostile, signal.SIGINT)
    run = encode(folder, out, engine="local", workers=1, shard_rows=1, watcher=watcher)
    assert (run.interrupted, run.exit_code, run.totals.files) == (True, 130, 1)
    assert watcher.stops == [1]
    assert [name.split("/")[0] for name in tree(out)] == ["data"]
    assert not children()
    again = encode(folder, out, shard_rows=1)
    assert (again.exit_code, again.resumed) == (0, 1)
    assert tree(out) == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_second_ctrl_c_and_other_signals_end_at_once(
    encode: Encode, hostile: Path, folder: Path, tmp_path: Path, number: int
) -> None:
    numbers = (number, number) if number == signal.SIGINT else (number,)
    error = KeyboardInterrupt if number == signal.SIGINT else signals.Terminated
    watcher = Interrupter(hostile, *numbers)
    with pytest.raises(error), signals.unwound():
        encode(folder, tmp_path / "out", engine="local", workers=2, shard_rows=1, watcher=watcher)
    assert not (tmp_path / "out").exists()
    assert not children()


def test_ctrl_c_before_the_first_file_ends_at_once(
    encode: Encode, folder: Path, tmp_path: Path
) -> None:
    class Early(Watcher):
        def planned(self, *facts: Any) -> None:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        encode(folder, tmp_path / "out", watcher=Early())
    assert not (tmp_path / "out").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


ENGINE = """
from fcs_edge.corpus.run import encode
encode({folder!r}, {out!r}, model={model!r}, workers=2, shard_rows=1)
"""
WORKER = """
from fcs_edge.corpus.job import Job
from fcs_edge.corpus.run import planned
from fcs_edge.corpus.worker_process import WorkerProcess
plan = planned({folder!r}, {out!r}, model={model!r}, shard_rows=1)
WorkerProcess(plan.recipe).run(plan.shards[0].job(), print)
"""


@pytest.mark.parametrize(("code", "act"), [(ENGINE, "stop"), (WORKER, "wait")])
def test_workers_end_with_a_driver_that_is_killed_and_a_later_run_goes_on(
    encode: Encode, hostile: Path, model: Path, tmp_path: Path, code: str, act: str
) -> None:
    folder, out = tmp_path / "sounds", tmp_path / "out"
    for seed, name in enumerate((f"a.{act}.wav", "b.wav")):
        write_sound(folder / name, seed)
    out.mkdir()
    tests = os.path.dirname(hostile_worker.__file__)
    start = f"import sys; sys.path.append({tests!r}); import hostile_worker; "
    start += "from fcs_edge.corpus import child_python as c; c.command = hostile_worker.command"
    text = code.format(folder=str(folder), out=str(out), model=str(model))
    driver = subprocess.Popen([sys.executable, "-c", start + text])
    try:
        wait_until(lambda: (hostile / f"a.{act}.wav").exists() or driver.poll() is not None)
        workers = children(driver.pid)
        assert workers
    finally:
        driver.kill()
        driver.wait()
    wait_until(lambda: all(map(ended, workers)), 5)
    encode(folder, out, shard_rows=1)
    encode(folder, tmp_path / "serial", shard_rows=1)
    assert tree(out) == tree(tmp_path / "serial")
