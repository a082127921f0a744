"""Options of the commands that evaluate: which clips they use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Sets = list[tuple[str, Path]]


class Greedy(click.Command):
    """A command whose repeatable options take all values up to the next option."""

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
        click.option("--limit", type=click.IntRange(1), help="Most clips of a folder."),
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
    """Return all clips by the set that they belong to."""
    all_sets = [
        (p.resolve().name if p.is_dir() else p.resolve().parent.name, p) for p in clips
    ] + sets
    if not all_sets:
        raise click.UsageError("no clips: give --clips or --set")
    return all_sets


def _pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> Sets:
    pairs = []
    for value in values:
        name, _, folder = value.partition("=")
        if not name or not Path(folder).exists() or not folder:
            raise click.BadParameter(f"{value!r} is not NAME=FOLDER, a folder that exists")
        pairs.append((name, Path(folder)))
    return pairs
