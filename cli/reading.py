"""Options of how the sound of a file or a pipe is read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeVar, cast

import click

from fcs_edge.audio.reader import MAX_RATE, MIN_RATE, RAW_FORMATS, AudioInput, Channel, open_input
from fcs_edge.cli.options import resampler_option

_F = TypeVar("_F", bound=Callable[..., Any])


class Reading(NamedTuple):
    """How a sound is read."""

    raw: str | None
    """The format of bare samples; None where there is a header."""
    rate: int
    """Of bare samples, in Hz."""
    channels: int
    """Of bare samples."""
    resampler: str
    """What brings the sound to the model's rate."""

    def open(
        self, source: str, channel: Channel, strict: bool
    ) -> AbstractContextManager[AudioInput]:
        """Return the sound of a file, or of standard input if `source` is ``-``."""
        how: dict[str, Any] = {"channel": channel, "strict": strict, "resampler": self.resampler}
        return open_input(source, self.raw, self.rate, self.channels, **how)


def reading_options(command: _F) -> _F:
    """Add the options of how a sound is read; the command receives `reading`."""

    @functools.wraps(command)
    def run(raw: str | None, rate: int, channels: int, resampler: str, **values: Any) -> Any:
        return command(reading=Reading(raw, rate, channels, resampler), **values)

    for add in (resampler_option, _channels_option, _rate_option, _raw_option):
        run = add(run)
    return cast(_F, run)


_raw_option = click.option(
    "--raw",
    type=click.Choice(list(RAW_FORMATS)),
    help="IN is bare samples of this format, without a header.",
)
_rate_option = click.option(
    "--rate",
    type=click.IntRange(MIN_RATE, MAX_RATE),
    default=16000,
    show_default=True,
    help="Sample rate of --raw input in Hz.",
)
_channels_option = click.option(
    "--channels",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Channels of --raw input, interleaved.",
)
