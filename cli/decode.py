"""``fcs-edge decode``: tokens to sound."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import click

import fcs_edge
from fcs_edge.bitstream_reader import BitstreamReader, Damage
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
from fcs_edge.cli.playback import F32, Player, check_header, header_in, play_tokens, read_batches
from fcs_edge.cli.tokens import read_npy
from fcs_edge.codec import Codec
from fcs_edge.errors import BitstreamError

_FILE_CHUNKS = 8


@click.command()
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT")
@model_option
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
    out: str,
    model: str | None,
    raw: str | None,
    strict: bool,
    any_model: bool,
    force: bool,
    quiet: bool,
) -> None:
    r"""Decode the bitstream IN to the sound OUT.

    IN is a .fcs bitstream, an .npy of bare tokens, or - for a bitstream on standard input.
    OUT is a .wav, .flac or .ogg file, or - for a WAV, or with --raw bare samples, on standard
    output, flushed chunk by chunk. What is damaged becomes silence of the right length, with
    a warning and exit code 1.

    \b
    Examples:
      fcs-edge decode speech.fcs decoded.wav
      fcs-edge decode --raw s16le speech.fcs - | aplay -f S16_LE -r 24000
    """
    messages = Messages(quiet)
    if out != "-" and raw is None and Path(out).suffix.lower() not in FILE_FORMATS:
        raise click.UsageError("OUT must end in .wav, .flac or .ogg, or be - for standard output.")
    check_output(out, force)
    codec = fcs_edge.load(model)
    if source != "-" and Path(source).suffix == ".npy":
        prepare(codec, messages, decoder=True)
        with _output(out, raw, codec) as sink:
            _write(play_tokens(read_npy(Path(source)), codec, Path(source)), sink, codec, None)
        return
    with ExitStack() as stack:
        file = sys.stdin.buffer if source == "-" else stack.enter_context(_open(source))
        damaged = _decode_stream(file, source, out, raw, codec, messages, strict, any_model)
    if damaged:
        click.get_current_context().exit(1)


def _decode_stream(
    file: BinaryIO,
    source: str,
    out: str,
    raw: str | None,
    codec: Codec,
    messages: Messages,
    strict: bool,
    any_model: bool,
) -> bool:
    """Decode a bitstream; return whether it was damaged."""
    live = out == "-" and not is_regular(file)
    label = "standard input" if source == "-" else source
    reader = BitstreamReader(eager=live, strict=strict)
    batches = read_batches(file, reader)
    prepare(codec, messages, decoder=True)
    with ExitStack() as stack:
        player = Player(codec, live=live, max_chunks=1 if live else _FILE_CHUNKS)
        sink: AudioOutput | None = None
        done = 0
        show = stack.enter_context(messages.progress("Decoding", None))
        try:
            for events in batches:
                header = header_in(events)
                if header is not None:
                    check_header(header, codec, any_model)
                    sink = stack.enter_context(_output(out, raw, codec))
                for event in events:
                    if isinstance(event, Damage):
                        messages.warn(f"{label}: {event.message}")
                if sink is not None:
                    done += _write(player.play(events), sink, codec, show, done)
            if sink is not None and not reader.ended:
                done += _write(player.close(), sink, codec, show, done)
        except BitstreamError as error:
            raise BitstreamError(f"{label}: {error}") from None
    seconds = player.n_lost / codec.token_rate
    if reader.damaged:
        messages.warn(f"{label}: damaged; {seconds:.2f} s of it are silence")
    messages.note(f"{done / codec.sample_rate_out:.2f} s at {codec.sample_rate_out} Hz")
    return reader.damaged > 0


def _write(
    blocks: Iterator[F32],
    sink: AudioOutput,
    codec: Codec,
    show: Callable[[float], None] | None,
    done: int = 0,
) -> int:
    """Write blocks of sound; return how many samples they were."""
    start = done
    for samples in blocks:
        if samples.size:
            sink.write(samples)
            done += samples.size
            if show is not None:
                show(done / codec.sample_rate_out)
    return done - start


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
