"""Progress over a corpus: redrawn in place on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from fcs_edge.cli.ui.messages import Messages, plain
from fcs_edge.cli.ui.progress import terminal
from fcs_edge.cli.ui.quantities import clock_time, counted_files, length
from fcs_edge.corpus.items import Item
from fcs_edge.corpus.job import Job, Outcome, Report, Totals
from fcs_edge.corpus.sharding import estimated_seconds
from fcs_edge.corpus.watcher import Watcher
from fcs_edge.modelfile.config import SAMPLE_RATE_IN
from fcs_edge.text import counted

if TYPE_CHECKING:
    from rich.console import Console, Group

SOON_SECONDS = 3.0
"""Seconds of work before there is a rate."""
FIRST_SECONDS = 5.0
LINE_SECONDS = 60.0
"""Seconds up to the first line, and between two."""
LONG_SECONDS = 10.0
"""Seconds of work after which a file has its own progress."""
MOST_LONG = 4
"""Files that have their own progress at a time."""
_BAR_CELLS = 40
_WORTH_HOURS = 0.5
"""Sound that is worth another worker."""


class Running:
    """A shard that a worker encodes.

    Parameters
    ----------
    job : Job
        The shard.

    Attributes
    ----------
    total : float
        The shard's work, in seconds of sound as estimated from bytes.
    files, errors : int
        Items that are done, and how many of them failed.
    seconds : float
        Sound of the items that are done.
    share : float
        What of it is done.
    current : Item or None
        The item that is being encoded.
    current_seconds : float
        Sound of it that is done.
    since : float
        When it began.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.total = sum(map(estimated_seconds, job.items))
        self.files = self.errors = 0
        self.seconds = self.share = self.current_seconds = self.since = 0.0
        self.current: Item | None = None

    def report(self, report: Report, now: float) -> None:
        """Take what the worker says."""
        item = self.job.items[report.index]
        if report.kind == "file":
            self.current, self.current_seconds, self.since = item, 0.0, now
        elif report.kind == "progress":
            self.current_seconds = report.seconds
        elif report.kind == "done":
            self.files += 1
            self.errors += report.error is not None
            self.seconds += report.seconds
            self.share += estimated_seconds(item)
            self.current, self.current_seconds = None, 0.0

    def whole(self) -> float:
        """Return the sound of the current item, as estimated; at least what is done of it."""
        known = 0.0 if self.current is None else estimated_seconds(self.current)
        return max(known, self.current_seconds, 1e-3)

    def done(self) -> float:
        """Return the work done, in seconds of sound as estimated from bytes."""
        if self.current is None:
            return self.share
        whole = estimated_seconds(self.current)
        return self.share + min(self.current_seconds, whole)


