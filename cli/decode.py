"""``fcs-edge decode``: tokens to sound."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import click

import fcs_edge
from fcs_edge.audio_reader import RAW_FORMATS
from fcs_edge.audio_writer import FILE_FORMATS, AudioOutput, FileOutput, StreamOutput
from fcs_edge.bitstream.reader import BitstreamReader, Damage, Event, read_batches
from fcs_edge.cli.options import (
    common_options,
    force_option,
    latency_option,
    model_option,
    output_option,
)
from fcs_edge.cli.output_files import check_output, output_file, output_path
from fcs_edge.cli.ui.compile_notice import prepare
from fcs_edge.cli.ui.messages import Messages, Repeated
from fcs_edge.cli.ui.progress import progress_bar
from fcs_edge.codec import Codec
from fcs_edge.errors import BitstreamError
from fcs_edge.event_decoder import EventDecoder, check_header, decode_npy, read_header
from fcs_edge.files import is_regular
from fcs_edge.live import devices
from fcs_edge.live.latency import Latency
from fcs_edge.live.player import ProbedPipe, open_player
from fcs_edge.model.layers import F32
from fcs_edge.token_files import LIVE_BLOCK_SECONDS, header_of


@click.command()
@click.argument("source", metavar="IN")
@click.argument("out", metavar="[OUT]", required=False)
@model_option
@click.option("--play", "playing", is_flag=True, help="Play the sound; there is no OUT.")
@output_option
@latency_option
@click.option(
    "--join",
    is_flag=True,
    help="Accept the middle of a live stream of this model; start at its next block. --play of "
    "standard input implies it.",
)
@click.option(
    "--raw",
    type=click.Choice(list(RAW_FORMATS)),
    help="Write bare samples of this format, without a header.",
)
@click.option("--strict", is_flag=True, help="Stop at the first damage and write nothing.")
@click.option(
    "--any-model", is_flag=True, help="Decode even if another model encoded the bitstream."
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

    OUT is a .wav, .flac or .ogg file. As -, it is a WAV on standard output, or bare samples
    with --raw, flushed chunk by chunk. With --play there is no OUT.

    Damaged blocks become silence of the same length, with a warning and exit code 1.

    \b
    Examples:
      fcs-edge decode speech.fcs decoded.wav
      fcs-edge decode speech.fcs --play
      ssh pi fcs-edge encode --mic - | fcs-edge decode - --play
    """
    messages = Messages(quiet)
    if playing == (out is not None):
        raise click.UsageError("Missing argument 'OUT'; give OUT or --play, not both.")
    if playing:
        devices.find("output", speaker)
    elif out is not None:
        _check_out(out, raw, force)
    codec = fcs_edge.load(model)
    prepare(codec, messages, decoder=True)
    with ExitStack() as stack:
        if source != "-" and Path(source).suffix == ".npy":
            opened = _Input(decode_npy(Path(source), codec))
        else:
            mode = _Mode(playing, out == "-", join, strict, any_model)
            opened = _open_bitstream(source, mode, codec, messages, stack)
        if playing:
            player = open_player(codec, speaker, latency, opened.live, messages.warn)
            sink: Callable[[F32], None] = stack.enter_context(player).write
            stack.enter_context(suppress(KeyboardInterrupt))
        else:
            sink = stack.enter_context(_output(str(out), raw, codec)).write
        n_samples = 0
        show = stack.enter_context(progress_bar(messages, "Decoding", opened.seconds))
        for samples in opened.blocks:
            sink(samples)
            n_samples += samples.size
            show(n_samples / codec.sample_rate_out)
    messages.note(f"{n_samples / codec.sample_rate_out:.2f} s at {codec.sample_rate_out} Hz")
    if opened.reader is not None and opened.reader.damaged:
        click.get_current_context().exit(1)


class _Mode(NamedTuple):
    """How a bitstream is decoded: the command's options."""

    playing: bool
    piped: bool
    join: bool
    strict: bool
    any_model: bool


class _Input(NamedTuple):
    """An opened input: the sound to write, and facts about it."""

    blocks: Iterator[F32]
    seconds: float | None = None
    """The approximate duration, where it is known."""
    live: bool = False
    reader: BitstreamReader | None = None


def _open_bitstream(
    source: str, mode: _Mode, codec: Codec, messages: Messages, stack: ExitStack
) -> _Input:
    """Open a bitstream, read its header, and return its decoded sound."""
    file = sys.stdin.buffer if source == "-" else stack.enter_context(_open(source))
    label = "standard input" if source == "-" else source
    live = (mode.piped or mode.playing) and not is_regular(file)
    pipe = None
    if mode.playing and live:
        pipe = ProbedPipe(file)
        live = pipe.live
    assumed = header_of(codec, LIVE_BLOCK_SECONDS, live=True)
    joining = mode.join or pipe is not None
    reader = BitstreamReader(eager=live, strict=mode.strict, join=assumed if joining else None)
    stack.enter_context(_named(label))
    header, batches = read_header(read_batches(pipe or file, reader))
    if reader.joined:
        messages.warn(f"{label}: has no header; decoded as a stream of {codec.name}")
    check_header(header, codec, mode.any_model)
    blocks = _decoded(batches, EventDecoder(codec, live=live), reader, messages, label)
    seconds = None
    if is_regular(file):
        seconds = os.fstat(file.fileno()).st_size * 8 / codec.bitrate
    return _Input(blocks, seconds, live, reader)


def _check_out(out: str, raw: str | None, force: bool) -> None:
    """Refuse an output of an unknown kind, or one that is not writable."""
    if out != "-" and raw is None and Path(out).suffix.lower() not in FILE_FORMATS:
        raise click.UsageError("OUT must end in .wav, .flac or .ogg, or be - for standard output.")
    check_output(out, force)


def _decoded(
    batches: Iterator[list[Event]],
    decoder: EventDecoder,
    reader: BitstreamReader,
    messages: Messages,
    label: str,
) -> Iterator[F32]:
    """Yield the sound of a bitstream, (n,) float32 at a time, and warn about damage."""
    damage = Repeated(lambda text: messages.warn(f"{label}: {text}"))
    for events in batches:
        for event in events:
            if isinstance(event, Damage):
                damage.add(event.message)
        yield from decoder.decode(events)
    if not reader.ended:
        yield from decoder.close()
    damage.close()
    if reader.damaged:
        messages.warn(f"{label}: damaged; {decoder.seconds_lost:.2f} s of it are silence")


@contextmanager
def _named(label: str) -> Iterator[None]:
    """Add the name of the input to a bitstream's error."""
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
    """Open the output; it is complete, and appears, when the block ends without an error."""
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
