"""``fcs-edge corpus decode``: rows of a dataset of tokens to sound files."""

from __future__ import annotations

import os
import sys
from typing import BinaryIO

import click

from fcs_edge.cli.options import (
    Seconds,
    activations_option,
    common_options,
    dataset_model_option,
    force_option,
)
from fcs_edge.cli.output_files import check_input
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.cli.voice_options import VoiceChoice, voice_options
from fcs_edge.corpus.decoding import Decoded
from fcs_edge.errors import CorpusError, shown
from fcs_edge.text import counted

_SHOWN = 20
"""Rows without sound that are named."""
_MOST_BYTES = 1 << 30
"""Bytes of a list of ids."""


@click.command()
@click.argument("dataset", metavar="DATASET")
@click.argument("out", metavar="OUT")
@click.option("--id", "ids", metavar="ID", multiple=True, help="Decode this row; repeatable.")
@click.option(
    "--ids",
    "list_file",
    metavar="FILE",
    help="Decode the rows of this list, an id a line; - is standard input.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["wav", "flac", "ogg"]),
    default="wav",
    show_default=True,
    help="Format of the sound files.",
)
@click.option(
    "--keep-suffix",
    is_flag=True,
    help="Name the sound of a/b.flac a/b.flac.wav, not a/b.wav.",
)
@dataset_model_option
@activations_option
@click.option("--any-model", is_flag=True, help="Decode even if another model made the tokens.")
@voice_options
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Processes that decode. [default: the cores that the command may use]",
)
@click.option(
    "--file-timeout",
    type=Seconds(),
    metavar="SECONDS",
    help="Time that a row may take. [default: 60, and 60 times its duration]",
)
@force_option
@common_options
def decode(
    dataset: str,
    out: str,
    ids: tuple[str, ...],
    list_file: str | None,
    kind: str,
    keep_suffix: bool,
    model: str | None,
    activations: int | None,
    any_model: bool,
    voice: VoiceChoice,
    workers: int | None,
    file_timeout: float | None,
    force: bool,
    quiet: bool,
) -> None:
    """Decode rows of DATASET to sound files in the folder OUT.

    DATASET is a folder that `fcs-edge corpus encode` wrote, or the URI of an object store. All of
    its rows are decoded, or those of --id and --ids.

    The sound of the id a/b.flac is OUT/a/b.wav. A file that exists stays, so that a run that ended
    early goes on where it stopped. Each file appears complete or not at all.

    The model is one with a name here that has the dataset's fingerprint, or --model. Rows that
    have an error in place of tokens are counted, and the exit code is 1.

    \b
    Examples:
      fcs-edge corpus decode tokens/ sound/
      fcs-edge corpus decode tokens/ sound/ --id anna/0001.wav --id ben/0001.wav
      fcs-edge corpus decode tokens/ sound/ --ids chosen.txt --format flac
      fcs-edge corpus decode tokens/ changed/ --voice anna.voice
    """
    messages = Messages(quiet)
    chosen = _chosen(ids, list_file)
    from fcs_edge.cli.ui.corpus_progress import CorpusProgress
    from fcs_edge.corpus.decoding import decode as decode_rows

    watcher = CorpusProgress(messages, "decoding")
    with watcher.showing():
        done = decode_rows(
            dataset,
            out,
            ids=chosen,
            suffix=f".{kind}",
            keep_suffix=keep_suffix,
            model=model,
            any_model=any_model,
            activations=activations,
            voice=voice.path,
            topk=voice.topk,
            any_voice=voice.any_voice,
            workers=workers,
            force=force,
            file_timeout=file_timeout,
            watcher=watcher,
        )
    _report(done, out, messages)
    click.get_current_context().exit(done.exit_code)


def _chosen(ids: tuple[str, ...], list_file: str | None) -> list[str] | None:
    """Return the ids of the options, None for all rows."""
    if list_file is None:
        return list(ids) or None
    check_input(list_file)
    if list_file == "-":
        lines = _lines(sys.stdin.buffer, "standard input")
    else:
        with open(list_file, "rb") as file:
            lines = _lines(file, list_file)
    if not lines and not ids:
        raise CorpusError(f"{list_file}: holds no id")
    return [*ids, *lines]


def _lines(file: BinaryIO, label: str) -> list[str]:
    data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise CorpusError(f"{label}: is no list of ids; it has more than {_MOST_BYTES:,} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CorpusError(f"{label}: is no list of ids; it is not UTF-8") from None
    return [line.removesuffix("\r") for line in text.split("\n") if line.strip()]


def _report(done: Decoded, out: str, messages: Messages) -> None:
    from fcs_edge.cli.ui.quantities import length

    for id, why in done.failed[:_SHOWN]:
        messages.warn(f"{shown(id)}: {why}")
    if done.n_failed > _SHOWN:
        messages.warn(f"and {done.n_failed - _SHOWN:,} more")
    if done.without_tokens:
        messages.warn(
            f"{counted(done.without_tokens, 'row')} without tokens: an error stands in their place"
        )
    if done.interrupted:
        messages.warn("interrupted; the same command goes on where it stopped")
    left = f"; {counted(done.existing, 'file')} existed and stay" if done.existing else ""
    folder = os.path.join(out, "")
    messages.note(f"{folder}: {counted(done.files, 'file')}, {length(done.seconds)} of sound{left}")
