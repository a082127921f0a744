"""``fcs-edge demo``: the built-in clip through the codec."""

from __future__ import annotations

import sys
import time
from importlib import resources
from pathlib import Path

import click
import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

import fcs_edge
from fcs_edge.bitstream.writer import BitstreamWriter
from fcs_edge.cli.audio import FileOutput
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
from fcs_edge.cli.tokens import FILE_BLOCK_SECONDS, header_of
from fcs_edge.cli.ui import spectrogram
from fcs_edge.codec import Codec
from fcs_edge.model.layers import F32, U16
from fcs_edge.modelfile.catalogue import BUILT_IN

_NAME = "fcs-edge-demo"


@click.command()
@click.option(
    "-o",
    "--out",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("."),
    help="Folder to write to. [default: this one]",
)
@model_option
@force_option
@common_options
def demo(folder: Path, model: str | None, force: bool, quiet: bool) -> None:
    """Send a clip of speech through the codec.

    Writes the bitstream fcs-edge-demo.fcs, the decoded fcs-edge-demo.wav and, where
    Matplotlib is installed, both spectrograms in fcs-edge-demo.png; else it draws them in the
    terminal.

    \b
    Example:
      fcs-edge demo --out /tmp
    """
    messages = Messages(quiet)
    bitstream, sound, picture = (folder / f"{_NAME}{s}" for s in (".fcs", ".wav", ".png"))
    for path in (bitstream, sound, picture):
        check_output(str(path), force)
    clip, _ = soundfile.read(str(resources.files("fcs_edge") / "data/demo.flac"), dtype="float32")
    codec = fcs_edge.load(model)
    prepare(codec, messages, encoder=True, decoder=True)
    tokens, encode_seconds = _encode(codec, clip)
    decoded, decode_seconds = _decode(codec, tokens)
    decoded = decoded[: codec.output_length(clip.size)]
    _write(codec, tokens, clip.size, decoded, bitstream, sound)
    drawn = _draw(codec, clip, decoded, picture)
    written = [p for p in (bitstream, sound, picture) if p != picture or drawn]
    if not quiet:
        _report(codec, clip, encode_seconds, decode_seconds, bitstream, written)


def _encode(codec: Codec, clip: F32) -> tuple[U16, float]:
    """Encode chunk by chunk, as live sound would be; return tokens and seconds taken."""
    encoder = codec.stream_encoder()
    start = time.perf_counter()
    parts = [
        encoder.push(clip[i : i + codec.chunk_size]) for i in range(0, clip.size, codec.chunk_size)
    ]
    tokens = np.concatenate([*parts, encoder.flush()])
    return tokens, time.perf_counter() - start


def _decode(codec: Codec, tokens: U16) -> tuple[F32, float]:
    decoder = codec.stream_decoder()
    start = time.perf_counter()
    parts = [
        decoder.push(tokens[i : i + codec.chunk_tokens])
        for i in range(0, tokens.size, codec.chunk_tokens)
    ]
    return np.concatenate(parts), time.perf_counter() - start


def _write(
    codec: Codec, tokens: U16, n_samples: int, decoded: F32, bitstream: Path, sound: Path
) -> None:
    with output_file(str(bitstream)) as file:
        writer = BitstreamWriter(file, header_of(codec, FILE_BLOCK_SECONDS))
        writer.write(tokens)
        writer.close(n_samples)
    with output_path(str(sound)) as path:
        output = FileOutput(path, ".wav", codec.sample_rate_out)
        output.write(decoded)
        output.close()


def _draw(codec: Codec, clip: F32, decoded: F32, picture: Path) -> bool:
    """Draw both spectrograms, to a file where Matplotlib is there; tell whether it was."""
    labels = (
        f"{codec.sample_rate_in / 1000:g} kHz in",
        f"{codec.sample_rate_out / 1000:g} kHz out, {codec.bitrate / 1000:.2f} kbps",
    )
    pair = (clip, codec.sample_rate_in, decoded, codec.sample_rate_out)
    try:
        spectrogram.save_png(picture, *pair, f"fcs-edge, {codec.name}", labels)
    except ImportError:
        console = Console()
        text = spectrogram.terminal(
            *pair,
            min(console.width, 120),
            labels=labels,
            colour=console.is_terminal and not console.no_color,
            encoding=sys.stdout.encoding or "ascii",
        )
        console.print(text)
        return False
    return True


def _report(
    codec: Codec,
    clip: F32,
    encode_seconds: float,
    decode_seconds: float,
    bitstream: Path,
    written: list[Path],
) -> None:
    seconds = clip.size / codec.sample_rate_in
    size = bitstream.stat().st_size
    factor = (encode_seconds + decode_seconds) / seconds
    table = Table(show_header=False)
    table.add_row("model", codec.name)
    if codec.name in BUILT_IN:
        table.add_row("note", BUILT_IN[codec.name])
    table.add_row("sound", f"{seconds:.2f} s of speech")
    table.add_row("bitrate", f"{codec.bitrate / 1000:.2f} kbps: {size} bytes in all")
    table.add_row("latency", f"{codec.latency * 1000:g} ms (one chunk)")
    table.add_row(
        "real-time factor",
        f"{factor:.3f} = compute time / audio time, {1 / factor:.1f} times faster than real time\n"
        f"(encode {encode_seconds / seconds:.3f}, decode {decode_seconds / seconds:.3f}; "
        "chunk by chunk, one core)",
    )
    table.add_row("written", "\n".join(map(str, written)))
    Console().print(table)
