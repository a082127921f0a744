"""``fcs-edge demo``: a clip of speech, or one's own file, through the codec."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from contextlib import ExitStack, suppress
from importlib import resources
from pathlib import Path
from typing import BinaryIO, NamedTuple

import click
import numpy as np
import soxr
from rich.console import Console
from rich.table import Table
from rich.text import Text

import fcs_edge
from fcs_edge.audio.reader import open_input
from fcs_edge.audio.writer import WavOutput
from fcs_edge.cli.options import (
    activations_option,
    common_options,
    force_option,
    model_option,
    resampler_option,
)
from fcs_edge.cli.output_files import check_distinct, check_output, output_file
from fcs_edge.cli.ui import spectrogram
from fcs_edge.cli.ui.compile_notice import prepare
from fcs_edge.cli.ui.messages import Messages, plain
from fcs_edge.codec import Codec
from fcs_edge.errors import AudioError
from fcs_edge.live.player import open_player
from fcs_edge.model.layers import F32, U16, new
from fcs_edge.modelfile.catalogue import BUILT_IN
from fcs_edge.streams.whole_signal import SignalEncoder, TokenDecoder
from fcs_edge.text import printable
from fcs_edge.tokens.fcs import fcs_writer
from fcs_edge.tokens.settings import Settings, token_settings

_NAME = "fcs-edge-demo"
_PAUSE_SECONDS = 0.5


class _Paths(NamedTuple):
    """The output files."""

    original: Path
    bitstream: Path
    decoded: Path
    picture: Path


class _Result(NamedTuple):
    """A clip, its tokens, its decoded sound, and the compute times in seconds."""

    clip: F32
    tokens: U16
    decoded: F32
    encode_seconds: float
    decode_seconds: float


@click.command()
@click.argument("source", metavar="[SOUND]", required=False)
@click.option(
    "-o",
    "--out",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("."),
    help="Folder of the output files. [default: the current folder]",
)
@click.option("--play", "playing", is_flag=True, help="Play the original, then the decoded sound.")
@model_option
@activations_option
@resampler_option
@force_option
@common_options
def demo(
    source: str | None,
    folder: Path,
    playing: bool,
    model: str | None,
    activations: int | None,
    resampler: str,
    force: bool,
    quiet: bool,
) -> None:
    """Send a clip of speech, or the sound file SOUND, through the codec.

    The command writes the encoder's input fcs-edge-demo.original.wav, the bitstream
    fcs-edge-demo.fcs and the decoded fcs-edge-demo.wav. It draws both spectrograms: in
    fcs-edge-demo.png with Matplotlib, in the terminal without.

    \b
    Examples:
      fcs-edge demo --out /tmp
      fcs-edge demo --play
      fcs-edge demo MY.wav
    """
    messages = Messages(quiet)
    names = (f"{_NAME}{suffix}" for suffix in (".original.wav", ".fcs", ".wav", ".png"))
    paths = _Paths(*(folder / name for name in names))
    for path in paths:
        check_output(str(path), force)
    check_distinct(map(str, paths), [source])
    codec = fcs_edge.load(model, activations=activations)
    codec.model.require("encoder", "decoder")
    clip, is_whole = _read(
        source or str(resources.files("fcs_edge") / "data/demo.flac"), codec, resampler, messages
    )
    prepare(codec, messages, encoder=True, decoder=True)
    result = _process(codec, clip)
    plotting = _has_matplotlib()
    settings = token_settings(codec.model, resampler=resampler)
    _write(codec, result, settings, paths, plotting, force)
    if not plotting:
        _draw(codec, result)
    if not quiet:
        written = [p for p in paths if plotting or p != paths.picture]
        Console().print(_table(codec, result, paths.bitstream.stat().st_size, written))
        streams = codec.encodes_streams and codec.decodes_streams
        click.echo(_next_steps(paths, source, model, streams=streams))
    if playing:
        _play(codec, result, messages)
    if not is_whole:
        click.get_current_context().exit(1)


def _read(path: str, codec: Codec, resampler: str, messages: Messages) -> tuple[F32, bool]:
    """Return a sound file as the encoder's input, (n,) float32, and whether it is whole."""
    with open_input(path, None, codec.sample_rate_in, 1, resampler=resampler) as sound:
        clip = np.concatenate([new(0), *sound.at_rate(codec.sample_rate_in)])
    sound.require_sound(clip.size)
    for line in (*sound.losses, *sound.warnings):
        messages.warn(line)
    return clip, not sound.losses


def _process(codec: Codec, clip: F32) -> _Result:
    """Encode and decode chunk by chunk, like live sound; at once where the model needs it."""
    encoder: SignalEncoder = (
        codec.stream_encoder() if codec.encodes_streams else codec.signal_encoder()
    )
    decoder: TokenDecoder = (
        codec.stream_decoder() if codec.decodes_streams else codec.token_decoder()
    )
    start = time.perf_counter()
    chunks = range(0, clip.size, codec.chunk_size)
    parts = [encoder.push(clip[i : i + codec.chunk_size]) for i in chunks]
    tokens = np.concatenate([*parts, encoder.flush()])
    encoded = time.perf_counter()
    blocks = range(0, tokens.size, codec.chunk_tokens)
    sounds = [decoder.push(tokens[i : i + codec.chunk_tokens]) for i in blocks]
    sound = np.concatenate([*sounds, decoder.flush()])
    end = time.perf_counter()
    decoded = new(codec.output_length(clip.size))
    decoded[: sound.size] = sound[: decoded.size]
    return _Result(clip, tokens, decoded, encoded - start, end - encoded)


