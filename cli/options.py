"""Options that several commands share."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeVar, cast

import click
from click.core import ParameterSource

from fcs_edge.audio.resampling import DEFAULT_RESAMPLER, RESAMPLERS
from fcs_edge.bitstream.protection import MAX_SHARE, MIN_SHARE
from fcs_edge.bitstream.radio_packets import MAX_PACKET_BYTES, MIN_PACKET_BYTES
from fcs_edge.bitstream.reed_solomon import library
from fcs_edge.files import naming
from fcs_edge.live.latency import MARGINS, MAX_LATENCY_SECONDS, Latency
from fcs_edge.tokens.fcs_options import (
    BLOCK_SECONDS,
    MOST_BLOCK_SECONDS,
    FcsOptions,
    check_tags,
)

_INPUTS = ("source", "file", "path")
"""Parameters of commands that name a file; those with an address have sockets too."""


_F = TypeVar("_F", bound=Callable[..., Any])


def _option(*names: str, help: str, **settings: Any) -> Callable[[_F], _F]:
    """Return a decorator that adds an option to a command."""

    def add(command: _F) -> _F:
        decorate: Callable[[_F], _F] = click.option(*names, help=help, **settings)
        return decorate(command)

    return add


def _latency(context: click.Context, option: click.Parameter, value: str) -> Latency:
    """Return ``low`` or ``high`` unchanged, or the number of seconds."""
    if value in MARGINS:
        return value
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= MAX_LATENCY_SECONDS:
        raise click.BadParameter(
            f"{value!r} is not low, high or a number of seconds up to {MAX_LATENCY_SECONDS:g}."
        )
    return seconds


def _bits(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """Return a number of bits."""
    return None if value is None else int(value)


def _threads(context: click.Context, option: click.Parameter, value: str) -> int | None:
    """Return the number of threads, None for ``auto``."""
    return None if value == "auto" else int(value)


def _channel(context: click.Context, option: click.Parameter, value: str) -> int | str:
    """Return the number of a channel, from 1, or ``mean``."""
    if value == "mean":
        return value
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"{value!r} is not mean, and not a channel's number from 1.")
    return int(value)


def _share(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """Return a share of 1 from a percentage."""
    if value is None:
        return None
    try:
        share = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not MIN_SHARE <= share <= MAX_SHARE:
        limits = f"{MIN_SHARE:.0%} to {MAX_SHARE:.0%}"
        raise click.BadParameter(f"{value!r} is not a share from {limits}.")
    library()
    return share


class FiniteRange(click.FloatRange):
    """A finite number in a range."""

    noun = "number"

    def convert(
        self, value: Any, option: click.Parameter | None, context: click.Context | None
    ) -> float:
        """Return the number; refuse nan and inf, which no comparison stops."""
        number = float(super().convert(value, option, context))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a {self.noun}.", option, context)
        return number


class Seconds(FiniteRange):
    """A finite number of seconds: greater than zero, or from `least` to `most`."""

    noun = "number of seconds"

    def __init__(self, least: float = 0, most: float | None = None) -> None:
        super().__init__(least, most, min_open=not least)


def _tags(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Return metadata by key; of a key that is given twice, the last value holds."""
    tags = {}
    for text in values:
        key, is_there, value = text.partition("=")
        if not is_there:
            raise click.BadParameter(f"{text!r} has no =, as in title=Notes.")
        tags[key] = value
    try:
        check_tags(tags)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None
    return tags


