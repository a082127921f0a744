"""``fcs-edge encode``: sound to tokens."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import click

import fcs_edge
from fcs_edge.audio.reader import AudioInput, Channel
from fcs_edge.cli.options import (
    BITSTREAM_OPTIONS,
    activations_option,
    bitstream_options,
    channel_option,
    common_options,
    force_option,
    input_option,
    latency_option,
    model_option,
    refuse_unused,
    threads_option,
)
from fcs_edge.cli.output_files import CountedOutput, check_files, is_special, output_file, standard
from fcs_edge.cli.piped_input import Ending, ending_on_signals
from fcs_edge.cli.reading import Reading, reading_options
from fcs_edge.cli.token_copy import TokenOptions, copy_tokens, is_array, suffix_of
from fcs_edge.cli.ui.compile_notice import prepare
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.cli.ui.panel import cancelled, shortfall, troubles
from fcs_edge.cli.ui.progress import WholeProgress, progress_bar
from fcs_edge.cli.whole_sound import (
    WHOLE_OPTIONS,
    check_choice,
    check_streaming,
    naming_options,
    require_streams,
    whole_options,
)
from fcs_edge.codec import Codec
from fcs_edge.errors import AudioError
from fcs_edge.files import is_regular
from fcs_edge.live import devices
from fcs_edge.live.devices import DeviceLostError
from fcs_edge.live.latency import Latency
from fcs_edge.live.loop import Loopback
from fcs_edge.live.microphone import Microphone
from fcs_edge.live.session import open_microphone, prompt_threads, stop_on_signals
from fcs_edge.streams.whole_signal import Choice, SignalEncoder, check_length
from fcs_edge.streams.whole_windows import Windows
from fcs_edge.tokens.fcs import fcs_writer
from fcs_edge.tokens.fcs_options import FcsOptions
from fcs_edge.tokens.npy import TOKEN_DTYPES
from fcs_edge.tokens.npz import array_writer, origin_of
from fcs_edge.tokens.settings import token_settings
from fcs_edge.tokens.sound_writer import PausingWriter, SoundWriter


@click.command()
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT", required=False)
@model_option
@activations_option
@click.option("--mic", "live", is_flag=True, help="Encode the microphone; there is no IN.")
@input_option
@channel_option
@latency_option
@reading_options
@whole_options
@bitstream_options
@click.option(
    "--dtype",
    type=click.Choice(list(TOKEN_DTYPES)),
    default="uint16",
    show_default=True,
    help="Type of the tokens in an .npy or .npz; sums of uint16 wrap beyond 65535.",
)
@click.option("--strict", is_flag=True, help="Write nothing if sound is missing from IN.")
@threads_option
@force_option
@common_options
def encode(
    source: str,
    out: str | None,
    model: str | None,
    activations: int | None,
    live: bool,
    microphone: str | None,
    channel: Channel,
    latency: Latency,
    reading: Reading,
    choice: Choice,
    fcs: FcsOptions,
    dtype: str,
    strict: bool,
    threads: int,
    force: bool,
    quiet: bool,
) -> None:
    """Encode the sound IN to the bitstream OUT.

    IN is a sound file (WAV, FLAC, Ogg, MP3 or another, of any rate and any channels). As -, it
    is a WAV, AU, AIFF, W64, RF64, Ogg or Opus on standard input, or bare samples with --raw. With
    --mic there is no IN. Of an IN that is cut, what is intact is encoded, and the exit code is 1.
    A model that is not causal begins when IN has ended.

    OUT is a .fcs bitstream, an .npz of tokens with their model and length, or an .npy of bare
    tokens. An .npz or .npy as IN holds tokens, which OUT receives as they are.

    A bitstream is entropy-coded without loss, in blocks that decode alone. As -, it goes to
    standard output: a pipe receives raw chunks, or blocks with --block, --block-bytes or --fec.

    \b
    Examples:
      fcs-edge encode speech.wav speech.fcs
      fcs-edge encode --mic --fec 25% speech.fcs
      fcs-edge encode --tag title="A note" --tag time=2026-07-01T12:00:00Z speech.wav speech.fcs
      fcs-edge encode --mic - | ssh host fcs-edge decode - --play
      fcs-edge encode --raw s16le --rate 48000 - - < samples | ssh host fcs-edge decode - out.wav
    """
    messages = Messages(quiet)
    source, out = _arguments(source, out, live, reading.raw)
    has_tokens = is_array(source) and reading.raw is None
    out = _check(source, out, has_tokens, dtype, force)
    if has_tokens:
        options = TokenOptions(model, None, strict, force, dtype, fcs._replace(eager=False))
        is_whole = copy_tokens(source, out, options, messages)
    else:
        if live:
            devices.find("input", microphone)
        codec = _loaded(model, activations, threads, choice, live, fcs)
        create = partial(_writer, out, codec, fcs, dtype, reading.resampler, live)
        output = CountedOutput(output_file(out, force))
        if live:
            opener = partial(open_microphone, codec, microphone, latency, channel)
            seconds, is_whole = _encode_microphone(codec, opener, create, output, messages)
        else:
            sound = _Sound(source, reading.open(source, channel, strict), choice)
            seconds, is_whole = _encode_sound(codec, sound, create, output, messages)
        messages.note(_result(out, output.n_bytes, seconds))
    click.get_current_context().exit(0 if is_whole else 1)


def _loaded(
    model: str | None,
    activations: int | None,
    threads: int,
    choice: Choice,
    live: bool,
    fcs: FcsOptions,
) -> Codec:
    """Load a model; refuse options that it cannot have, and a half that lacks what they need."""
    codec = fcs_edge.load(model, activations=activations, threads=threads)
    codec.model.require("encoder", *(["decoder"] if fcs.dtx else []))
    check_choice(codec, choice)
    if threads > 1:
        check_streaming("threads", codec, codec.encodes_streams)
    if fcs.dtx:
        check_streaming("dtx", codec, codec.encodes_streams and codec.decodes_streams)
    if live:
        require_streams(codec, decoder=False)
    return codec


def _check(source: str, out: str, has_tokens: bool, dtype: str, force: bool) -> str:
    """Refuse files that cannot be used, before any work; return the output's path."""
    if source and Path(source).is_dir():
        raise AudioError(f"{source}: is a folder; use fcs-edge corpus encode, or give a sound file")
    out = standard(out)
    named = suffix_of(out) == ".fcs" or is_array(out)
    if out != "-" and not named and not is_special(Path(out)) and not Path(out).is_dir():
        taken = "" if source else f"{out} is taken for OUT, as --mic takes the place of IN: "
        raise click.UsageError(
            f"{taken}OUT must end in .fcs, .npz or .npy, or be - for standard output."
        )
    if dtype != "uint16" and not is_array(out):
        raise click.UsageError("--dtype is for an OUT of .npy or .npz.")
    refuse_unused(
        (
            "an IN that is sound",
            not has_tokens,
            (*WHOLE_OPTIONS, "channel", "threads", "activations", "dtx", "resampler"),
        ),
        (
            "an OUT that is a bitstream",
            not is_array(out),
            BITSTREAM_OPTIONS,
        ),
    )
    check_files(source, out, force)
    return out


