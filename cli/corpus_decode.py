"""``fcs-edge corpus decode``."""

from __future__ import annotations

import click


@click.command()
@click.argument("dataset", metavar="DATASET")
def decode(dataset: str) -> None:
    """Decode rows of DATASET to sound files in the folder OUT.

    \b
    Example:
      fcs-edge corpus decode tokens/ sound/
    """
    raise click.UsageError("not there yet")