class CorpusProgress(Watcher):
    """Shows a run: what is found, done, failed and left.

    Parameters
    ----------
    messages : Messages
        Nothing is shown where these are quiet, but warnings.
    verb : str
        What the run does: "encoding".
    clock : callable
        Returns seconds.
    """

    def __init__(
        self,
        messages: Messages,
        verb: str = "encoding",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._messages, self._verb, self._clock = messages, verb, clock
        self._console: Console | None = None
        self._lock = Lock()
        self._n_found = self._n_items = self._n_shards = 0
        self._estimated = self._shares = 0.0
        self._workers = 1
        self._start: float | None = None
        self._earlier = self._fresh = Totals()
        self._running: dict[str, Running] = {}

    def scanning(self, n_items: int) -> None:
        """Take the number of items that are found so far."""
        self._n_found = n_items

    def planned(self, n_items: int, seconds: float, size: int, n_shards: int) -> None:
        """Take what there is in all."""
        self._n_items, self._estimated, self._n_shards = n_items, seconds, n_shards

    def resumed(self, n_shards: int, totals: Totals, seconds: float, size: int) -> None:
        """Take what of it earlier runs did."""
        self._earlier = totals
        self._estimated -= seconds
        self._n_shards -= n_shards
        if n_shards:
            self.note(
                f"{counted_files(totals.files)} in {counted(n_shards, 'shard')} are there already"
            )

    def encoding(self, workers: int) -> None:
        """Take that workers begin."""
        with self._lock:
            self._workers = max(min(workers, self._n_shards), 1)
            self._start = self._start or self._clock()
        if line := idle_workers(workers, self._n_shards, self._estimated / 3600):
            self.note(line)

    def started(self, job: Job) -> None:
        """Take a shard that is given to a worker."""
        with self._lock:
            self._running[job.name] = Running(job)

    def report(self, report: Report) -> None:
        """Take what a worker says."""
        with self._lock:
            running = self._running.get(report.name)
            if running is not None:
                running.report(report, self._clock())

    def finished(self, outcome: Outcome) -> None:
        """Take what became of a shard."""
        with self._lock:
            self._running.pop(outcome.job.name, None)
            if outcome.totals is not None:
                self._fresh += outcome.totals
                self._shares += sum(map(estimated_seconds, outcome.job.items))

    def stopping(self, n_running: int, seconds: float | None) -> None:
        """Say what ends before the run does."""
        about = "" if seconds is None else f", about {clock_time(seconds)}"
        what = counted(n_running, "shard")
        self.note(f"ending after {what} that workers have begun{about}; Ctrl-C again ends at once")

    def note(self, text: str) -> None:
        """Print information above what is drawn."""
        if self._console is None:
            self._messages.note(text)
        else:
            self._console.print(plain(text))

    def warn(self, text: str) -> None:
        """Print a problem above what is drawn."""
        if self._console is None:
            self._messages.warn(text)
        else:
            self._console.print(plain(f"fcs-edge: warning: {text}"))

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show the run while the block runs it."""
        console = terminal(self._messages)
        if self._messages.quiet:
            yield
        elif console is None:
            with _each_minute(self._say):
                yield
        else:
            from rich.live import Live

            self._console = console
            drawn = Live(
                console=console,
                get_renderable=self.drawn,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            try:
                with drawn:
                    yield
            finally:
                self._console = None

    def line(self) -> str:
        """Return all facts in one line."""
        now = self._clock()
        with self._lock:
            if self._start is None:
                return self._scan_line()
            parts = [self._counts(), *self._rates(now)]
            parts += [_inside(running) for running in self._long(now)]
        return "; ".join(parts)

    def drawn(self) -> Group:
        """Return what a terminal shows."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table

        now = self._clock()
        with self._lock:
            if self._start is None:
                return Group(Spinner("dots", plain(self._scan_line())))
            table = Table.grid(padding=(0, 1))
            whole = max(self._estimated, 1e-3)
            bar = ProgressBar(whole, self._done(), width=_BAR_CELLS)
            left = self._left(now)
            remains = "" if left is None else f"  {clock_time(left)} left"
            table.add_row(bar, plain(f"{self._share():3.0%}{remains}"))
            for running in self._long(now):
                table.add_row(
                    ProgressBar(running.whole(), running.current_seconds, width=_BAR_CELLS),
                    plain(_inside(running)),
                )
            rates = [text for text in self._rates(now) if not text.endswith(" left")]
            return Group(plain("; ".join([self._counts(), *rates])), table)

    def _say(self) -> None:
        self._messages.note(self.line())

    def _scan_line(self) -> str:
        return f"looking for sound: {counted_files(max(self._n_found, self._n_items))} so far"

    def _counts(self) -> str:
        """Return how many files and hours are done, earlier runs included."""
        done = self._earlier + self._fresh
        running = self._running.values()
        files = done.files + sum(shard.files for shard in running)
        errors = done.errors + sum(shard.errors for shard in running)
        seconds = self._seconds() + self._earlier.samples / SAMPLE_RATE_IN
        failed = f"; {errors:,} failed" if errors else ""
        return f"{files:,} of {counted_files(self._n_items)}, {length(seconds)}{failed}"

    def _rates(self, now: float) -> list[str]:
        """Return how fast this run is, and when it ends."""
        elapsed = now - (self._start or now)
        seconds = self._seconds()
        if elapsed <= 0 or not seconds:
            return []
        speed = seconds / elapsed / self._workers
        texts = [f"{speed:.{1 if speed < 100 else 0}f} h of speech a core-hour"]
        left = self._left(now)
        return texts if left is None else [*texts, f"about {clock_time(left)} left"]

    def _seconds(self) -> float:
        """Return the sound that this run has encoded."""
        running = sum(s.seconds + s.current_seconds for s in self._running.values())
        return self._fresh.samples / SAMPLE_RATE_IN + running

    def _done(self) -> float:
        """Return the work of this run that is done, in seconds as estimated from bytes."""
        return self._shares + sum(shard.done() for shard in self._running.values())

    def _share(self) -> float:
        return min(self._done() / self._estimated, 1.0) if self._estimated > 0 else 1.0

    def _left(self, now: float) -> float | None:
        """Return the seconds until the end; None where nothing is known yet.

        A worker ends its shard alone, so the longest shard may take longer than all the rest.
        """
        done, elapsed = self._done(), now - (self._start or now)
        if not done or elapsed < SOON_SECONDS:
            return None
        busy = max(min(self._workers, len(self._running)), 1)
        rests = [shard.total - shard.done() for shard in self._running.values()]
        alone = max(rests, default=0.0) * busy
        return max(self._estimated - done, alone, 0.0) / done * elapsed

    def _long(self, now: float) -> list[Running]:
        """Return the shards whose current file takes long."""
        running = [r for r in self._running.values() if r.current is not None]
        running = [r for r in running if now - r.since >= LONG_SECONDS]
        return sorted(running, key=lambda r: r.since)[:MOST_LONG]


def _inside(running: Running) -> str:
    """Return how far a worker is in a file."""
    assert running.current is not None
    share = running.current_seconds / running.whole()
    return f"{running.current.id}: {share:.0%} of about {clock_time(running.whole())}"


@contextmanager
def _each_minute(show: Callable[[], None]) -> Iterator[None]:
    """Call a function soon and then each minute, while the block runs."""
    ended = Event()

    def repeat() -> None:
        wait = FIRST_SECONDS
        while not ended.wait(wait):
            show()
            wait = LINE_SECONDS

    thread = Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def idle_workers(workers: int, shards: int, hours: float) -> str:
    """Return a line where workers have no shard, and enough sound to share; else nothing."""
    if not 0 < shards < workers or hours < _WORTH_HOURS:
        return ""
    share = f"{hours / workers / 2:.1g}"
    what = counted(shards, "shard")
    return f"{what} for {workers} workers; --shard-hours {share} gives work to all"
