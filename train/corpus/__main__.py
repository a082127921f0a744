"""Build the corpus: python -m train.corpus OUT_DIR."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import click

from train.corpus import (
    backgrounds,
    classic,
    games,
    held_out,
    kokoro,
    neural,
    recordings,
    word_sets,
)
from train.corpus.jobs import Builder, Job

_MINUTES = {
    "hibari": 90.0,
    "kokoro": 120.0,
    "kokoro-far": 120.0,
    "joe": 40.0,
    "flite": 6.0,
    "festival": 6.0,
}
_GAMES = ("tuxpaint", "ktuberling", "hedgewars", "fillets", "kajongg", "klettres")
_SPOKEN = ("asterisk", *_GAMES, "festvox-ru", "prompts")
SOURCES = (*_SPOKEN, *_MINUTES)


def parsed_minutes(
    context: click.Context, option: click.Parameter, given: tuple[str, ...]
) -> dict[str, float]:
    """Return the minutes of each synthetic source: the defaults, and what SOURCE=N says."""
    minutes = dict(_MINUTES)
    for pair in given:
        name, _, number = pair.partition("=")
        if name not in _MINUTES or not number.replace(".", "", 1).isdigit():
            raise click.BadParameter(f"{pair!r} is not SOURCE=NUMBER of {', '.join(_MINUTES)}")
        minutes[name] = float(number)
    return minutes


def makers(minutes: dict[str, float], package: Path) -> dict[str, Callable[[], list[Job]]]:
    """Return what lists each source's jobs.

    Parameters
    ----------
    minutes : dict of str to float
        Of each synthetic source.
    package : Path
        The npm archive of kokoro-js.
    """
    return {
        "asterisk": recordings.asterisk,
        "hibari": lambda: neural.hibari_heart(minutes["hibari"]),
        "kokoro": lambda: kokoro.kokoro_voices(minutes["kokoro"], package),
        "kokoro-far": lambda: kokoro.far_voices(minutes["kokoro-far"], package),
        "joe": lambda: neural.piper_joe(minutes["joe"]),
        "festival": lambda: classic.festival(minutes["festival"]),
        "tuxpaint": games.stamps,
        "ktuberling": games.potatoes,
        "hedgewars": games.hedgehogs,
        "fillets": games.fishes,
        "kajongg": games.tiles,
        "festvox-ru": recordings.russian,
        "klettres": recordings.klettres,
        "flite": lambda: classic.flite(minutes["flite"]),
        "prompts": recordings.narrow_prompts,
    }


def source_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the folder, and the options that select sources, to a command."""
    options = (
        click.argument(
            "folder", metavar="OUT_DIR", type=click.Path(file_okay=False, path_type=Path)
        ),
        click.option(
            "--only",
            multiple=True,
            type=click.Choice(SOURCES),
            help="Write this source; repeatable.",
        ),
        click.option(
            "--minutes",
            multiple=True,
            callback=parsed_minutes,
            metavar="SOURCE=N",
            help="Synthesise N minutes (of each voice, for flite and festival); repeatable.",
        ),
        click.option(
            "--kokoro-js",
            type=click.Path(dir_okay=False, path_type=Path),
            help="The npm archive with Kokoro's voices. [default: OUT_DIR/kokoro-js-1.2.1.tgz]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@source_options
def main(
    folder: Path, only: tuple[str, ...], minutes: dict[str, float], kokoro_js: Path | None
) -> None:
    """Build the training corpus in OUT_DIR. Shards that exist do not change.

    The sources take turns, shard by shard. Held-out clips, rooms and noises come last.
    """
    package = kokoro_js or folder / "kokoro-js-1.2.1.tgz"
    folder.mkdir(parents=True, exist_ok=True)
    builder = Builder(folder)
    sources = makers(minutes, package)
    rows = [make() for name, make in sources.items() if not only or name in only]
    for row in itertools.zip_longest(*rows):
        for job in row:
            if job is not None:
                builder.run(job)
    held_out.write_clips(folder, package)
    held_out.write_shards(folder)
    word_sets.write_sets(folder)
    backgrounds.write_rooms(folder / "rooms.npz")
    backgrounds.write_noises(folder / "noise.npy", folder)


if __name__ == "__main__":
    main()
