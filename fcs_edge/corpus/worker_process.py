"""A worker: a child process that does jobs, and whose death costs one item at most."""

from __future__ import annotations

import json
import os
import select
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType, TracebackType
from typing import IO

from fcs_edge.corpus import child_python
from fcs_edge.corpus.items import Item
from fcs_edge.corpus.job import Job, OnReport, Outcome, Recipe, Report, Totals
from fcs_edge.corpus.sharding import estimated_seconds
from fcs_edge.corpus.wire import report_of, to_json, totals_of
from fcs_edge.corpus.worker import WITH_THREAD
from fcs_edge.errors import CorpusError, shown

MOST_STARTS = 3
"""Deaths in a row, each before an item begins, that end a run."""

_WORKER = "fcs_edge.corpus.worker"
_GRACE = 5.0
"""Seconds that a child has to end when its input ends."""
_LONGEST_WAIT = 1.0
"""Seconds of one wait; a manifest may state any duration."""
_MOST_AWAKE = 2 * _LONGEST_WAIT
"""Seconds between two looks at the clock; what is above, this process or the machine slept."""
_WORDS = 4000
"""Bytes of a child's last output that are kept for an error."""


class WorkerError(Exception):
    """A worker found a fault of this package; its traceback is the cause."""


class WorkerTracebackError(Exception):
    """The traceback of an exception in a worker, as text."""

    def __str__(self) -> str:
        """Return the text on lines of its own."""
        return "\n" + str(self.args[0])


class WorkerProcess:
    """A child process that is started at its first job, and again after a death.

    Parameters
    ----------
    recipe : Recipe
        What all its jobs share.
    lives_with_thread : bool
        Whether the child ends with the thread that starts it. That thread must live as long as the
        worker is used.
    """

    def __init__(self, recipe: Recipe, *, lives_with_thread: bool = False) -> None:
        self._recipe = recipe
        self._with_thread = lives_with_thread
        self._child: _Child | None = None
        self._lock = threading.Lock()
        self._killed = False
        self._n_starts = 0

    def __enter__(self) -> WorkerProcess:
        """Return the worker."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the child: at once if the block raised, else when it has ended what it does."""
        if kind is not None:
            self.kill()
        self.close()

    def run(self, job: Job, on_report: OnReport) -> Outcome:
        """Do a job, in one child after another if they die.

        A later child goes on where the one before it died. An item at which two died, or one that
        took too long, is not tried again.

        Parameters
        ----------
        job : Job
            The shard.
        on_report : callable
            Takes what the child says, in this thread.

        Returns
        -------
        Outcome
            The totals of the shard, which is written. Its job names the items that are to blame for
            deaths.

        Raises
        ------
        fcs_edge.CorpusError
            The child cannot start, or cannot write the dataset; or `kill` ended it.
        WorkerError
            The child found a fault of this package.
        """
        rows: dict[str, str] = {}

        def take(report: Report) -> None:
            if report.row is not None:
                rows[job.items[report.index].id] = report.row
            on_report(replace(report, row=None))

        deaths: Counter[int] = Counter()
        while True:
            try:
                totals = self._attempt(replace(job, rows=MappingProxyType(rows)), take)
                return Outcome(job, totals)
            except _DeathError as death:
                self._discard()
                job = self._after(death, job, deaths)
                on_report(Report("again", job.name))

    def _after(self, death: _DeathError, job: Job, deaths: Counter[int]) -> Job:
        """Count a death; return the job without the item that is to blame, if there is one."""
        if death.index is None:
            self._n_starts += 1
            if self._n_starts >= MOST_STARTS:
                raise CorpusError(f"no worker can go on: {death}") from None
            return job
        self._n_starts = 0
        deaths[death.index] += 1
        if deaths[death.index] == 1 and not death.is_late:
            return job
        blamed = {**job.blamed, job.items[death.index].id: death.blame}
        return replace(job, blamed=MappingProxyType(blamed))

    def kill(self) -> None:
        """End the child at once and for ever; any thread may call it."""
        with self._lock:
            self._killed = True
            if self._child is not None:
                self._child.process.kill()

    def close(self) -> None:
        """End the child's input, which ends the child; the thread that runs jobs calls it."""
        with self._lock:
            self._killed = True
        if self._child is not None:
            self._child.close()

    def _attempt(self, job: Job, on_report: OnReport) -> Totals:
        """Do a job in one child; return its totals."""
        child = self._started()
        conversation = _Conversation(child, job, self._recipe.file_timeout)
        try:
            for answer in conversation.answers():
                if isinstance(answer, Totals):
                    self._n_starts = 0
                    return answer
                on_report(answer)
        except _DeathError:
            if self._killed:
                raise CorpusError("the worker is ended") from None
            raise
        except BaseException:
            # What it does is nobody's concern any more.
            child.process.kill()
            self._discard()
            raise
        raise AssertionError("a conversation ends with totals")

    def _started(self) -> _Child:
        """Return the child, which is started if there is none."""
        with self._lock:
            if self._killed:
                raise CorpusError("the worker is ended")
            if self._child is None:
                self._child = _Child(self._recipe, self._with_thread)
            return self._child

    def _discard(self) -> None:
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.close()


