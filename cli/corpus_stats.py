"""``fcs-edge corpus stats``: what a dataset of tokens holds."""

from __future__ import annotations

import json

import click

from fcs_edge.cli.options import common_options, dataset_model_option, force_option
from fcs_edge.cli.output_files import check_results, output_file, standard
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.cli.ui.progress import spinner


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

    Tokens of silence are those that the model gives to digital silence, alone and after speech.
    Only the model knows them: one with a name here that has the dataset's fingerprint, or --model.

    \b
    Examples:
      fcs-edge corpus stats tokens/
      fcs-edge corpus stats tokens/ --plot tokens.png
      fcs-edge corpus stats tokens/ --json - > tokens.json
    """
    messages = Messages(quiet)
    json_out = None if json_out is None else standard(json_out)
    check_results(json_out, plot_out, force)
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
