"""``fcs-edge bench``: how fast this machine runs a model, and how fast it could."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

import fcs_edge
from fcs_edge.cli.common import (
    Messages,
    check_output,
    common_options,
    force_option,
    model_option,
    output_file,
    output_path,
)
from fcs_edge.errors import FcsError
from fcs_edge.modelfile.model_file import SCHEMES


@click.command()
@model_option
@click.option(
    "--weights",
    type=click.Choice([*SCHEMES, "all"]),
    multiple=True,
    help="What to store weights as; several times, or all. [default: as in the model file]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 3600),
    default=20,
    show_default=True,
    help="How long to measure, in all. Loading, converting and compiling come on top.",
)
@click.option(
    "--chunks",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Chunks a step: 1 is live sound, 8 is what whole files go through in.",
)
@click.option(
    "--layer",
    "layers",
    metavar="KIND:SHAPE",
    multiple=True,
    help="Measure one kernel at one shape, not a model; several times for several.",
)
@click.option("--json", "json_out", metavar="FILE", help="Write everything as JSON; - prints it.")
@click.option("--plot", "plot_out", metavar="FILE.png", help="Draw chunk times and stages.")
@force_option
@common_options
def bench(
    model: str | None,
    weights: tuple[str, ...],
    seconds: float,
    chunks: int,
    layers: tuple[str, ...],
    json_out: str | None,
    plot_out: str | None,
    force: bool,
    quiet: bool,
) -> None:
    """Measure how fast one core of this machine runs a model.

    Speech goes through it chunk by chunk, as live sound does: encoded, decoded, and both. The
    limit beside that is what the matrix products alone would take, at the memory bandwidth and
    the multiply-accumulates a second that are measured in the same run.

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
      fcs-edge bench --layer linear:4x1024x4096:int8
    """
    # What measures is imported by no other command.
    from fcs_edge.cli import bench_run
    from fcs_edge.cli.ui import bench_plot, bench_report

    messages = Messages(quiet)
    shapes = bench_run.parse_layers(layers)
    if layers and (model or weights or chunks > 1 or plot_out):
        raise click.UsageError("--layer measures no model; only --seconds and --json go with it.")
    if plot_out is not None:
        if Path(plot_out).suffix != ".png":
            raise click.UsageError("--plot draws a PNG file; its name must end in .png.")
        if find_spec("matplotlib") is None:
            raise FcsError("--plot needs Matplotlib: pip install 'fcs-edge[plot]'")
        check_output(plot_out, force)
    if json_out is not None and json_out != "-":
        check_output(json_out, force)
    codec = fcs_edge.load(model)
    if layers:
        facts = bench_run.measure_layers(shapes, seconds, messages)
    else:
        facts = bench_run.measure_model(codec, weights, seconds, chunks, messages)
    if plot_out is not None:
        with output_path(plot_out) as path:
            bench_plot.save_png(path, facts)
    if json_out != "-":
        bench_report.show(facts)
    if json_out is not None:
        with output_file(json_out) as file:
            file.write(_json(facts).encode())


def _json(facts: dict[str, Any]) -> str:
    # A number stands on a line of its own only in a list; the times of chunks are thousands.
    return re.sub(r"\n +(?=[\d.e-]+,?\n)", " ", json.dumps(facts, indent=2)) + "\n"
