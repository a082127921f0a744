"""How the commands that judge are told which clips to judge by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Sets = list[tuple[str, Path]]


class Greedy(click.Command):
    """A command whose repeatable options take all that follows, up to the next option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Name the option again before each value."""
        spread, option = [], None
        for arg in args:
            if arg.startswith("--"):
                option = arg if arg in ("--clips", "--set") else None
                spread += [] if option else [arg]
            else:
                spread += [arg] if option is None else [option, arg]
        return super().parse_args(ctx, spread)


def clip_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a `Greedy` command ``--clips``, ``--set`` and ``--limit``."""
    sound = click.Path(exists=True, path_type=Path)
    for option in (
        click.option(
            "--limit", type=click.IntRange(1), help="Take so many clips of a folder at most."
        ),
        click.option(
            "--set", "sets", multiple=True, callback=_pairs, metavar="NAME=FOLDER...", help="A set."
        ),
        click.option(
            "--clips",
            multiple=True,
            type=sound,
            metavar="SOUND_OR_FOLDER...",
            help="Held-out speech; a set is named by its folder.",
        ),
    ):
        command = option(command)
    return command


def named(clips: tuple[Path, ...], sets: Sets) -> Sets:
    """Return all that was given, by the set it belongs to."""
    given = [(p.resolve().name if p.is_dir() else p.resolve().parent.name, p) for p in clips] + sets
    if not given:
        raise click.UsageError("say what to judge by: --clips or --set")
    return given


def _pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> Sets:
    pairs = []
    for value in values:
        name, _, folder = value.partition("=")
        if not name or not Path(folder).exists() or not folder:
            raise click.BadParameter(f"{value!r} is not NAME=FOLDER, a folder that exists")
        pairs.append((name, Path(folder)))
    return pairs
