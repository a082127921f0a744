"""Progress on a terminal: a bar with the seconds of audio done, or a spinner."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fcs_edge.cli.ui.messages import Messages, plain


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
    if messages.quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    # Imported for a terminal only: it takes longer than a short command.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (
        TextColumn(label, markup=False),
        BarColumn(),
        TextColumn("{task.completed:.1f} s of sound"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=seconds)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def spinner(messages: Messages, label: str) -> Iterator[None]:
    """Show a spinner while the block runs."""
    if messages.quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(plain(label)):
        yield
