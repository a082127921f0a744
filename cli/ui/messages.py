"""Messages on standard error; standard output holds results only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from fcs_edge.text import printable

if TYPE_CHECKING:
    from rich.text import Text

MOST_OF_A_KIND = 20
"""Messages of one kind that are printed; the others are counted."""


@dataclass
class Messages:
    """Notes and warnings, one line each, on standard error.

    Names in them may come from files, devices and packets: each message is printed as plain text.

    Attributes
    ----------
    quiet : bool
        Whether notes are omitted; warnings are not.
    """

    quiet: bool = False

    def note(self, text: str) -> None:
        """Print information that is no problem."""
        if not self.quiet:
            click.echo(printable(text), err=True)

    def warn(self, text: str) -> None:
        """Print a problem that does not end the command."""
        click.echo(f"fcs-edge: warning: {printable(text)}", err=True)


class Capped:
    """Messages of one kind, of which input can hold any number: the first ones, then a count.

    Parameters
    ----------
    report : callable
        Takes a text.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self.n = 0

    def add(self, text: str) -> None:
        """Report a text, or count it."""
        self.n += 1
        if self.n <= MOST_OF_A_KIND:
            self._report(text)

    def close(self) -> None:
        """Report how many were counted only."""
        if self.n > MOST_OF_A_KIND:
            self._report(f"and {self.n - MOST_OF_A_KIND:,} more")


def print_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning of Python as one line, without the place in the code."""
    Messages().warn(str(message))


def plain(text: object, style: str = "") -> Text:
    """Return text of any origin for a table, without markup and control characters."""
    from rich.text import Text

    return Text(printable(text), style)
