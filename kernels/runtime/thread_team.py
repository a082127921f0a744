"""A pool of thread teams, whose threads walk lists of calls with barriers between them.

The caller's thread is one of them. The others wait in compiled code with the GIL released: after a
list they look for the next one for about 50 us, then sleep. They take the GIL only to end. A team
belongs to one call at a time, and idle ones wait for the next call of any stream, so that a stream
owns no thread: it can be dropped, copied, pickled and forked like any other object.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from fcs_edge.kernels._types import I64
from fcs_edge.kernels.runtime import aot_library, thread_team_layout

MAX_SLEEPS = 300_000
"""Sleeps of 100 us or more before a wait gives up: half a minute of a thread that does not come."""
_JOIN_SECONDS = 2.0
_ALIGNMENT = 128

_idle: dict[int, list[ThreadTeam]] = {}
"""Teams that no call uses, by their number of threads."""


class _Functions(NamedTuple):
    """The compiled functions; see `thread_team_code`."""

    open: Callable[[int], int]
    run: Callable[[int, int, int], int]
    work: Callable[[int, int], int]
    stop: Callable[[int], int]


@cache
def _functions() -> _Functions:
    """Return the functions of the library in use."""
    opened = aot_library.library()
    assert opened is not None

    def function(name: str, n_arguments: int) -> Any:
        """Return a function of so many int64, without the GIL while it runs."""
        found = opened[0][name]
        found.argtypes, found.restype = [ctypes.c_int64] * n_arguments, ctypes.c_int
        return found

    layout = thread_team_layout
    names = ((layout.OPEN, 1), (layout.RUN, 3), (layout.WORK, 2), (layout.STOP, 1))
    return _Functions(*(function(*name) for name in names))


class ThreadTeam:
    """Threads that belong to one call at a time.

    Parameters
    ----------
    threads : int
        How many walk lists, the caller's thread included.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._process = os.getpid()
        self._errors: list[BaseException] = []
        n_words = thread_team_layout.FIRST_MEMBER + threads * thread_team_layout.MEMBER_WORDS
        block = np.zeros(n_words + _ALIGNMENT // 8, np.int64)
        self.words: I64 = block[-block.ctypes.data % _ALIGNMENT // 8 :][:n_words]
        self.words[thread_team_layout.MEMBERS] = threads
        self.words[thread_team_layout.MAX_SLEEPS] = MAX_SLEEPS
        self._address = self.words.ctypes.data
        self._run = _functions().run
        _functions().open(self._address)
        self.workers: list[threading.Thread] = []
        try:
            for number in range(1, threads):
                self.workers.append(_started(self.words, number, self._errors))
        except BaseException:
            self.stop()
            raise

    @property
    def usable(self) -> bool:
        """Whether all threads wait for a list: none has ended, and none is of another process."""
        alive = all(worker.is_alive() for worker in self.workers)
        return alive and self._process == os.getpid()

    def run(self, lists: int, bases: int) -> None:
        """Let each thread walk its list; after an exception the team must be stopped.

        Parameters
        ----------
        lists : int
            The address of each list and its steps: two int64 a thread.
        bases : int
            The address of the bases that words of the lists count from.

        Raises
        ------
        RuntimeError
            A thread does not answer, or has ended.
        """
        if not self._run(self._address, lists, bases):
            return
        if self._errors:
            raise self._errors[0]
        raise RuntimeError("a thread of this stream does not answer: start the stream anew")

    def stop(self) -> None:
        """End the threads, and wait for that, but not for long."""
        if self._process != os.getpid():
            return
        _functions().stop(self._address)
        for worker in self.workers:
            worker.join(_JOIN_SECONDS)


def _started(words: I64, number: int, errors: list[BaseException]) -> threading.Thread:
    """Return a thread that waits for lists."""
    arguments, name = (words, number, errors), f"fcs-edge {number}"
    worker = threading.Thread(target=_work, args=arguments, name=name, daemon=True)
    worker.start()
    return worker


def _work(words: I64, number: int, errors: list[BaseException]) -> None:
    """Walk lists until the team ends; leave no other thread waiting for this one."""
    try:
        _functions().work(words.ctypes.data, number)
    except BaseException as error:
        errors.append(error)
    finally:
        if not words[thread_team_layout.ENDED] and not words[thread_team_layout.STATUS]:
            words[thread_team_layout.STATUS] = thread_team_layout.GAVE_UP


def run(lists: int, threads: int, bases: int) -> None:
    """Walk lists with an idle team, or a new one; see `ThreadTeam.run`."""
    idle = _idle.setdefault(threads, [])
    team = None
    while team is None:
        try:
            found = idle.pop()
        except IndexError:
            team = ThreadTeam(threads)
        else:
            if found.usable:
                team = found
            else:
                found.stop()
    try:
        team.run(lists, bases)
    except BaseException:
        team.stop()
        raise
    idle.append(team)


@atexit.register
def _stop_idle() -> None:
    """End the idle threads before the interpreter does."""
    for teams in _idle.values():
        while teams:
            teams.pop().stop()


# A forked process has none of the threads.
os.register_at_fork(after_in_child=_idle.clear)
