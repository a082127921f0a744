"""Messages on standard error; standard output holds results only."""

from __future__ import annotations

from dataclasses import dataclass

import click


@dataclass
class Messages:
    """Notes and warnings, one line each, on standard error.

    Attributes
    ----------
    quiet : bool
        Whether notes are omitted; warnings are not.
    """

    quiet: bool = False

    def note(self, text: str) -> None:
        """Print information that is no problem."""
        if not self.quiet:
            click.echo(text, err=True)

    def warn(self, text: str) -> None:
        """Print a problem that does not end the command."""
        click.echo(f"fcs-edge: warning: {text}", err=True)
