"""What is shown while a corpus is encoded, by a clock of the test's own."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from fcs_edge.cli.ui import corpus_progress
from fcs_edge.cli.ui.corpus_progress import CorpusProgress
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.cli.ui.quantities import clock_time
from fcs_edge.corpus.items import Item
from fcs_edge.corpus.job import Job, Outcome, Report, Totals

HOUR = 3600
BYTES = 32_000
"""Of a second of sound, where its rate is not known."""


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def job(name: str, *seconds: int) -> Job:
    items = (Item(f"{name}/{i}.wav", "x.wav", size=s * BYTES) for i, s in enumerate(seconds))
    return Job(name, tuple(items))


def underway(clock: Clock, quiet: bool = False) -> CorpusProgress:
    """A run of ten hours in three shards on two workers; an earlier run did the first of them."""
    shown = CorpusProgress(Messages(quiet), clock=clock)
    shown.scanning(50)
    shown.planned(100, 10 * HOUR, 10 * HOUR * BYTES, 3)
    shown.resumed(1, Totals(files=40, errors=1, samples=2 * HOUR * 16000), 2 * HOUR, 0)
    shown.encoding(2)
    return shown


def test_a_scan_counts_what_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    shown = CorpusProgress(Messages(), clock=Clock())
    shown.scanning(1)
    assert shown.line() == "looking for sound: 1 file so far"
    shown.scanning(12345)
    assert shown.line() == "looking for sound: 12,345 files so far"
    underway(Clock())
    assert capsys.readouterr().err == "40 files in 1 shard are there already\n"


def test_a_line_has_files_hours_errors_speed_and_time_left() -> None:
    clock = Clock()
    shown = underway(clock)
    shown.started(job("a", 1 * HOUR, 3 * HOUR))
    shown.started(job("b", 4 * HOUR))
    assert shown.line() == "40 of 100 files, 2.00 h; 1 failed"
    shown.report(Report("file", "a", 0))
    clock.now += 60
    shown.report(Report("done", "a", 0, error="holds no sound"))
    shown.report(Report("file", "a", 1))
    shown.report(Report("file", "b", 0))
    clock.now += 40
    shown.report(Report("progress", "b", 0, 1.0 * HOUR))
    # 1 h in 100 s of two cores; 2 h of the work of 8 h are done, a failed file's hour included.
    assert shown.line() == (
        "41 of 100 files, 3.00 h; 2 failed; 18.0 h of speech a core-hour; about 5 min 0 s left; "
        "a/1.wav: 0% of about 3 h 0 min; b/0.wav: 25% of about 4 h 0 min"
    )


def test_the_longest_shard_says_when_the_run_ends() -> None:
    clock = Clock()
    shown = underway(clock)
    shown.started(job("a", 4 * HOUR))
    shown.started(job("b", 4 * HOUR))
    shown.report(Report("file", "a", 0))
    shown.report(Report("file", "b", 0))
    clock.now += 100
    shown.report(Report("progress", "a", 0, 4.0 * HOUR))
    # Each worker does 2 h in 100 s, so the hours of b take 200 s; the sum alone says 100 s.
    assert "about 3 min 20 s left" in shown.line()


def test_a_finished_shard_counts_once_and_one_that_goes_again_counts_anew() -> None:
    clock = Clock()
    shown = underway(clock)
    for name in "ab":
        shown.started(job(name, 2 * HOUR, 2 * HOUR))
        for i in range(2):
            shown.report(Report("file", name, i))
            shown.report(Report("done", name, i, 2.0 * HOUR))
    clock.now += 100
    assert shown.line().startswith("44 of 100 files, 10.00 h;")
    shown.started(job("b", 2 * HOUR, 2 * HOUR))
    assert shown.line().startswith("42 of 100 files, 6.00 h;")
    shown.finished(Outcome(job("a", 2 * HOUR, 2 * HOUR), Totals(files=2, samples=4 * HOUR * 16000)))
    assert shown.line().startswith("42 of 100 files, 6.00 h;")
    shown.finished(Outcome(job("b", 4 * HOUR), failure="the disk is full"))
    assert shown.line().startswith("42 of 100 files, 6.00 h;")
    shown.report(Report("progress", "b", 0, 1.0))
    assert shown.line().startswith("42 of 100 files, 6.00 h;")


def test_a_terminal_has_bars_and_messages_above_them(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr(corpus_progress, "terminal", lambda messages: console)
    clock = Clock()
    shown = underway(clock)
    with shown.showing():
        shown.warn("a worker died: [bold]x\x1b")
        shown.stopping(1, 75)
        shown.started(job("[red]a", 8 * HOUR))
        shown.report(Report("file", "[red]a", 0))
        clock.now += 100
        shown.report(Report("progress", "[red]a", 0, 2.0 * HOUR))
        console.print(shown.drawn())
    text = screen.getvalue()
    assert "fcs-edge: warning: a worker died: [bold]x\\x1b" in text
    assert "ending after 1 shard that workers have begun, about 1 min 15 s; Ctrl-C again" in text
    assert "40 of 100 files, 4.00 h; 1 failed; 36.0 h of speech a core-hour\n" in text
    assert "25%  5 min 0 s left" in text
    assert "[red]a/0.wav: 25% of about 8 h 0 min" in text
    assert "━" in text


def test_a_pipe_gets_a_line_soon_and_then_each_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    class Ended:
        def wait(self, seconds: float) -> bool:
            waits.append(seconds)
            return len(waits) > 3

        def set(self) -> None:
            pass

    monkeypatch.setattr(corpus_progress, "Event", Ended)
    shown = underway(Clock())
    with shown.showing():
        pass
    assert waits == [5, 60, 60, 60]
    assert capsys.readouterr().err.count("40 of 100 files, 2.00 h; 1 failed\n") == 3


def test_quiet_runs_warn_only(capsys: pytest.CaptureFixture[str]) -> None:
    shown = underway(Clock(), quiet=True)
    with shown.showing():
        shown.note("x")
        shown.warn("y")
    assert capsys.readouterr().err == "fcs-edge: warning: y\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations_as_a_person_says_them(seconds: float, text: str) -> None:
    assert clock_time(seconds) == text
