"""``fcs-edge corpus stats``: what a dataset of tokens holds."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import click

from fcs_edge.cli.options import common_options, dataset_model_option, force_option
from fcs_edge.cli.output_files import check_distinct, check_output, output_file, standard
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.cli.ui.progress import spinner
from fcs_edge.errors import FcsError


@click.command()
@click.argument("dataset", metavar="DATASET")
@dataset_model_option
@click.option(
    "--json", "json_out", metavar="FILE", help="Write all numbers as JSON; - prints them."
)
@click.option("--plot", "plot_out", metavar="FILE.png", help="Draw them as a picture.")
@force_option
@common_options
def stats(
    dataset: str,
    model: str | None,
    json_out: str | None,
    plot_out: str | None,
    force: bool,
    quiet: bool,
) -> None:
    """Say what DATASET holds: hours, errors, tokens, use of codes, durations.

    DATASET is a folder that `fcs-edge corpus encode` wrote, or the URI of an object store. A run
    that is not finished counts, too.

    Silence are the tokens that the model gives to digital silence, alone and after speech. It
    needs the model: one with a name here that has the dataset's fingerprint, or --model.

    \b
    Examples:
      fcs-edge corpus stats tokens/
      fcs-edge corpus stats tokens/ --plot tokens.png
      fcs-edge corpus stats tokens/ --json - > tokens.json
    """
    messages = Messages(quiet)
    json_out = None if json_out is None else standard(json_out)
    _check_outputs(json_out, plot_out, force)
    from fcs_edge.corpus.statistics import stats as collect

    with spinner(messages, "Reading"):
        facts = collect(dataset, model=model)
    if plot_out is not None:
        from fcs_edge.cli.ui import corpus_plot

        with output_file(plot_out, force) as file:
            corpus_plot.save_png(file, facts)
    if json_out != "-":
        from fcs_edge.cli.ui import corpus_report

        corpus_report.show(facts)
    if json_out is not None:
        with output_file(json_out, force) as file:
            file.write((json.dumps(facts, indent=2) + "\n").encode())


def _check_outputs(json_out: str | None, plot_out: str | None, force: bool) -> None:
    """Refuse outputs that cannot be written, before any work."""
    if plot_out is not None:
        if Path(plot_out).suffix.lower() != ".png":
            raise click.UsageError("--plot draws a PNG file; its name must end in .png.")
        if find_spec("matplotlib") is None:
            raise FcsError("--plot needs Matplotlib: pip install matplotlib")
        check_output(plot_out, force)
    if json_out is not None and json_out != "-":
        check_output(json_out, force)
    check_distinct([json_out, plot_out])
