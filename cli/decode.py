"""``fcs-edge decode``: tokens to sound."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import click

import fcs_edge
from fcs_edge.audio.reader import RAW_FORMATS
from fcs_edge.audio.writer import FILE_FORMATS, AudioOutput, StreamOutput, file_output
from fcs_edge.bitstream.reader import BitstreamReader, read_batches
from fcs_edge.cli.options import (
    activations_option,
    common_options,
    force_option,
    latency_option,
    model_option,
    output_option,
    refuse_unused,
    salvage_option,
    threads_option,
)
from fcs_edge.cli.output_files import (
    check_files,
    check_input,
    is_special,
    output_file,
    standard,
)
from fcs_edge.cli.token_copy import (
    TokenOptions,
    assumed,
    copy_tokens,
    is_array,
    open_file,
    suffix_of,
)
from fcs_edge.cli.ui.compile_notice import prepare
from fcs_edge.cli.ui.messages import Capped, Messages
from fcs_edge.cli.ui.progress import progress_bar
from fcs_edge.cli.voice_options import VOICE_OPTIONS, VoiceChoice, voice_options
from fcs_edge.cli.whole_sound import check_streaming
from fcs_edge.codec import Codec
from fcs_edge.errors import BitstreamError
from fcs_edge.files import is_regular
from fcs_edge.live import devices
from fcs_edge.live.latency import Latency
from fcs_edge.live.player import ProbedPipe, open_player
from fcs_edge.model.layers import F32
from fcs_edge.tokens.event_decoder import (
    DamageReport,
    EventDecoder,
    check_header,
    check_intact,
    check_origin,
    decode_array,
    decode_events,
    labelled,
    length_problem,
    missing_start,
    read_header,
    refuse_others,
)
from fcs_edge.tokens.fcs import PriorCoders, header_of, prior_problem
from fcs_edge.tokens.npy import TOKEN_DTYPES, open_npy
from fcs_edge.tokens.npz import open_npz
from fcs_edge.tokens.settings import differences, settings_of, token_settings


@click.command()
@click.argument("source", metavar="IN")
@click.argument("out", metavar="[OUT]", required=False)
@model_option
@activations_option
@voice_options
@click.option("--play", "playing", is_flag=True, help="Play the sound; there is no OUT.")
@output_option
@latency_option
@click.option(
    "--raw",
    type=click.Choice(list(RAW_FORMATS)),
    help="Write bare samples of this format, without a header.",
)
@click.option("--strict", is_flag=True, help="Stop at the first damage and write nothing.")
@salvage_option
@click.option("--any-model", is_flag=True, help="Decode even if another model made the tokens.")
@click.option(
    "--dtype",
    type=click.Choice(list(TOKEN_DTYPES)),
    default="uint16",
    show_default=True,
    help="Type of the tokens in a .npy or .npz as OUT.",
)
@threads_option
@force_option
@common_options
def decode(
    source: str,
    out: str | None,
    model: str | None,
    activations: int | None,
    voice: VoiceChoice,
    playing: bool,
    speaker: str | None,
    latency: Latency,
    raw: str | None,
    strict: bool,
    salvage: bool,
    any_model: bool,
    dtype: str,
    threads: int,
    force: bool,
    quiet: bool,
) -> None:
    """Decode the tokens IN to the sound OUT.

    IN is a .fcs bitstream, or - for one on standard input. It may also be an .npz of tokens with
    their model and length, or an .npy of bare tokens.

    OUT is a .wav, .flac or .ogg file. As -, it is a WAV on standard output, or bare samples
    with --raw, flushed chunk by chunk. With --play there is no OUT.

    An .npz or .npy as OUT receives the tokens themselves, without sound.

    Damaged blocks become silence of the same length, with a warning and exit code 1. A bitstream
    whose start is missing is decoded from its first whole block. Bitstreams that stand one after
    the other in IN play one after the other.

    \b
    Examples:
      fcs-edge decode speech.fcs decoded.wav
      fcs-edge decode speech.fcs tokens.npz
      fcs-edge decode speech.fcs --play
      fcs-edge decode speech.fcs anna.wav --voice anna.voice
      ssh pi fcs-edge encode --mic - | fcs-edge decode - --play
    """
    messages = Messages(quiet)
    _check_options(source, playing, strict, salvage)
    out = _check(source, out, playing, raw, dtype, force)
    copies = out is not None and raw is None and is_array(out)
    refuse_unused(("an OUT that is sound", not copies, ("threads", "activations", *VOICE_OPTIONS)))
    if out is not None and copies:
        options = TokenOptions(model, any_model, strict, force, dtype, salvage=salvage)
        is_whole = copy_tokens(source, out, options, messages)
    else:
        if playing:
            devices.find("output", speaker)
        codec = voice.applied(_loaded(model, activations, threads))
        prepare(codec, messages, decoder=True)
        mode = _Mode(playing, out == "-", strict, salvage, any_model)
        play = partial(open_player, codec, speaker, latency, warn=messages.warn)
        write = partial(_output, str(out), raw, force, codec)
        is_whole = _decode_sound(source, codec, mode, play if playing else write, messages)
    if not is_whole:
        click.get_current_context().exit(1)


def _loaded(model: str | None, activations: int | None, threads: int) -> Codec:
    """Load a model; refuse threads that it leaves without effect."""
    codec = fcs_edge.load(model, activations=activations, threads=threads)
    if threads > 1:
        check_streaming("threads", codec, codec.decodes_streams)
    return codec


class _Sink(Protocol):
    """Where sound goes."""

    def write(self, samples: F32, /) -> None:
        """Take samples, (n,) float32."""


def _decode_sound(
    source: str,
    codec: Codec,
    mode: _Mode,
    opener: Callable[[bool], AbstractContextManager[_Sink]],
    messages: Messages,
) -> bool:
    """Write or play the sound of tokens; return whether all of it was there.

    `opener` is given whether the input is live, and opens the output.
    """
    with ExitStack() as stack:
        if is_array(source):
            opened = _open_array(source, codec, mode, messages, stack)
        else:
            opened = _open_bitstream(source, mode, codec, messages, stack)
        sink = stack.enter_context(opener(opened.live))
        if mode.playing:
            stack.enter_context(suppress(KeyboardInterrupt))
        n_samples = 0
        show = stack.enter_context(progress_bar(messages, "Decoding", opened.seconds))
        for samples in opened.blocks:
            sink.write(samples)
            n_samples += samples.size
            show(n_samples / codec.sample_rate_out)
    messages.note(f"{n_samples / codec.sample_rate_out:.2f} s at {codec.sample_rate_out} Hz")
    return not (opened.lost or (opened.bitstream is not None and opened.bitstream.is_damaged))


class _Mode(NamedTuple):
    """How a bitstream is decoded: the command's options."""

    playing: bool
    piped: bool
    strict: bool
    salvage: bool
    any_model: bool


