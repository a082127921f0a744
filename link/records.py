"""Records beside a key file: the last stream sent, the last one received.

See docs/reference/link-protocol.md.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fcs_edge.errors import FcsError
from fcs_edge.files import replacing
from fcs_edge.link.keys import SEEN, SENT, read_small
from fcs_edge.link.packets import MAX_SEQUENCES, MAX_STREAM

SAVE_SECONDS = 5.0
"""Time between two writes of a receiver's record."""
EPOCH_SECONDS = 1_577_836_800
"""Start of 2020 in UTC, from which streams count their time, in seconds since 1970."""

_RANDOM_BITS = 40
_MAX_TIME = MAX_STREAM >> _RANDOM_BITS
_LOCK_SECONDS, _LOCK_STEP = 2.0, 0.02


def stream_time(stream: int) -> float:
    """Return when a stream began by its sender's clock, in seconds since 1970."""
    return EPOCH_SECONDS + (stream >> _RANDOM_BITS) / 1000


def new_stream(key_path: Path | None, now: int | None = None) -> tuple[int, str | None]:
    """Return the number of a stream that starts now, and record it.

    The number is a time and 40 random bits. The time is the clock, in milliseconds since 2020,
    or one more than the last stream's time if the clock went back. ``<key>.sent`` holds the last
    time; it is on disk before this returns. Without that record, streams still differ in their
    random bits, but a receiver may take a new one for a replay.

    Parameters
    ----------
    key_path : Path, optional
        The key file; without one, nothing is written.
    now : int, optional
        The clock in nanoseconds since 1970, in place of the system's.

    Returns
    -------
    stream : int
        The number, 0..2**80 - 1.
    warning : str or None
        One line, if the number could not be recorded.

    Raises
    ------
    FcsError
        The record is not readable, or no time remains.
    """
    nanoseconds = time.time_ns() if now is None else now
    clock = max(0, nanoseconds // 1_000_000 - 1000 * EPOCH_SECONDS)
    if key_path is None:
        return _numbered(clock, None), None
    record = _beside(key_path, SENT)
    with _locked(key_path) as lock:
        last, damaged = _last_sent(record)
        moment = max(clock, last + 1)
        stream = _numbered(moment, key_path)
        problem = lock.problem if lock.held else _write_numbers(record, [moment])
    if problem is not None:
        return stream, (
            f"{problem}: if the clock is set back, the receiver takes new streams for replays"
        )
    return stream, lock.problem or damaged


def _numbered(moment: int, key_path: Path | None) -> int:
    if moment > _MAX_TIME:
        raise FcsError(
            "the clock shows a year after 2054: set it"
            if key_path is None
            else f"the clock or {_beside(key_path, SENT)} shows a year after 2054: set the "
            "clock, and create a new key if this remains"
        )
    return moment << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)


def _last_sent(record: Path) -> tuple[int, str | None]:
    """Return the last stream's time, -1 for none, and a warning if the record is damaged."""
    try:
        numbers = _read_numbers(record, [_MAX_TIME])
    except _DamagedError:
        return -1, f"{record} was damaged: if the clock is behind, the receiver refuses streams"
    return numbers[0] if numbers else -1, None


