"""Progress on a terminal: a bar with the seconds of audio done, or a spinner."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fcs_edge.cli.ui.messages import Messages, plain

if TYPE_CHECKING:
    from rich.console import Console


def terminal(messages: Messages) -> Console | None:
    """Return the terminal of standard error; None where it is none, or messages are quiet."""
    if messages.quiet or not sys.stderr.isatty():
        return None
    # Imported for a terminal only: it takes longer than a short command.
    from rich.console import Console

    console = Console(stderr=True)
    return console if console.is_terminal else None


@contextmanager
def progress_bar(
    messages: Messages, label: str, seconds: float | None
) -> Iterator[Callable[[float], None]]:
    """Show a bar while the block runs; yield a function that takes the seconds done.

    Parameters
    ----------
    messages : Messages
        There is no bar where these are quiet.
    label : str
        The text before the bar.
    seconds : float or None
        Seconds of audio in all; None where they are unknown.
    """
    console = terminal(messages)
    if console is None:
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(label, markup=False),
        BarColumn(),
        TextColumn("{task.completed:.1f} s of sound"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=seconds)
        yield lambda done: bar.update(task, completed=done)


class WholeProgress:
    """Shows how much of a whole sound is encoded or decoded, while `bar` runs.

    Parameters
    ----------
    messages : Messages
        There is no bar where these are quiet.
    label : str
        The text before the bar.
    """

    def __init__(self, messages: Messages, label: str) -> None:
        self._messages, self._label = messages, label
        self._update: Callable[[float], None] | None = None

    def show(self, share: float) -> None:
        """Take the share of the work that is done, 0 to 1."""
        if self._update is not None:
            self._update(share)

    @contextmanager
    def bar(self, seconds: float) -> Iterator[None]:
        """Show a bar with percent and rate while the block works on so many seconds of sound."""
        console = terminal(self._messages)
        if console is None:
            yield
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn(self._label, markup=False),
            BarColumn(),
            TextColumn("{task.percentage:.0f} % of {task.fields[seconds]:.1f} s"),
            TextColumn("{task.fields[rate]:.1f} x real time"),
            TimeRemainingColumn(),
        )
        start = time.perf_counter()
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(self._label, total=1.0, seconds=seconds, rate=0.0)

            def update(share: float) -> None:
                rate = share * seconds / max(time.perf_counter() - start, 1e-3)
                bar.update(task, completed=share, rate=rate)

            self._update = update
            try:
                yield
            finally:
                self._update = None


@contextmanager
def spinner(messages: Messages, label: str) -> Iterator[None]:
    """Show a spinner while the block runs."""
    console = terminal(messages)
    if console is None:
        yield
        return
    with console.status(plain(label)):
        yield