class _Bitstream(NamedTuple):
    """What reads a bitstream, and what decodes it."""

    reader: BitstreamReader
    decoder: EventDecoder

    @property
    def is_damaged(self) -> bool:
        """Whether anything was lost, cut or assumed so far."""
        return bool(self.reader.damaged or self.reader.joined or self.decoder.n_problems)


class _Input(NamedTuple):
    """An opened input: the sound to write, and facts about it."""

    blocks: Iterator[F32]
    seconds: float | None = None
    """The approximate duration, where it is known."""
    live: bool = False
    bitstream: _Bitstream | None = None
    lost: bool = False
    """Whether tokens are missing, where that is known in advance."""


def _open_array(
    source: str, codec: Codec, mode: _Mode, messages: Messages, stack: ExitStack
) -> _Input:
    """Open an .npy or .npz of tokens, and return its decoded sound."""
    if suffix_of(source) == ".npy":
        array = stack.enter_context(open_npy(Path(source)))
        messages.note(assumed(source, codec))
        seconds = array.n_tokens / codec.token_rate
        return _Input(decode_array(array, codec, source), seconds)
    tokens = stack.enter_context(open_npz(Path(source)))
    n_samples = tokens.n_samples
    problem = length_problem(tokens.array.n_tokens, n_samples, codec, tokens.origin.settings)
    with labelled(source):
        check_origin(tokens.origin, codec, mode.any_model)
        if problem and mode.strict:
            raise BitstreamError(problem)
    if problem:
        messages.warn(f"{source}: {problem}")
    other = differences(tokens.origin.settings, token_settings(codec.model))
    if other:
        messages.note(f"{source}: encoded with other settings: {other}")
    blocks = decode_array(tokens.array, codec, source, n_samples)
    return _Input(blocks, n_samples / codec.sample_rate_in, lost=problem is not None)


