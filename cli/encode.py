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
from fcs_edge.audio_reader import MAX_RATE, MIN_RATE, RAW_FORMATS, AudioInput, open_input
from fcs_edge.bitstream.writer import BitstreamWriter
from fcs_edge.cli.options import (
    channel_option,
    common_options,
    force_option,
    input_option,
    latency_option,
    model_option,
)
from fcs_edge.cli.output_files import check_output, is_special, output_file
from fcs_edge.cli.ui.compile_notice import prepare
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.cli.ui.panel import cancelled, shortfall, troubles
from fcs_edge.cli.ui.progress import progress_bar
from fcs_edge.codec import BLOCK_CHUNKS, Codec
from fcs_edge.files import is_regular
from fcs_edge.live import devices
from fcs_edge.live.devices import DeviceLostError
from fcs_edge.live.latency import Latency
from fcs_edge.live.loop import Loopback
from fcs_edge.live.session import open_microphone, prompt_threads, stop_on_signals
from fcs_edge.model.layers import F32, U16
from fcs_edge.token_files import FILE_BLOCK_SECONDS, LIVE_BLOCK_SECONDS, NpyWriter, header_of


class TokenWriter(Protocol):
    """An output of tokens."""

    def write(self, tokens: U16) -> None:
        """Append tokens."""

    def close(self, n_samples: int, tokens: U16 | None = None) -> None:
        """Write the last tokens, and the number of input samples that all tokens represent."""


@click.command()
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT", required=False)
@model_option
@click.option("--mic", "live", is_flag=True, help="Encode the microphone; there is no IN.")
@input_option
@channel_option
@latency_option
@click.option(
    "--raw",
    type=click.Choice(list(RAW_FORMATS)),
    help="IN is bare samples of this format, without a header.",
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
    help="Seconds of sound in a block of the bitstream; a damaged byte costs one block. "
    "[default: 12, and 1 into a pipe]",
)
@force_option
@common_options
def encode(
    source: str,
    out: str | None,
    model: str | None,
    live: bool,
    microphone: str | None,
    channel: int | str,
    latency: Latency,
    raw: str | None,
    rate: int,
    channels: int,
    block_seconds: float | None,
    force: bool,
    quiet: bool,
) -> None:
    """Encode the sound IN to the bitstream OUT.

    IN is a sound file (WAV, FLAC, Ogg, MP3 or another, of any rate and any channels). As -, it
    is a WAV on standard input, or bare samples with --raw. With --mic there is no IN.

    OUT is a .fcs bitstream or an .npy of bare tokens. As -, it is a bitstream on standard
    output, flushed chunk by chunk.

    \b
    Examples:
      fcs-edge encode speech.wav speech.fcs
      fcs-edge encode --mic speech.fcs
      fcs-edge encode --mic - | ssh host fcs-edge decode - --play
      fcs-edge encode --raw s16le --rate 48000 - - < samples | ssh host fcs-edge decode - out.wav
    """
    messages = Messages(quiet)
    source, out = _arguments(source, out, live)
    named = Path(out).suffix in (".fcs", ".npy")
    if out != "-" and not named and not is_special(Path(out)) and not Path(out).is_dir():
        raise click.UsageError("OUT must end in .fcs or .npy, or be - for standard output.")
    check_output(out, force)
    if live:
        devices.find("input", microphone)
    codec = fcs_edge.load(model)
    prepare(codec, messages, encoder=True)
    if live:
        with output_file(out) as file:
            writer = _writer(file, out, codec, block_seconds)
            lost = _encode_microphone(codec, writer, microphone, latency, channel, messages)
        if lost:
            click.get_current_context().exit(1)
        return
    with open_input(source, raw, rate, channels) as sound, output_file(out) as file:
        writer = _writer(file, out, codec, block_seconds)
        n_samples = _encode_input(codec, writer, sound, source == "-", messages)
    if sound.n_not_finite:
        messages.warn(f"{sound.n_not_finite} samples are NaN or infinite; they are encoded as 0")
    if n_samples == 0:
        messages.warn("the input holds no sound")
    messages.note(f"{n_samples / codec.sample_rate_in:.2f} s at {codec.bitrate:g} bit/s")


def _encode_input(
    codec: Codec, writer: TokenWriter, sound: AudioInput, live: bool, messages: Messages
) -> int:
    """Encode a file or pipe to its end; return the number of input samples."""
    encoder = codec.stream_encoder(1 if live else BLOCK_CHUNKS)
    n_samples = 0
    with (
        progress_bar(messages, "Encoding", sound.seconds) as show,
        _until_interrupted(sound.at_rate(codec.sample_rate_in), live) as blocks,
    ):
        for block in blocks:
            writer.write(encoder.push(block))
            n_samples += block.size
            show(n_samples / codec.sample_rate_in)
        writer.close(n_samples, encoder.flush())
    return n_samples


def _arguments(source: str, out: str | None, live: bool) -> tuple[str, str]:
    """Return IN and OUT; with --mic, the only argument is OUT."""
    if live and out is not None:
        raise click.UsageError("--mic takes the place of IN: give OUT only.")
    if live:
        return "", source
    if out is None:
        raise click.UsageError("Missing argument 'OUT'; with --mic, OUT is the only argument.")
    return source, out


def _encode_microphone(
    codec: Codec,
    writer: TokenWriter,
    requested: str | None,
    latency: Latency,
    channel: int | str,
    messages: Messages,
) -> bool:
    """Encode the microphone until Ctrl-C; return whether it was lost before."""
    loop = Loopback(codec, lambda samples, tokens, decoded: writer.write(tokens), decode=False)
    with prompt_threads(), stop_on_signals(loop.stop), ExitStack() as stack:
        source = open_microphone(codec, requested, latency, channel)
        stack.callback(source.close)
        messages.note(f"listening to {source.device.name}; Ctrl-C ends")
        lost = None
        try:
            loop.run(source, None)
        except DeviceLostError as error:
            lost = error
    seconds = loop.statistics.n_tokens / codec.token_rate
    writer.close(round(seconds * codec.sample_rate_in))
    messages.note(f"{seconds:.2f} s at {codec.bitrate:g} bit/s")
    for trouble in (troubles(loop), cancelled(loop), shortfall(loop, codec)):
        if trouble:
            messages.warn(trouble)
    if lost is not None:
        messages.warn(f"{lost}; the sound before is written")
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
    """Let the first Ctrl-C end a live input like the input's own end, so that no sound is lost."""
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
