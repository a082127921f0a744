"""``fcs-edge corpus encode``: sounds to a dataset of tokens."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import click

import fcs_edge
from fcs_edge.bench.host import usable_cores, uses_numba
from fcs_edge.cli.options import (
    FiniteRange,
    Seconds,
    activations_option,
    channel_option,
    common_options,
    model_option,
    refuse_unused,
    resampler_option,
)
from fcs_edge.cli.output_files import check_input, check_output, output_file, standard
from fcs_edge.cli.ui.compile_notice import prepare
from fcs_edge.cli.ui.corpus_progress import CorpusProgress
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.cli.ui.progress import progress_bar
from fcs_edge.cli.whole_sound import check_choice, whole_options
from fcs_edge.corpus.arrow import pyarrow
from fcs_edge.corpus.dask_cluster import address_of, libraries
from fcs_edge.corpus.manifests import SUFFIXES
from fcs_edge.streams.whole_signal import Choice

CONTINUES = "what is complete stays, and the same command continues"

MANIFESTS = tuple(suffix for suffix in SUFFIXES if suffix != ".scp")
"""Suffixes of manifests whose columns a dataset can keep."""


def _engine(context: click.Context, option: click.Parameter, value: str) -> str:
    """Return the name of an engine."""
    if value != "local":
        try:
            address_of(value)
        except ValueError:
            message = f"{value!r} is not local, dask or dask://HOST:PORT."
            raise click.BadParameter(message) from None
    return value


@click.command()
@click.argument("inputs", metavar="IN...", nargs=-1)
@click.argument("out", metavar="OUT", required=False)
@model_option
@click.option(
    "--workers",
    type=click.IntRange(1, 4096),
    help="Processes that encode, of one thread each. [default: the cores that the command may use]",
)
@click.option(
    "--engine",
    metavar="local|dask|dask://HOST:PORT",
    callback=_engine,
    default="local",
    show_default=True,
    help="Where they run: here, or on the cluster of a Dask scheduler. dask: the cluster that the "
    "environment names.",
)
@click.option("--root", metavar="FOLDER", help="Ids are paths relative to it. [default: each IN]")
@click.option("-0", "--null", "nul", is_flag=True, help="Paths on standard input end in NUL.")
@click.option("--keep-text", is_flag=True, help="Keep the columns of manifests, as strings.")
@click.option(
    "--also",
    type=click.Choice(["npz", "fcs"]),
    multiple=True,
    help="Write each sound's tokens as a file too, in OUT/npz or OUT/fcs.",
)
@click.option("--retry-errors", is_flag=True, help="Encode shards again that have errors.")
@click.option("--strict", is_flag=True, help="Keep no tokens of a sound that is cut.")
@click.option(
    "--shard-rows",
    type=click.IntRange(1, 1_000_000),
    default=1000,
    show_default=True,
    help="Sounds in a Parquet file, in the mean.",
)
@click.option(
    "--shard-hours",
    type=FiniteRange(0, 10_000, min_open=True),
    default=2.0,
    show_default=True,
    help="Hours in a Parquet file, in the mean, estimated from bytes; what comes first ends it.",
)
@click.option(
    "--file-timeout",
    type=Seconds(),
    metavar="SECONDS",
    help="Give up a sound after so long. [default: 60 s, and 60 times its duration]",
)
@activations_option
@channel_option
@resampler_option
@whole_options
@click.option("--mixed-cpus", is_flag=True, help="Accept workers whose CPUs give other tokens.")
@click.option(
    "--dry-run", is_flag=True, help="Encode a minute, say what all takes, and write nothing."
)
@click.option("--prune", is_flag=True, help="Delete Parquet files of OUT that IN no longer has.")
@click.option(
    "-f",
    "--force",
    is_flag=True,
    help="Encode into an OUT of another model; overwrite the file of --json.",
)
@click.option("--json", "json_out", metavar="FILE", help="Write a summary as JSON; - prints it.")
@common_options
def encode(
    inputs: tuple[str, ...],
    out: str | None,
    choice: Choice,
    dry_run: bool,
    json_out: str | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Encode all sounds of IN to a dataset of Parquet files in the folder OUT.

    IN is folders, files, patterns, .tar archives (WebDataset), and lists: .jsonl (NeMo, lhotse),
    .csv, .tsv and .scp (Kaldi). As -, it is paths on standard input. Paths in a list are relative
    to the list.

    OUT is a folder, or s3://BUCKET/FOLDER or gs://BUCKET/FOLDER. The same command continues
    a run that ended early, and encodes what is new. A sound that cannot be encoded is a row with
    its error; OUT/_errors.tsv lists them, and the exit code is 1.

    Ctrl-C ends after the files that are being written, a second one at once.

    \b
    Examples:
      fcs-edge corpus encode speech/ tokens/
      fcs-edge corpus encode --dry-run speech/ tokens/
      fcs-edge corpus encode -m 4k.safetensors train.jsonl 'shards/*.tar' tokens/
      fcs-edge corpus encode --engine dask://host:8786 speech/ s3://bucket/tokens/
      find speech -name '*.wav' -print0 | fcs-edge corpus encode -0 - tokens/
    """
    if out is None or not inputs:
        raise click.UsageError("Missing argument 'OUT': give IN, one or more, and then OUT.")
    messages = Messages(quiet)
    json_out = None if json_out is None else standard(json_out)
    _check(inputs, out, json_out, options)
    try:
        code = _encode(inputs, out, choice, options, json_out, messages, dry_run=dry_run)
    except KeyboardInterrupt:
        messages.warn("interrupted" if dry_run else f"interrupted; {CONTINUES}")
        code = 130
    click.get_current_context().exit(code)