class _Sound(NamedTuple):
    """A file or pipe to encode."""

    path: str
    opened: AbstractContextManager[AudioInput]
    choice: Choice
    """How a model encodes it that needs the whole sound."""


def _encode_sound(
    codec: Codec,
    source: _Sound,
    create: Callable[..., SoundWriter],
    output: AbstractContextManager[BinaryIO],
    messages: Messages,
) -> tuple[float, bool]:
    """Encode a file or pipe; return the seconds of sound, and whether all of it was there."""
    with ExitStack() as stack:
        stack.enter_context(naming_options())
        ending = None
        if source.path == "-":
            # A pipe may be live: what it waits for is ready when its first bytes come.
            ending = stack.enter_context(ending_on_signals())
            prepare(codec, messages, encoder=True)
        sound = stack.enter_context(source.opened)
        check_length(codec.encodes_streams, source.choice, sound.seconds)
        if ending is None:
            prepare(codec, messages, encoder=True)
        file = stack.enter_context(output)
        write = partial(create, file)
        seconds = _encode_input(codec, source.choice, write, sound, ending, messages)
    for line in (*sound.losses, *sound.warnings):
        messages.warn(line)
    if sound.channels > 1 and sound.channel == "mean":
        messages.note(f"the mean of {sound.channels} channels is encoded; --channel 1 takes one")
    return seconds, not sound.losses


def _result(out: str, n_bytes: int, seconds: float) -> str:
    """Return the output's size and bit rate, and its name where it is a file."""
    name = ""
    if out != "-" and not is_special(Path(out)):
        n_bytes = Path(out).stat().st_size
        name = f"{out}: "
    rate = f", {8 * n_bytes / seconds:.0f} bit/s" if seconds else ""
    return f"{name}{seconds:.2f} s in {n_bytes:,} bytes{rate}"