def _open_bitstream(
    source: str, mode: _Mode, codec: Codec, messages: Messages, stack: ExitStack
) -> _Input:
    """Open a bitstream, read its header, and return its decoded sound."""
    file = sys.stdin.buffer if source == "-" else stack.enter_context(open_file(source))
    label = "standard input" if source == "-" else source
    # Who needs all tokens plays them when they are there, as a file's.
    live = (mode.piped or mode.playing) and not is_regular(file) and codec.decodes_streams
    pipe = None
    if mode.playing and live:
        pipe = ProbedPipe(file)
        live = pipe.live
    reader = BitstreamReader(
        eager=live,
        strict=mode.strict,
        salvage=mode.salvage,
        join=header_of(codec, settings={}),
        coders=PriorCoders(codec),
    )
    stack.enter_context(labelled(label))
    if pipe is None:
        refuse_others(file)
    header, batches = read_header(read_batches(pipe or file, reader))
    check_header(header, codec, mode.any_model)
    warn = Capped(lambda text: messages.warn(f"{label}: {text}"))
    if reader.joined:
        warn.add(missing_start(codec.name))
    if other := differences(settings_of(header.settings), token_settings(codec.model)):
        messages.note(f"{label}: encoded with other settings: {other}")
    report = _refuse if mode.strict else warn.add
    decoder = EventDecoder(codec, report, live=live, any_model=mode.any_model)
    bitstream = _Bitstream(reader, decoder)
    damage = DamageReport(warn.add, prior_problem(header, codec))
    blocks = _decoded(decode_events(batches, decoder, damage), bitstream, warn, messages, label)
    seconds = None
    if is_regular(file):
        seconds = os.fstat(file.fileno()).st_size * 8 / codec.bitrate
    return _Input(blocks, seconds, live, bitstream)


def _check_options(source: str, playing: bool, strict: bool, salvage: bool) -> None:
    """Refuse options that exclude each other, or that would change nothing."""
    refuse_unused(
        ("--play", playing, ("speaker", "latency")),
        ("an OUT", not playing, ("raw",)),
        ("an IN that is a bitstream", not is_array(source), ("salvage",)),
    )
    if strict and salvage:
        raise click.UsageError("--strict stops at damage, which --salvage plays: give one of them.")


def _check(
    source: str, out: str | None, playing: bool, raw: str | None, dtype: str, force: bool
) -> str | None:
    """Refuse files that cannot be used, before any work; return the output's path."""
    if playing == (out is not None):
        raise click.UsageError("Missing argument 'OUT'; give OUT or --play, not both.")
    if out is None:
        check_input(source)
        return None
    out = standard(out)
    suffix = suffix_of(out)
    piped = out == "-" or is_special(Path(out))
    if piped and raw is None and suffix in FILE_FORMATS and suffix != ".wav":
        raise click.UsageError(f"OUT is a pipe or device, and {suffix} needs a file; give .wav.")
    known = suffix in FILE_FORMATS or is_array(out)
    if not piped and raw is None and not known and not Path(out).is_dir():
        raise click.UsageError(
            "OUT must end in .wav, .flac or .ogg, or be - for standard output; .npz and .npy take "
            "the tokens alone."
        )
    if dtype != "uint16" and (raw is not None or not is_array(out)):
        raise click.UsageError("--dtype is for an OUT of .npy or .npz.")
    check_files(source, out, force)
    return out


def _refuse(problem: str) -> None:
    raise BitstreamError(problem)


def _decoded(
    sound: Iterator[F32],
    bitstream: _Bitstream,
    warn: Capped,
    messages: Messages,
    label: str,
) -> Iterator[F32]:
    """Yield the sound of a bitstream, (n,) float32 at a time, and warn about damage."""
    reader, decoder = bitstream
    yield from sound
    warn.close()
    check_intact(reader, decoder.n_intact, decoder.n_problems)
    if reader.repairs is not None and reader.repairs.corrected:
        messages.note(f"{label}: {reader.repairs}")
    if reader.damaged:
        seconds = decoder.seconds_lost
        lost = f"{seconds:.2f} s of it are silence" if seconds else "none of it is silence"
        messages.warn(f"{label}: damaged; {lost}")


@contextmanager
def _output(
    out: str, raw: str | None, force: bool, codec: Codec, live: bool
) -> Iterator[AudioOutput]:
    """Open the output; it is complete, and appears, when the block ends without an error."""
    with output_file(out, force) as file:
        rate = codec.sample_rate_out
        sink: AudioOutput
        if out == "-" or raw is not None or is_special(Path(out)):
            sink = StreamOutput(file, raw, rate)
        else:
            sink = file_output(file, Path(out).suffix.lower(), rate)
        try:
            yield sink
            sink.close()
        finally:
            sink.discard()