def _encode(
    inputs: tuple[str, ...],
    out: str,
    choice: Choice,
    options: dict[str, Any],
    json_out: str | None,
    messages: Messages,
    *,
    dry_run: bool,
) -> int:
    """Prepare the model, and encode or estimate; return the exit code."""
    codec = fcs_edge.load(options["model"], activations=options["activations"])
    codec.model.require("encoder")
    check_choice(codec, choice)
    if uses_numba():
        # The workers find the kernels compiled.
        prepare(codec, messages, encoder=True)
    options |= choice._asdict()
    if "-" in inputs:
        options["names"] = sys.stdin.buffer
    work = _estimate if dry_run else _run
    return work(inputs, out, options, json_out, messages)


def _check(
    inputs: tuple[str, ...], out: str, json_out: str | None, options: dict[str, Any]
) -> None:
    """Refuse options without effect and outputs that cannot be written, before any work."""
    is_dask = options["engine"] != "local"
    lists = any(name.lower().endswith(MANIFESTS) for name in inputs)
    refuse_unused(
        ("an IN of -", "-" in inputs, ("nul",)),
        ("an IN that is a list with columns, such as .jsonl or .csv", lists, ("keep_text",)),
        ("--engine dask", is_dask, ("mixed_cpus",)),
        ("--engine local", not is_dask, ("workers",)),
    )
    if out == "-":
        raise click.UsageError("OUT is a folder; it cannot be standard output.")
    if json_out is not None and json_out != "-":
        check_output(json_out, options["force"] or _is_summary(json_out, out))
    if "-" in inputs:
        check_input("-")
        if sys.stdin.isatty():
            raise click.UsageError("IN is -, but standard input is a terminal; pipe paths to it.")
    # What is not installed is said before any scan.
    pyarrow()
    if is_dask:
        libraries()


def _run(
    inputs: tuple[str, ...],
    out: str,
    options: dict[str, Any],
    json_out: str | None,
    messages: Messages,
) -> int:
    """Encode, and say what came of it; return the exit code."""
    # No other command needs the modules of workers.
    from fcs_edge.cli.ui import corpus_summary
    from fcs_edge.corpus import run

    progress = CorpusProgress(messages)
    with progress.showing():
        done = run.encode(inputs, out, **options, watcher=progress)
    if done.interrupted:
        messages.warn(f"interrupted; {CONTINUES}")
    corpus_summary.show(done, out, messages, pruned=options["prune"])
    if json_out is not None:
        force = options["force"] or _is_summary(json_out, out)
        _write(corpus_summary.facts(done, out), json_out, force)
    return done.exit_code


def _estimate(
    inputs: tuple[str, ...],
    out: str,
    options: dict[str, Any],
    json_out: str | None,
    messages: Messages,
) -> int:
    """Encode some of the sound, and say what all of it takes; return the exit code."""
    from fcs_edge.cli.ui import corpus_summary
    from fcs_edge.corpus import estimate, run

    progress = CorpusProgress(messages)
    with progress.showing():
        plan = run.planned(inputs, out, **options, watcher=progress)
    workers = options["workers"] or usable_cores()
    with progress_bar(messages, "Encoding", estimate.SECONDS) as show:
        found = estimate.estimate(plan, workers=workers, on_progress=show)
    corpus_summary.show_estimate(found, messages)
    if json_out is not None:
        _write(asdict(found), json_out, options["force"])
    return 0


def _is_summary(json_out: str, out: str) -> bool:
    """Return whether a file is the summary of an earlier run: the same command goes on."""
    try:
        with open(json_out, encoding="utf-8") as file:
            return file.read(1 << 16).startswith(f'{{\n  "dataset": {json.dumps(out)},')
    except (OSError, UnicodeDecodeError):
        return False


def _write(facts: dict[str, Any], json_out: str, force: bool) -> None:
    with output_file(json_out, force) as file:
        file.write(f"{json.dumps(facts, indent=2)}\n".encode())
