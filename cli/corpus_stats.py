"""``fcs-edge corpus stats``."""

from __future__ import annotations

import click


@click.command()
@click.argument("dataset", metavar="DATASET")
def stats(dataset: str) -> None:
    """Say what DATASET holds: hours, errors, tokens, use of codes, durations.

    \b
    Example:
      fcs-edge corpus stats tokens/
    """
    raise click.UsageError("not there yet")
