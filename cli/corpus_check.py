"""``fcs-edge corpus check``."""

from __future__ import annotations

import click


@click.command()
@click.argument("dataset", metavar="DATASET")
def check(dataset: str) -> None:
    """Check that the files of DATASET are whole and belong together.

    \b
    Example:
      fcs-edge corpus check tokens/
    """
    raise click.UsageError("not there yet")