class ReplayGuard:
    """A receiver's record of the streams of a key, which rejects replayed packets.

    A stream greater than the last one is new. The last one continues after the highest sequence
    that was recorded at the start. Older streams are replays. Within one run, the jitter buffer
    prevents replays: it never goes back in an authenticated stream.

    Several receivers may share a key file. A record is read and written under a lock, and never
    lowered: none of them takes a stream that another one had before.

    Parameters
    ----------
    key_path : Path
        The key file; ``<key>.seen`` holds the record.
    warn : callable
        Takes one line at once, if the record cannot be kept. The constructor tries to write it.

    Attributes
    ----------
    fresh : bool
        Whether there was no record before, and there is one now.

    Raises
    ------
    FcsError
        The record is damaged or not readable.
    """

    def __init__(self, key_path: Path, warn: Callable[[str], None] = lambda text: None) -> None:
        self._key_path, self._path = key_path, _beside(key_path, SEEN)
        self._warn, self._warned = warn, set[str]()
        self._lock = threading.Lock()
        numbers = self._read()
        self._stream, self._highest = numbers or (0, -1)
        self._floor = self._highest
        self._passed = 0
        self._unsaved = False
        # Whether the record can be kept shows only where it is written.
        _, problem = self._raise((self._stream, self._highest), probe=True)
        self.fresh = numbers is None and problem is None

    def admit(self, stream: int, sequence: int) -> bool:
        """Return whether a packet is no replay, and remember it.

        A new stream is recorded at once, which waits for the disk; `save` records the rest.

        Parameters
        ----------
        stream, sequence : int
            Of an authentic packet.

        Returns
        -------
        bool
            False for a replay, which must be discarded.
        """
        if stream > self._stream and (stream < self._passed or not self._begin(stream)):
            return False
        with self._lock:
            if stream < self._stream or sequence <= self._floor:
                return False
            self._unsaved |= sequence > self._highest
            self._highest = max(self._highest, sequence)
        return True

    def save(self) -> None:
        """Write the record if it changed; call this every few seconds and at the end."""
        with self._lock:
            if not self._unsaved:
                return
            mine = self._stream, self._highest
            self._unsaved = False
        _, problem = self._raise(mine)
        if problem is not None:
            with self._lock:
                self._unsaved = True

    def _begin(self, stream: int) -> bool:
        """Move to a greater stream unless another receiver had a later one; record it."""
        before, _ = self._raise((stream, -1))
        if before[0] > stream:
            # A flood of such packets must not read the record each time.
            self._passed = before[0]
            return False
        floor = before[1] if before[0] == stream else -1
        with self._lock:
            self._stream, self._highest, self._floor = stream, floor, floor
        return True

    def _read(self) -> tuple[int, int] | None:
        numbers = _read_numbers(self._path, [MAX_STREAM, MAX_SEQUENCES])
        return (numbers[0], numbers[1] - 1) if numbers else None

    def _raise(
        self, mine: tuple[int, int], *, probe: bool = False
    ) -> tuple[tuple[int, int], str | None]:
        """Raise the record on the disk to at least this; return what it was, and the problem."""
        before, problem = (0, -1), None
        with _locked(self._key_path) as lock:
            try:
                before = self._read() or before
                if mine > before or probe:
                    stream, highest = max(mine, before)
                    numbers = [stream, highest + 1]
                    # The program that holds the lock may be about to write less.
                    problem = lock.problem if lock.held else _write_numbers(self._path, numbers)
            except FcsError as error:
                problem = str(error)
        if problem:
            self._report(problem, "replayed packets are rejected in this run only")
        elif lock.problem:
            self._report(lock.problem, "a second receiver of this key may take replays")
        return before, problem

    def _report(self, problem: str, consequence: str) -> None:
        """Warn once of each consequence."""
        if consequence not in self._warned:
            self._warned.add(consequence)
            self._warn(f"{problem}: {consequence}")


class _DamagedError(FcsError):
    """A record that holds no numbers."""


def _beside(path: Path, suffix: str) -> Path:
    """Return a record's path; a link to a key file has no records of its own."""
    path = Path(os.path.realpath(path))
    return path.with_name(path.name + suffix)


@dataclass(frozen=True)
class _Lock:
    """What came of locking."""

    problem: str | None = None
    held: bool = False
    """Whether another program has the lock, and may write."""


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[_Lock]:
    """Exclude other programs with the same key; yield the problem, if there is one.

    A file that is open for reading can be locked, so a read-only folder does no harm.
    """
    with contextlib.ExitStack() as stack:
        try:
            lock = _lock(stack.enter_context(_lockable(path)), path)
        except OSError as error:
            lock = _Lock(f"cannot lock {path} ({error.strerror})")
        yield lock


def _lockable(path: Path) -> BinaryIO:
    """Open a file to lock it: NFS locks one that is open for writing only."""
    try:
        return path.open("r+b")
    except OSError:
        return path.open("rb")


def _lock(file: BinaryIO, path: Path) -> _Lock:
    """Take a lock; one that is not free within two seconds is left."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return _Lock(f"cannot lock {path} (another program holds it)", held=True)
            time.sleep(_LOCK_STEP)
        else:
            return _Lock()


def _read_numbers(path: Path, limits: list[int]) -> list[int] | None:
    data = read_small(path)
    if data is None:
        return None
    # The newline marks an intact file.
    if re.fullmatch(rb"\d{1,25}( \d{1,25})*\n", data):
        numbers = [int(word) for word in data.split()]
        pairs = list(zip(numbers, limits, strict=False))
        if len(numbers) == len(limits) and all(number <= limit for number, limit in pairs):
            return numbers
    raise _DamagedError(
        f"{path} is damaged, so the streams received before are unknown: create a new key for "
        "both ends"
    )


def _write_numbers(path: Path, numbers: list[int]) -> str | None:
    """Write numbers as one line that survives a power cut; return the error, or None."""
    try:
        with replacing(path) as temporary:
            temporary.write_text(" ".join(map(str, numbers)) + "\n", encoding="ascii")
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        return f"cannot write {path} ({error.strerror})"
    return None