def _encode_input(
    codec: Codec,
    choice: Choice,
    create: Callable[..., SoundWriter],
    sound: AudioInput,
    ending: Ending | None,
    messages: Messages,
) -> float:
    """Encode a file or pipe to its end; return the seconds of sound.

    The writer is created with the first sound: an input without sound leaves no output. A model
    that needs the whole sound has a writer with the first tokens: then it is known whether there
    are windows.
    """
    work = WholeProgress(messages, "Encoding")
    encoder: SignalEncoder
    if codec.encodes_streams and ending is not None:
        encoder = codec.stream_encoder()
    else:
        encoder = codec.signal_encoder(**choice._asdict(), on_progress=work.show)
    writer = None
    n_samples = 0
    label = "Encoding" if codec.encodes_streams or choice.window else "Reading"
    with progress_bar(messages, label, sound.seconds) as show:
        for block in sound.at_rate(codec.sample_rate_in):
            tokens = encoder.push(block)
            if writer is None and (tokens.size or (block.size and codec.encodes_streams)):
                writer = create(encoder.used)
            if writer is not None:
                writer.write(block, tokens)
            n_samples += block.size
            show(n_samples / codec.sample_rate_in)
            if ending is not None and ending.of_file:
                break
        sound.require_sound(n_samples)
    seconds = n_samples / codec.sample_rate_in
    with work.bar(min(seconds, choice.window or seconds)):
        tokens = encoder.flush()
    writer = writer or create(encoder.used)
    writer.close(n_samples, tokens)
    return seconds


def _arguments(source: str, out: str | None, live: bool, raw: str | None) -> tuple[str, str]:
    """Return IN and OUT; with --mic, the only argument is OUT."""
    refuse_unused(
        ("--mic", live, ("microphone", "latency")),
        ("--raw", raw is not None, ("rate", "channels")),
        ("an IN", not live, (*WHOLE_OPTIONS, "raw", "strict", "resampler")),
    )
    if live and out is not None:
        raise click.UsageError("--mic takes the place of IN: give OUT only.")
    if live:
        return "", source
    if out is None:
        raise click.UsageError("Missing argument 'OUT'; with --mic, OUT is the only argument.")
    return source, out


def _encode_microphone(
    codec: Codec,
    opener: Callable[[], Microphone],
    create: Callable[..., SoundWriter],
    output: AbstractContextManager[BinaryIO],
    messages: Messages,
) -> tuple[float, bool]:
    """Encode the microphone until Ctrl-C; return the seconds, and whether it stayed to the end."""
    prepare(codec, messages, encoder=True)
    with output as file:
        writer = create(file, None)
        loop = Loopback(
            codec, lambda samples, tokens, _: writer.write(samples, tokens), decode=False
        )
        with prompt_threads(), stop_on_signals(loop.stop), ExitStack() as stack:
            source = opener()
            stack.callback(source.close)
            messages.note(f"listening to {source.device.name}; Ctrl-C ends")
            lost = None
            try:
                loop.run(source, None)
            except DeviceLostError as error:
                lost = error
        seconds = loop.statistics.n_tokens / codec.token_rate
        writer.close(round(seconds * codec.sample_rate_in))
    for trouble in (troubles(loop), cancelled(loop), shortfall(loop, codec)):
        if trouble:
            messages.warn(trouble)
    if lost is not None:
        messages.warn(f"{lost}; the sound before is written")
    return seconds, lost is None


def _writer(
    out: str,
    codec: Codec,
    fcs: FcsOptions,
    dtype: str,
    resampler: str,
    live: bool,
    file: BinaryIO,
    windows: Windows | None,
) -> SoundWriter:
    settings = token_settings(codec.model, resampler=resampler)
    settings |= {} if windows is None else windows.settings()
    if is_array(out):
        return SoundWriter(array_writer(file, suffix_of(out), origin_of(codec, settings), dtype))
    # Who needs the whole sound sends no chunk early.
    eager = fcs.eager and not is_regular(file) and codec.encodes_streams
    if fcs.dtx and eager:
        raise click.UsageError("--dtx is for blocks, but a pipe receives chunks: add --block 2.")
    writer = fcs_writer(file, codec, fcs._replace(eager=eager), settings)
    if fcs.dtx:
        return PausingWriter(writer, codec, live=live)
    return SoundWriter(writer)