_block_option = _option(
    "--block",
    "block_seconds",
    type=Seconds(0.02, MOST_BLOCK_SECONDS),
    help="Seconds of sound in a block of the bitstream: what one damaged bit costs. Shorter ones "
    "take more bytes. "
    f"[default: {BLOCK_SECONDS:g}; a pipe receives each chunk at once]",
)
_packet_option = _option(
    "--block-bytes",
    "packet_bytes",
    type=click.IntRange(MIN_PACKET_BYTES, MAX_PACKET_BYTES),
    help="Make blocks that fit a radio's packet of so many bytes; see fcs-edge split. Each holds "
    "as many tokens as fit. With --fec, the cells of protection fit it.",
)
_fec_option = _option(
    "--fec",
    "protection",
    metavar="SHARE",
    callback=_share,
    help="Add so many bytes, 5% to 100%, from which decode restores bytes that are wrong or "
    "missing. Needs the package reedsolo.",
)
_raw_tokens_option = _option(
    "--raw-tokens",
    is_flag=True,
    help="Store tokens without entropy coding: larger, and decode --salvage loses one token by one "
    "damaged bit.",
)
dtx_option = _option(
    "--dtx",
    is_flag=True,
    help="Replace the tokens of pauses by one that sounds alike (discontinuous transmission): a "
    "pause takes little, but is not what was recorded.",
)
salvage_option = _option(
    "--salvage",
    is_flag=True,
    help="Play raw tokens whose check fails, rather than silence: of --raw-tokens and of pipes.",
)
_tag_option = _option(
    "--tag",
    "tags",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_tags,
    help="Metadata: title, comment, time (ISO 8601) or a key of your own; repeatable. fcs-edge "
    "info shows it.",
)
model_option = _option(
    "-m",
    "--model",
    metavar="NAME|FILE",
    help="A model's name, as fcs-edge models lists them, or a model file. [default: "
    "FCS_EDGE_MODEL, or edge-65k]",
)
dataset_model_option = _option(
    "-m",
    "--model",
    metavar="NAME|FILE",
    help="The model of the tokens. [default: one that fcs-edge models lists, with the dataset's "
    "fingerprint]",
)
activations_option = _option(
    "--activations",
    type=click.Choice(["8", "12"]),
    callback=_bits,
    help="Bits of the activations that int8 weights multiply: 8 is faster on some CPUs and less "
    "exact. [default: 12]",
)
force_option = _option("-f", "--force", is_flag=True, help="Overwrite existing output files.")
latency_option = _option(
    "--latency",
    metavar="low|high|SECONDS",
    callback=_latency,
    default="high",
    show_default=True,
    help="Latency to request from the devices; it also sets the reserve for late chunks.",
)
input_option = _option(
    "--input",
    "microphone",
    metavar="DEVICE",
    help="The microphone: a number of `fcs-edge mic --list-devices`, or a part of its name.",
)
output_option = _option(
    "--output",
    "speaker",
    metavar="DEVICE",
    help="The speaker: a number of `fcs-edge mic --list-devices`, or a part of its name.",
)
channel_option = _option(
    "--channel",
    metavar="N|mean",
    callback=_channel,
    default="mean",
    show_default=True,
    help="The channel to encode, from 1, or the mean of all.",
)
resampler_option = _option(
    "--resampler",
    type=click.Choice(list(RESAMPLERS)),
    default=DEFAULT_RESAMPLER,
    show_default=True,
    help="What brings a file or a pipe to the model's rate. torchaudio: other tokens, those of a "
    "PyTorch pipeline.",
)
reconnect_option = _option(
    "--reconnect", is_flag=True, help="Wait for a device that is lost, and continue with it."
)
key_option = _option(
    "--key",
    metavar="FILE",
    help="This end's half of the key that seals the packets; see fcs-edge key.",
)
duration_option = _option(
    "--duration",
    type=Seconds(),
    metavar="SECONDS",
    help="Stop after this much sound.",
)
_debug_option = _option(
    "--debug", is_flag=True, expose_value=False, help="Show the traceback of an error."
)
_quiet_option = _option("-q", "--quiet", is_flag=True, help="Print warnings and errors only.")
threads_option = _option(
    "--threads",
    type=click.Choice(["1", "2", "4"]),
    callback=_threads,
    default="1",
    show_default=True,
    help="Threads that share each chunk's work; the result is the same, to the bit.",
)
live_threads_option = _option(
    "--threads",
    type=click.Choice(["auto", "1", "2", "4"]),
    callback=_threads,
    default="auto",
    show_default=True,
    help="Threads that share each chunk's work; auto: as many as a chunk needs to take half of "
    "its time at most.",
)


def monitor_option(help: str) -> Callable[[_F], _F]:
    """Return a decorator that adds --monitor, on or off."""
    return _option(
        "--monitor",
        type=click.Choice(["on", "off"]),
        default="on",
        show_default=True,
        help=help,
    )


def refuse_unused(*rules: tuple[str, bool, tuple[str, ...]]) -> None:
    """Refuse options that the caller gives and that would change nothing.

    Parameters
    ----------
    rules : tuple of str, bool and tuple of str
        What the options are for, whether the command has it, and the options' parameters.

    Raises
    ------
    click.UsageError
        One of them is given on the command line.
    """
    context = click.get_current_context()
    for purpose, is_there, names in rules:
        for option in context.command.params:
            given = context.get_parameter_source(option.name or "")
            if not is_there and option.name in names and given is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"{option.opts[-1]} is for {purpose} only.")


BITSTREAM_OPTIONS = ("block_seconds", "packet_bytes", "protection", "raw_tokens", "tags", "dtx")
"""Parameters of `bitstream_options`."""


def bitstream_options(command: _F) -> _F:
    """Add the options of how a bitstream is written; the command receives `fcs`."""

    @functools.wraps(command)
    def run(
        block_seconds: float | None,
        packet_bytes: int | None,
        protection: float | None,
        raw_tokens: bool,
        tags: dict[str, str],
        dtx: bool,
        **values: Any,
    ) -> Any:
        sizes = (block_seconds, packet_bytes)
        if None not in sizes:
            raise click.UsageError("--block and --block-bytes both set the size of blocks.")
        fcs = FcsOptions(
            block_seconds=block_seconds or BLOCK_SECONDS,
            raw=raw_tokens,
            eager=(*sizes, protection) == (None, None, None),
            tags=tags,
            dtx=dtx,
            packet_bytes=packet_bytes,
            protection=protection,
        )
        return command(fcs=fcs, **values)

    blocks = (_block_option, _packet_option, _fec_option, _raw_tokens_option)
    options = (*blocks, _tag_option, dtx_option)
    for add in reversed(options):
        run = add(run)
    return cast(_F, run)


def common_options(command: _F) -> _F:
    """Add --quiet and --debug; the command receives `quiet`.

    An error that names no file names the command's input.
    """

    @functools.wraps(command)
    def run(**values: Any) -> Any:
        names = (values.get(name) for name in _INPUTS if "address" not in values)
        path = next((name for name in names if name), None)
        with nullcontext() if path is None else naming("standard input" if path == "-" else path):
            return command(**values)

    return _debug_option(_quiet_option(cast(_F, run)))