class _DeathError(Exception):
    """A child died; the text says how.

    Attributes
    ----------
    index : int or None
        The item that it worked on.
    blame : str
        The error of that item, if it is to blame.
    is_late : bool
        Whether the child was killed, as the item took too long.
    """

    def __init__(self, text: str, index: int | None, blame: str, is_late: bool = False) -> None:
        super().__init__(text)
        self.index = index
        self.blame = blame
        self.is_late = is_late


class _Child:
    """A process that runs `worker.main`, and the pipes to it."""

    def __init__(self, recipe: Recipe, with_thread: bool) -> None:
        arguments = [WITH_THREAD] if with_thread else []
        try:
            self.process = subprocess.Popen(
                [*child_python.command(_WORKER), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=child_python.environment(),
                # Ctrl-C in the terminal must not reach it: what it writes ends first.
                start_new_session=True,
            )
        except OSError as error:
            raise CorpusError(f"no worker can start: {error.strerror or error}") from error
        self._words = b""
        self.send(to_json(recipe))

    def send(self, line: str) -> None:
        """Send a line; what a dead child does not take is no error here."""
        with suppress(BrokenPipeError):
            stdin = _pipe(self.process.stdin)
            stdin.write(line.encode() + b"\n")
            stdin.flush()

    def chunks(self, timeout: float | None) -> Iterator[bytes]:
        """Yield what the child writes to its output, empty at its end; nothing after a timeout."""
        output, errors = _pipe(self.process.stdout).fileno(), _pipe(self.process.stderr).fileno()
        poll = select.poll()
        poll.register(output, select.POLLIN)
        poll.register(errors, select.POLLIN)
        while True:
            ready = dict(poll.poll(None if timeout is None else min(timeout, _LONGEST_WAIT) * 1000))
            if not ready:
                return
            if errors in ready and not self._take_words(errors):
                poll.unregister(errors)
            if output in ready:
                yield os.read(output, 1 << 16)
                return

    def _take_words(self, errors: int) -> bool:
        """Read what the child writes to its standard error; return whether there may be more."""
        words = os.read(errors, 1 << 16)
        self._words = (self._words + words)[-_WORDS:]
        return bool(words)

    def end(self) -> str:
        """Wait for the end of a child whose output has ended; return how it ended."""
        self.process.kill()
        code = self.process.wait()
        while self._take_words(_pipe(self.process.stderr).fileno()):
            pass
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    @property
    def last_words(self) -> str:
        """The last line that the child wrote to its standard error; or nothing."""
        lines = self._words.decode(errors="backslashreplace").split("\n")
        lines = [line for line in lines if line.strip()]
        return shown(lines[-1].strip()) if lines else ""

    def close(self) -> None:
        """End the child's input, wait for its end, and close the pipes."""
        process = self.process
        with suppress(OSError):
            _pipe(process.stdin).close()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdout, process.stderr):
            _pipe(pipe).close()


