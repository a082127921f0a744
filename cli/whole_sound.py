"""Options and refusals of models that need the whole sound, or that do not stream."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import click

from fcs_edge.cli.options import Seconds
from fcs_edge.codec import Codec
from fcs_edge.errors import FcsError
from fcs_edge.modelfile.config import STREAMING
from fcs_edge.streams.whole_signal import EXACT_LIMIT, Choice, TooLongError
from fcs_edge.streams.whole_windows import DEFAULT_OVERLAP, MIN_WINDOW, MOST_SECONDS

_F = TypeVar("_F", bound=Callable[..., Any])

WHOLE_OPTIONS = ("exact", "window", "overlap")
"""Parameters of `whole_options`."""


def whole_options(command: _F) -> _F:
    """Add the options of models that need the whole sound; the command receives `choice`."""

    @functools.wraps(command)
    def run(exact: bool, window: float | None, overlap: float | None, **values: Any) -> Any:
        if exact and window is not None:
            raise click.UsageError(
                "--exact encodes the sound at once, --window does not: give one."
            )
        if overlap is not None and (window is None or overlap > window / 2):
            raise click.UsageError(
                "--overlap is the sound that windows share: give --window, of twice as many "
                "seconds or more."
            )
        return command(choice=Choice(exact, window, overlap), **values)

    options = (
        click.option(
            "--exact",
            is_flag=True,
            help="Of a model that needs the whole sound: encode it at once, however long it is. "
            f"[default: up to {EXACT_LIMIT / 60:g} minutes]",
        ),
        click.option(
            "--window",
            type=Seconds(MIN_WINDOW, MOST_SECONDS),
            metavar="SECONDS",
            help="Of such a model: encode overlapping windows, in the memory of one, to other "
            "tokens.",
        ),
        click.option(
            "--overlap",
            type=Seconds(0.02, MOST_SECONDS),
            metavar="SECONDS",
            help="Sound that two windows share, half of one at most. "
            f"[default: {DEFAULT_OVERLAP:g}, or half a window]",
        ),
    )
    for option in reversed(options):
        run = option(run)
    return cast(_F, run)


def check_choice(codec: Codec, choice: Choice) -> None:
    """Refuse options that would change nothing.

    Raises
    ------
    click.UsageError
        The model encodes streams.
    """
    for name, value in choice._asdict().items():
        if codec.encodes_streams and value not in (False, None):
            raise click.UsageError(
                f"--{name} is for models that need the whole sound; {codec.name} encodes streams."
            )


def check_streaming(name: str, codec: Codec, streams: bool) -> None:
    """Refuse an option of streams that a model would leave without effect.

    Parameters
    ----------
    name : str
        The option, without its dashes.
    codec : Codec
        The model.
    streams : bool
        Whether the part of it that the option is for streams.

    Raises
    ------
    click.UsageError
        That part does not stream.
    """
    if not streams:
        needs = "all tokens" if codec.encodes_streams else "the whole sound"
        raise click.UsageError(f"--{name} is for models that stream; {codec.name} needs {needs}.")


@contextmanager
def naming_options() -> Iterator[None]:
    """Turn the refusal of a long sound into one that names options."""
    try:
        yield
    except TooLongError:
        raise click.UsageError(f"{TooLongError('--exact', '--window 30')}.") from None


def require_streams(codec: Codec, *, encoder: bool = True, decoder: bool = True) -> Codec:
    """Refuse a model that does not stream, or lacks a half, for live sound; return any other.

    Parameters
    ----------
    codec : Codec
        The model.
    encoder : bool
        Whether its encoder is used, not only what it sends.
    decoder : bool
        Whether its decoder must stream, too.

    Raises
    ------
    FcsError
        The model needs the whole sound, or all tokens, or lacks a half.
    """
    codec.model.require(*(["encoder"] if encoder else []), *(["decoder"] if decoder else []))
    if not codec.encodes_streams:
        raise FcsError(f"{codec.name} needs the whole sound, and cannot be live; {STREAMING}")
    if decoder and not codec.decodes_streams:
        raise FcsError(f"{codec.name} needs all tokens, and cannot be live; {STREAMING}")
    return codec
