"""``fcs-edge encode``: sound to tokens."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import BinaryIO, Protocol

import click

import fcs_edge
from fcs_edge.bitstream.writer import BitstreamWriter
from fcs_edge.cli.audio import MAX_RATE, MIN_RATE, RAW_FORMATS, is_regular, open_input
from fcs_edge.cli.common import (
    Messages,
    check_output,
    common_options,
    force_option,
    is_special,
    model_option,
    output_file,
    prepare,
)
from fcs_edge.cli.live import (
    ending,
    input_option,
    latency_option,
    open_microphone,
    prompt_threads,
)
from fcs_edge.cli.tokens import FILE_BLOCK_SECONDS, LIVE_BLOCK_SECONDS, NpyWriter, header_of
from fcs_edge.cli.ui.panel import shortfall, troubles
from fcs_edge.codec import BLOCK_CHUNKS, Codec
from fcs_edge.live import devices
from fcs_edge.live.devices import DeviceLostError
from fcs_edge.live.loop import Loopback
from fcs_edge.live.opened import Latency
from fcs_edge.model.layers import F32, U16


class TokenWriter(Protocol):
    """Where tokens go."""

    def write(self, tokens: U16) -> None:
        """Append tokens."""

    def close(self, n_samples: int, tokens: U16 | None = None) -> None:
        """Finish with the last tokens, stating how many input samples all stand for."""


@click.command()
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT", required=False)
@model_option
@click.option("--mic", "hearing", is_flag=True, help="Take the microphone in place of IN.")
@input_option
@latency_option
@click.option(
    "--raw",
    type=click.Choice(list(RAW_FORMATS)),
    help="IN is bare samples of this format, with no header.",
)
@click.option(
    "--rate",
    type=click.IntRange(MIN_RATE, MAX_RATE),
    default=16000,
    show_default=True,
    help="Sample rate of --raw input in Hz.",
)
@click.option(
    "--channels",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Channels of --raw input, interleaved; they are averaged.",
)
@click.option(
    "--block",
    "block_seconds",
    type=click.FloatRange(0.02, 80),
    help="Seconds of sound in a block of the bitstream, the unit that a damaged byte can cost. "
    "[default: 12, and 1 into a pipe]",
)
@force_option
@common_options
def encode(
    source: str,
    out: str | None,
    model: str | None,
    hearing: bool,
    microphone: str | None,
    latency: Latency,
    raw: str | None,
    rate: int,
    channels: int,
    block_seconds: float | None,
    force: bool,
    quiet: bool,
) -> None:
    """Encode the sound IN to the bitstream OUT.

    IN is a sound file (WAV, FLAC, Ogg, MP3, ...; any rate, any channels) or - for a WAV, or
    with --raw bare samples, on standard input. OUT is a .fcs bitstream, an .npy of bare
    tokens, or - for a bitstream on standard output, flushed chunk by chunk. With --mic there is
    no IN.

    \b
    Examples:
      fcs-edge encode speech.wav speech.fcs
      fcs-edge encode --mic speech.fcs
      fcs-edge encode --mic - | ssh host fcs-edge decode - --play
      fcs-edge encode --raw s16le --rate 48000 - - < samples | ssh host fcs-edge decode - out.wav
    """
    messages = Messages(quiet)
    source, out = _arguments(source, out, hearing)
    named = Path(out).suffix in (".fcs", ".npy")
    if out != "-" and not named and not is_special(Path(out)) and not Path(out).is_dir():
        raise click.UsageError("OUT must end in .fcs or .npy, or be - for standard output.")
    check_output(out, force)
    if hearing:
        devices.find("input", microphone)
    codec = fcs_edge.load(model)
    prepare(codec, messages, encoder=True)
    if hearing:
        with output_file(out) as file:
            writer = _writer(file, out, codec, block_seconds)
            lost = _encode_microphone(codec, writer, microphone, latency, messages)
        if lost:
            click.get_current_context().exit(1)
        return
    with ExitStack() as stack:
        sound = stack.enter_context(open_input(source, raw, rate, channels))
        file = stack.enter_context(output_file(out))
        writer = _writer(file, out, codec, block_seconds)
        show = stack.enter_context(messages.progress("Encoding", sound.seconds))
        encoder = codec.stream_encoder(1 if source == "-" else BLOCK_CHUNKS)
        n_samples = 0
        with _until_interrupted(sound.at_rate(codec.sample_rate_in), source == "-") as blocks:
            for block in blocks:
                writer.write(encoder.push(block))
                n_samples += block.size
                show(n_samples / codec.sample_rate_in)
        writer.close(n_samples, encoder.flush())
    if sound.n_not_finite:
        messages.warn(f"{sound.n_not_finite} samples were NaN or infinite; they are taken as 0")
    if n_samples == 0:
        messages.warn("the input holds no sound")
    messages.note(f"{n_samples / codec.sample_rate_in:.2f} s at {codec.bitrate:g} bit/s")


def _arguments(source: str, out: str | None, hearing: bool) -> tuple[str, str]:
    """Return IN and OUT; with --mic the only argument is OUT."""
    if hearing and out is not None:
        raise click.UsageError("--mic takes the place of IN: give OUT alone.")
    if hearing:
        return "", source
    if out is None:
        raise click.UsageError("Missing argument 'OUT'; or --mic takes the place of IN.")
    return source, out


def _encode_microphone(
    codec: Codec, writer: TokenWriter, wanted: str | None, latency: Latency, messages: Messages
) -> bool:
    """Encode what the microphone hears until Ctrl-C; tell whether it went away before."""
    loop = Loopback(codec, lambda samples, tokens, sound: writer.write(tokens), decode=False)
    with prompt_threads(), ending(loop.stop), ExitStack() as stack:
        heard = open_microphone(codec, wanted, latency)
        stack.callback(heard.close)
        messages.note(f"listening to {heard.device.name}; Ctrl-C ends")
        lost = None
        try:
            loop.run(heard, None)
        except DeviceLostError as error:
            lost = error
    seconds = loop.statistics.n_tokens / codec.token_rate
    writer.close(round(seconds * codec.sample_rate_in))
    messages.note(f"{seconds:.2f} s at {codec.bitrate:g} bit/s")
    for trouble in (troubles(loop), shortfall(loop, codec)):
        if trouble:
            messages.warn(trouble)
    if lost is not None:
        messages.warn(f"{lost}; what was heard before is written")
    return lost is not None


def _writer(file: BinaryIO, out: str, codec: Codec, seconds: float | None) -> TokenWriter:
    if Path(out).suffix == ".npy":
        return NpyWriter(file)
    live = not is_regular(file)
    if seconds is None:
        seconds = LIVE_BLOCK_SECONDS if live else FILE_BLOCK_SECONDS
    return BitstreamWriter(file, header_of(codec, seconds, live=live), eager=live)


@contextmanager
def _until_interrupted(blocks: Iterator[F32], live: bool) -> Iterator[Iterator[F32]]:
    """Let the first Ctrl-C end a live input like its own end would, so that nothing is lost."""
    if not live:
        yield blocks
        return
    waiting = stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        if waiting or stopped:
            raise KeyboardInterrupt
        stopped = True

    def until() -> Iterator[F32]:
        nonlocal waiting
        while not stopped:
            waiting = True
            try:
                block = next(blocks, None)
            except KeyboardInterrupt:
                return
            finally:
                waiting = False
            if block is None:
                return
            yield block

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield until()
    finally:
        signal.signal(signal.SIGINT, before)
