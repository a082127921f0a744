"""``fcs-edge voice``: a speaker's features, which decode with another voice."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

import fcs_edge
from fcs_edge.cli.options import common_options, force_option, model_option, resampler_option
from fcs_edge.cli.output_files import check_distinct, check_output
from fcs_edge.cli.ui.compile_notice import prepare
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.cli.ui.progress import progress_bar
from fcs_edge.cli.voice_features import Collector, Recording, survey
from fcs_edge.codec import Codec
from fcs_edge.errors import FcsError
from fcs_edge.model.voice import MAX_ROWS, SOURCES, Voice

DEFAULT_ROWS = 30_000
"""Ten minutes of sound at 50 rows a second."""


@click.group()
def voice() -> None:
    """Collect a speaker's features, for decode --voice, mic --voice and receive --voice.

    \b
    Example:
      fcs-edge voice make anna1.wav anna2.wav anna.voice
    """


@voice.command()
@click.argument("sounds", metavar="SOUND...", nargs=-1, required=True)
@click.argument("out", metavar="OUT.voice")
@model_option
@click.option(
    "--rows",
    "kind",
    type=click.Choice(["f16", "int8"]),
    default="f16",
    show_default=True,
    help="How rows are stored; int8 takes half the bytes, and picks a few other rows.",
)
@click.option(
    "--from",
    "stage",
    type=click.Choice(SOURCES),
    help="The stage whose features are collected. [default: encoder, where its rows are as wide "
    "as the decompressor's; else decompressor]",
)
@click.option(
    "--max-rows",
    type=click.IntRange(1, MAX_ROWS),
    default=DEFAULT_ROWS,
    show_default=True,
    help="Rows of OUT at most; of more, as many are drawn.",
)
@resampler_option
@force_option
@common_options
def make(
    sounds: tuple[str, ...],
    out: str,
    model: str | None,
    kind: str,
    stage: str | None,
    max_rows: int,
    resampler: str,
    force: bool,
    quiet: bool,
) -> None:
    """Write the features of the recordings SOUND to OUT.voice.

    SOUND are sound files of one speaker, of any rate; the mean of their channels is used. A minute
    is enough to be recognised, and more sounds better. Ask whose voice it is.

    Silence is left out: frames 40 dB below the loud ones of their recording. With the built-in
    model the rows are the decompressor's, 100 for each second.

    \b
    Examples:
      fcs-edge voice make anna1.wav anna2.flac anna.voice
      fcs-edge voice make -m 4k.safetensors --rows int8 anna.wav anna.voice
    """
    messages = Messages(quiet)
    if Path(out).suffix.lower() != ".voice":
        raise click.UsageError("OUT must end in .voice.")
    check_output(out, force)
    check_distinct([out], sounds)
    for path in sounds:
        if Path(path).is_dir():
            raise FcsError(f"{path}: is a folder; name the recordings in it, for example *.wav")
        if not Path(path).is_file():
            raise FcsError(f"{path}: no such file; a recording is read twice, so it is a file")
    codec = fcs_edge.load(model)
    source = _source(codec, stage)
    codec.model.require("encoder", *(["decoder"] if source == "decompressor" else []))
    prepare(codec, messages, encoder=True, decoder=source == "decompressor")
    recordings = [survey(path, codec.sample_rate_in, resampler) for path in sounds]
    collector = Collector(codec, source, max_rows, resampler)
    _collect(collector, recordings, messages)
    rows = collector.pool.rows
    if not len(rows):
        raise FcsError(f"{sounds[0]}: holds silence only; give recordings of speech")
    found = Voice(rows, codec.fingerprint, codec.name, source, collector.seconds)
    stored = found if kind == "f16" else found.to_int8()
    stored.save(out, force=force)
    messages.note(_summary(out, stored, collector))
    messages.note(f"next: {_next(codec, model, out)}")
    click.get_current_context().exit(1 if any(r.losses for r in recordings) else 0)


def _source(codec: Codec, stage: str | None) -> str:
    """Return the stage whose features the voice has; its rows are as wide as the decoder's."""
    config = codec.model.config
    same = config.encoder.dim == config.decompressor.output_dim
    if stage == "encoder" and not same:
        raise FcsError(
            f"{codec.name}: the encoder's rows have {config.encoder.dim} values, and decoding "
            f"needs {config.decompressor.output_dim}: use --from decompressor"
        )
    return stage or ("encoder" if same else "decompressor")


def _collect(collector: Collector, recordings: list[Recording], messages: Messages) -> None:
    """Collect the rows of all recordings, and report what is odd in them."""
    total = sum(recording.seconds for recording in recordings)
    done = 0.0
    with progress_bar(messages, "Encoding", total) as show:
        for recording in recordings:
            collector.collect(recording, partial(_advance, show, done))
            done += recording.seconds
    for recording in recordings:
        for line in (*recording.losses, *recording.remarks):
            messages.warn(line)


def _advance(show: Callable[[float], None], done: float, seconds: float) -> None:
    show(done + seconds)


def _next(codec: Codec, model: str | None, out: str) -> str:
    """Return the command that uses the voice; half a model that only encodes cannot run it."""
    half = codec.model.part == "encoder"
    named = [] if model is None else ["-m", "MODEL" if half else model]
    options = shlex.join([*named, "--voice", out])
    advice = "; MODEL is the whole model, or its decoder half" if half else ""
    return f"fcs-edge decode {options} speech.fcs changed.wav{advice}"


def _summary(out: str, voice: Voice, collector: Collector) -> str:
    drawn = f" of {collector.pool.n_rows:,}" if collector.pool.n_rows > len(voice) else ""
    size = Path(out).stat().st_size / 1e6
    return (
        f"{out}: {len(voice):,} rows{drawn} of {voice.width} values from the {voice.source}, "
        f"{voice.seconds:.1f} s of speech, {size:.1f} MB"
    )
