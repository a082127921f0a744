"""``fcs-edge corpus``: whole corpora of sound to a dataset of tokens, and back."""

from __future__ import annotations

import click

from fcs_edge.cli.command_group import CommandGroup

COMMANDS = {
    "encode": "Encode all sounds of IN to a dataset of Parquet files in the folder OUT.",
    "decode": "Decode rows of DATASET to sound files in the folder OUT.",
    "stats": "Say what DATASET holds: hours, errors, tokens, use of codes, durations.",
    "check": "Check that the files of DATASET are whole and belong together.",
}
"""Modules `fcs_edge.cli.corpus_NAME`, each with the command NAME; first lines of their help."""


@click.group(cls=CommandGroup, lines=COMMANDS, prefix="fcs_edge.cli.corpus_")
def corpus() -> None:
    """Encode whole corpora of sound to a dataset of tokens, and work with it.

    The dataset is a folder of Parquet files, which `datasets`, Polars and DuckDB read. A run
    that ends early continues where it stopped.

    \b
    Examples:
      fcs-edge corpus encode speech/ tokens/
      fcs-edge corpus stats tokens/
      fcs-edge corpus decode tokens/ sound/ --id anna/0001.wav
    """
