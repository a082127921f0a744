"""A group of commands that imports a command when it is called: help starts fast."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class CommandGroup(click.Group):
    """A group whose commands are modules.

    Parameters
    ----------
    lines : mapping of str to str
        The commands' names, each with the first line of its help.
    prefix : str
        What stands before a command's name in that of its module; the command has its own name
        there.
    """

    def __init__(self, *args: Any, lines: Mapping[str, str], prefix: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.lines, self._prefix = lines, prefix

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the commands' names."""
        return list(self.lines)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Import a command; None where there is none of this name."""
        if name not in self.lines:
            return None
        command: click.Command = getattr(import_module(f"{self._prefix}{name}"), name)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        limit = formatter.width - 6 - max(map(len, self.lines))
        listed = [
            (name, click.Command(name, help=line).get_short_help_str(limit))
            for name, line in self.lines.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(listed)