def _has_matplotlib() -> bool:
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def _write(
    codec: Codec,
    result: _Result,
    settings: Settings,
    paths: _Paths,
    plotting: bool,
    force: bool,
) -> None:
    """Write all files, or none: each appears only after the last one is complete."""
    with ExitStack() as stack:
        original, bitstream, decoded = (
            stack.enter_context(output_file(str(path), force)) for path in paths[:3]
        )
        _write_wav(original, result.clip, codec.sample_rate_in)
        writer = fcs_writer(bitstream, codec, settings=settings)
        writer.write(result.tokens)
        writer.close(result.clip.size)
        _write_wav(decoded, result.decoded, codec.sample_rate_out)
        if plotting:
            picture = stack.enter_context(output_file(str(paths.picture), force))
            title = f"fcs-edge, {codec.name}"
            spectrogram.save_png(picture, *_pair(codec, result), title, _labels(codec))


def _write_wav(file: BinaryIO, samples: F32, rate: int) -> None:
    output = WavOutput(file, rate)
    output.write(samples)
    output.close()


def _draw(codec: Codec, result: _Result) -> None:
    """Draw both spectrograms in the terminal."""
    console = Console()
    text = spectrogram.terminal(
        *_pair(codec, result),
        min(console.width, 120),
        labels=_labels(codec),
        colour=console.is_terminal and not console.no_color,
        encoding=sys.stdout.encoding or "ascii",
    )
    console.print(text)


def _pair(codec: Codec, result: _Result) -> tuple[F32, int, F32, int]:
    return result.clip, codec.sample_rate_in, result.decoded, codec.sample_rate_out


def _labels(codec: Codec) -> tuple[str, str]:
    return (
        f"{codec.sample_rate_in / 1000:g} kHz in",
        f"{codec.sample_rate_out / 1000:g} kHz out, {codec.bitrate / 1000:.2f} kbps",
    )


def _table(codec: Codec, result: _Result, n_bytes: int, written: list[Path]) -> Table:
    """Return the facts about the result."""
    seconds = result.clip.size / codec.sample_rate_in
    encode, decode = result.encode_seconds / seconds, result.decode_seconds / seconds
    factor = encode + decode
    table = Table(show_header=False)
    table.add_row("model", plain(codec.name))
    if codec.name in BUILT_IN:
        table.add_row("note", BUILT_IN[codec.name])
    table.add_row("sound", f"{seconds:.2f} s")
    table.add_row("bitrate", f"{8 * n_bytes / seconds / 1000:.2f} kbps: {n_bytes} bytes in all")
    streams = codec.encodes_streams and codec.decodes_streams
    if codec.encodes_streams:
        table.add_row("latency", f"{codec.latency * 1000:g} ms (one chunk)")
    table.add_row(
        "real-time factor",
        f"{factor:.3f} = compute time / audio time, {1 / factor:.1f} times faster than real time\n"
        f"(encode {encode:.3f}, decode {decode:.3f}; "
        f"{'chunk by chunk' if streams else 'all of it at once'}, one core)",
    )
    table.add_row("written", Text("\n").join(map(plain, written)))
    return table


def _next_steps(
    paths: _Paths, source: str | None, model: str | None = None, *, streams: bool = True
) -> str:
    """Return commands to try next, as they can be typed: with the model, live if it streams."""
    program = Path(sys.argv[0])
    installed = shutil.which("fcs-edge") or program.name != "fcs-edge"
    command = "fcs-edge" if installed else shlex.quote(str(program))
    bitstream, original = (shlex.quote(str(p)) for p in (paths.bitstream, paths.original))
    speech, decoded = (
        shlex.quote(str(paths.bitstream.with_name(name))) for name in ("speech.fcs", "decoded.wav")
    )
    again = "" if source is None else f" {shlex.quote(source)}"
    folder = paths.bitstream.parent
    place = "" if folder == Path(".") else f" --out {shlex.quote(str(folder))}"
    chosen = "" if model is None else f" -m {shlex.quote(model)}"
    steps = [
        (f"demo{chosen} --play --force{place}{again}", "play the original, then the decoded sound"),
        (f"demo{chosen} --force{place} MY.wav", "use your own recording MY.wav"),
        (f"encode{chosen} {original} {speech}", "encode a sound file"),
        (f"decode{chosen} {bitstream} {decoded}", "decode a bitstream"),
    ]
    if streams:
        steps.append((f"mic{chosen}", "send the microphone through the codec, live"))
    lines = (f"  {printable(f'{command} {step}')}\n      {why}" for step, why in steps)
    return "\nTry next:\n" + "\n".join(lines)


def _play(codec: Codec, result: _Result, messages: Messages) -> None:
    """Play the original, then the decoded sound.

    Raises
    ------
    AudioError
        There is no speaker, or no sound system.
    """
    original = soxr.resample(result.clip, codec.sample_rate_in, codec.sample_rate_out)
    pause = new(round(_PAUSE_SECONDS * codec.sample_rate_out))
    try:
        with (
            open_player(codec, None, "high", False, messages.warn) as player,
            suppress(KeyboardInterrupt),
        ):
            messages.note("playing the original, then the decoded sound; Ctrl-C ends")
            player.write(np.concatenate([original, pause]))
            player.write(result.decoded)
    except AudioError as error:
        raise AudioError(f"--play is skipped: {error}") from None