class _Clock:
    """Seconds that this process was awake: it may be stopped for hours, and its child with it."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._awake = 0.0

    def seconds(self) -> float:
        """Return the seconds since the clock was made, without those of a stop."""
        now = time.monotonic()
        self._awake += min(now - self._last, _MOST_AWAKE)
        self._last = now
        return self._awake


@dataclass
class _Current:
    """The item that a child works on."""

    index: int
    began: float
    seconds: float = 0.0
    """Sound of it that is done."""


class _Conversation:
    """One job of a child: what it answers, and whether it takes too long."""

    def __init__(self, child: _Child, job: Job, file_timeout: float | None) -> None:
        self._child = child
        self._job = job
        self._file_timeout = file_timeout
        self._current: _Current | None = None
        self._clock = _Clock()
        child.send(to_json(job))

    def answers(self) -> Iterator[Report | Totals]:
        """Yield what the child reports; its totals come last.

        Raises
        ------
        _DeathError
            The child died, or was killed as an item took too long.
        fcs_edge.CorpusError, WorkerError
            The child says that it cannot go on.
        """
        rest = b""
        while True:
            for data in self._child.chunks(self._time_left()):
                if not data:
                    raise self._death()
                *lines, rest = (rest + data).split(b"\n")
                yield from self._decoded(lines)
                break
            else:
                if self._time_left() == 0:
                    raise self._lateness()

    def _decoded(self, lines: list[bytes]) -> Iterator[Report | Totals]:
        for line in lines:
            answer = json.loads(line)
            if "report" in answer:
                report = report_of(answer["report"])
                self._note(report)
                yield report
            elif "totals" in answer:
                yield totals_of(answer["totals"])
            elif "refused" in answer:
                raise CorpusError(answer["refused"])
            elif "fault" in answer:
                where = f"{answer['fault']}, in a worker at {self._place()}"
                raise WorkerError(where) from WorkerTracebackError(answer["trace"])

    def _note(self, report: Report) -> None:
        """Keep what the child works on."""
        if report.kind == "file":
            self._current = _Current(report.index, self._clock.seconds())
        elif report.kind == "done":
            self._current = None
        elif self._current is not None:
            self._current.seconds = report.seconds

    def _place(self) -> str:
        current = self._current
        shard = f"shard {self._job.name}"
        return shard if current is None else f"{self._job.items[current.index].id} of {shard}"

    def _limit(self, current: _Current) -> float:
        """Return the seconds that an item may take: with sound that is done it gains more."""
        if self._file_timeout is not None:
            return self._file_timeout
        return file_timeout(self._job.items[current.index], current.seconds)

    def _time_left(self) -> float | None:
        """Return the seconds that the current item has left; None where there is no limit."""
        now, current = self._clock.seconds(), self._current
        if current is None:
            return None
        return max(current.began + self._limit(current) - now, 0.0)

    def _death(self) -> _DeathError:
        how = self._child.end()
        words = self._child.last_words
        text = f"{how}: {words}" if words else how
        index = None if self._current is None else self._current.index
        return _DeathError(text, index, f"killed its worker ({how})")

    def _lateness(self) -> _DeathError:
        assert self._current is not None
        self._child.end()
        blame = f"took longer than {self._limit(self._current):.4g} s"
        return _DeathError(blame, self._current.index, blame, is_late=True)


def file_timeout(item: Item, seconds: float = 0.0) -> float:
    """Return the seconds that an item may take where nobody says: 60, and 60 a second of sound.

    Parameters
    ----------
    item : Item
        The item, whose sound is estimated from its bytes if it states no duration.
    seconds : float
        Sound of it that is done: it may be more than what was estimated.
    """
    begins = item.offset or 0.0
    return 60 + 60 * max(begins + estimated_seconds(item), seconds)


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
