"""``fcs-edge bench``: the speed of a model on this machine, and the machine's limit."""

from __future__ import annotations

import json
import re
from typing import Any

import click

import fcs_edge
from fcs_edge.cli.options import (
    Seconds,
    activations_option,
    common_options,
    force_option,
    model_option,
    threads_option,
)
from fcs_edge.cli.output_files import check_results, output_file, standard
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.codec import Codec
from fcs_edge.modelfile.model_file import SCHEMES

SOUND_SECONDS = 10.0
"""Seconds of the sound that a model encodes and decodes at once, by default."""


@click.command()
@model_option
@activations_option
@click.option(
    "--weights",
    type=click.Choice([*SCHEMES, "all"]),
    multiple=True,
    help="Type of the weights; give it several times, or all. [default: as in the model file]",
)
@click.option(
    "--seconds",
    type=Seconds(0.1, 3600),
    default=20,
    show_default=True,
    help="Total time to measure, without loading, converting and compiling.",
)
@click.option(
    "--chunks",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Chunks a step: live sound has 1, files are processed with 8.",
)
@click.option(
    "--sound",
    "sound_seconds",
    type=Seconds(0.1, 600),
    help="Of a model that needs the whole sound: seconds of sound to encode and decode. "
    f"[default: {SOUND_SECONDS:g}]",
)
@threads_option
@click.option(
    "--layer",
    "layers",
    metavar="KIND:SHAPE",
    multiple=True,
    help="Measure one kernel at one shape, not a model; give it several times for several.",
)
@click.option(
    "--json", "json_out", metavar="FILE", help="Write all results as JSON; - prints them."
)
@click.option("--plot", "plot_out", metavar="FILE.png", help="Draw chunk times and stages.")
@force_option
@common_options
def bench(
    model: str | None,
    activations: int | None,
    weights: tuple[str, ...],
    seconds: float,
    chunks: int,
    sound_seconds: float | None,
    threads: int,
    layers: tuple[str, ...],
    json_out: str | None,
    plot_out: str | None,
    force: bool,
    quiet: bool,
) -> None:
    """Measure the speed of a model on one core of this machine, or on several.

    The model encodes and decodes speech chunk by chunk, as live sound. The limit is the time of
    the matrix products alone, at the memory bandwidth and the multiply-accumulate rate that the
    same run measures. On a Raspberry Pi, a table has the factors projected for it, too.

    A model that is not causal encodes and decodes a whole sound, and there is no limit.

    \b
    A --layer is one of
      linear:ROWSxDEPTHxOUTPUTS[:f32|f16|int8|int4]
      attention:ROWSxHEADSxHEAD_DIMxKEYS[:f32|f16]
      depthwise:ROWSxCHANNELSxTAPS[:f32|f16]
      layer_norm, gelu, tanh or snake:ROWSxCOLUMNS

    \b
    Examples:
      fcs-edge bench
      fcs-edge bench --model 4k.safetensors --json - > result.json
      fcs-edge bench --weights all --seconds 60 --plot bench.png
      fcs-edge bench --model 25hz.safetensors --sound 60
      fcs-edge bench --layer linear:4x1024x4096:int8
    """
    # No other command needs these modules.
    from fcs_edge.cli import bench_run

    messages = Messages(quiet)
    shapes = bench_run.parse_layers(layers)
    of_model = (model, weights, activations, sound_seconds, plot_out)
    if layers and (any(of_model) or chunks > 1 or threads > 1):
        raise click.UsageError(
            "--layer measures no model; combine it with --seconds and --json only."
        )
    json_out = None if json_out is None else standard(json_out)
    check_results(json_out, plot_out, force)
    codec = fcs_edge.load(model, threads=threads)
    if not layers:
        _check_model(codec, sound_seconds, chunks, threads, plot_out)
    if layers:
        facts = bench_run.measure_layers(shapes, seconds, messages)
    else:
        sound = sound_seconds or SOUND_SECONDS
        setup = (weights, activations, seconds, chunks, sound)
        facts = bench_run.measure_model(codec, *setup, messages)
    _write(facts, json_out, plot_out, force)


def _write(facts: dict[str, Any], json_out: str | None, plot_out: str | None, force: bool) -> None:
    """Draw, print and write the results."""
    from fcs_edge.cli.ui import bench_plot, bench_report

    if plot_out is not None:
        with output_file(plot_out, force) as file:
            bench_plot.save_png(file, facts)
    if json_out != "-":
        bench_report.show(facts)
    if json_out is not None:
        with output_file(json_out, force) as file:
            file.write(_json(facts).encode())


def _check_model(
    codec: Codec, sound: float | None, chunks: int, threads: int, plot_out: str | None
) -> None:
    """Refuse options that would change nothing for the model."""
    if codec.model.config.is_causal:
        if sound is not None:
            raise click.UsageError(
                f"--sound is for models that need the whole sound; {codec.name} streams."
            )
        return
    for name, given in (("chunks", chunks > 1), ("threads", threads > 1), ("plot", plot_out)):
        if given:
            raise click.UsageError(
                f"--{name} is for models that stream; {codec.name} needs the whole sound."
            )


def _json(facts: dict[str, Any]) -> str:
    # Join the lines of lists: the times of chunks are thousands of numbers.
    return re.sub(r"\n +(?=[\d.e-]+,?\n)", " ", json.dumps(facts, indent=2)) + "\n"
