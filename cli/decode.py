"""``fcs-edge decode``: tokens to sound."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import click

import fcs_edge
from fcs_edge.bitstream.reader import BitstreamReader, Damage, Event, read_batches
from fcs_edge.cli.audio import (
    FILE_FORMATS,
    RAW_FORMATS,
    AudioOutput,
    FileOutput,
    StreamOutput,
    is_regular,
)
from fcs_edge.cli.common import (
    Messages,
    check_output,
    common_options,
    force_option,
    model_option,
    output_file,
    output_path,
    prepare,
)
from fcs_edge.cli.live import latency_option, output_option
from fcs_edge.cli.playback import (
    Player,
    check_header,
    play_tokens,
    read_header,
)
from fcs_edge.cli.sounding import Pipe, sounding
from fcs_edge.cli.tokens import LIVE_BLOCK_SECONDS, header_of
from fcs_edge.codec import Codec
from fcs_edge.errors import BitstreamError
from fcs_edge.live import devices
from fcs_edge.live.opened import Latency
from fcs_edge.model.layers import F32


@click.command()
@click.argument("source", metavar="IN")
@click.argument("out", metavar="[OUT]", required=False)
@model_option
@click.option("--play", "playing", is_flag=True, help="Play it in place of OUT.")
@output_option
@latency_option
@click.option(
    "--join",
    is_flag=True,
    help="IN is the middle of a live stream of this model: start at its next block. --play of "
    "standard input does so by itself.",
)
@click.option(
    "--raw",
    type=click.Choice(list(RAW_FORMATS)),
    help="Write bare samples of this format, with no header.",
)
@click.option("--strict", is_flag=True, help="Stop at the first damage and write nothing.")
@click.option(
    "--any-model", is_flag=True, help="Decode even if the bitstream was made with another model."
)
@force_option
@common_options
def decode(
    source: str,
    out: str | None,
    model: str | None,
    playing: bool,
    speaker: str | None,
    latency: Latency,
    join: bool,
    raw: str | None,
    strict: bool,
    any_model: bool,
    force: bool,
    quiet: bool,
) -> None:
    """Decode the bitstream IN to the sound OUT.

    IN is a .fcs bitstream, an .npy of bare tokens, or - for a bitstream on standard input.
    OUT is a .wav, .flac or .ogg file, or - for a WAV, or with --raw bare samples, on standard
    output, flushed chunk by chunk; with --play there is none. What is damaged becomes silence
    of the right length, with a warning and exit code 1.

    \b
    Examples:
      fcs-edge decode speech.fcs decoded.wav
      fcs-edge decode speech.fcs --play
      ssh pi fcs-edge encode --mic - | fcs-edge decode - --play
    """
    messages = Messages(quiet)
    if playing == (out is not None):
        raise click.UsageError("Missing argument 'OUT'; or --play takes its place, and not both.")
    if playing:
        devices.find("output", speaker)
    elif out is not None:
        _check_out(out, raw, force)
    codec = fcs_edge.load(model)
    prepare(codec, messages, decoder=True)
    reader = seconds = None
    n_samples = 0
    with ExitStack() as stack:
        if source != "-" and Path(source).suffix == ".npy":
            live = False
            blocks = play_tokens(Path(source), codec)
        else:
            file = sys.stdin.buffer if source == "-" else stack.enter_context(_open(source))
            label = "standard input" if source == "-" else source
            live = (out == "-" or playing) and not is_regular(file)
            pipe = None
            if playing and live:
                pipe = Pipe(file)
                live = pipe.live
            assumed = header_of(codec, LIVE_BLOCK_SECONDS, live=True)
            joining = join or pipe is not None
            reader = BitstreamReader(eager=live, strict=strict, join=assumed if joining else None)
            stack.enter_context(_named(label))
            header, batches = read_header(read_batches(pipe or file, reader))
            if reader.joined:
                messages.warn(f"{label}: has no header; taken for a stream of {codec.name}")
            check_header(header, codec, any_model)
            blocks = _play(batches, Player(codec, live=live), reader, messages, label)
            if is_regular(file):
                seconds = os.fstat(file.fileno()).st_size * 8 / codec.bitrate
        if playing:
            heard = stack.enter_context(sounding(codec, speaker, latency, live, messages))
            stack.enter_context(suppress(KeyboardInterrupt))
            sink: Callable[[F32], None] = heard.write
        else:
            sink = stack.enter_context(_output(str(out), raw, codec)).write
        show = stack.enter_context(messages.progress("Decoding", seconds))
        for samples in blocks:
            sink(samples)
            n_samples += samples.size
            show(n_samples / codec.sample_rate_out)
    messages.note(f"{n_samples / codec.sample_rate_out:.2f} s at {codec.sample_rate_out} Hz")
    if reader is not None and reader.damaged:
        click.get_current_context().exit(1)


def _check_out(out: str, raw: str | None, force: bool) -> None:
    """Refuse an output that cannot be written."""
    if out != "-" and raw is None and Path(out).suffix.lower() not in FILE_FORMATS:
        raise click.UsageError("OUT must end in .wav, .flac or .ogg, or be - for standard output.")
    check_output(out, force)


def _play(
    batches: Iterator[list[Event]],
    player: Player,
    reader: BitstreamReader,
    messages: Messages,
    label: str,
) -> Iterator[F32]:
    """Yield the sound of a bitstream, (n,) float32 at a time, and warn of what is lost."""
    for events in batches:
        for event in events:
            if isinstance(event, Damage):
                messages.warn(f"{label}: {event.message}")
        yield from player.play(events)
    if not reader.ended:
        yield from player.close()
    if reader.damaged:
        messages.warn(f"{label}: damaged; {player.seconds_lost:.2f} s of it are silence")


@contextmanager
def _named(label: str) -> Iterator[None]:
    """Let a bitstream's error say which input it is about."""
    try:
        yield
    except BitstreamError as error:
        raise BitstreamError(f"{label}: {error}") from None


def _open(source: str) -> BinaryIO:
    try:
        return Path(source).open("rb")
    except FileNotFoundError:
        raise BitstreamError(f"{source}: no such file") from None


@contextmanager
def _output(out: str, raw: str | None, codec: Codec) -> Iterator[AudioOutput]:
    """Open the output; it is finished, and appears, when the block ends well."""
    with ExitStack() as stack:
        sink: AudioOutput
        if out == "-" or raw is not None:
            file = stack.enter_context(output_file(out))
            sink = StreamOutput(file, raw, codec.sample_rate_out)
        else:
            path = stack.enter_context(output_path(out))
            sink = FileOutput(path, Path(out).suffix.lower(), codec.sample_rate_out)
        yield sink
        sink.close()
