"""``fcs-edge corpus encode``: sounds to a dataset of tokens."""

from __future__ import annotations

import click


@click.command()
@click.argument("inputs", metavar="IN...", nargs=-1, required=True)
@click.argument("out", metavar="OUT")
def encode(inputs: tuple[str, ...], out: str) -> None:
    """Encode all sounds of IN to a dataset of Parquet files in the folder OUT.

    \b
    Examples:
      fcs-edge corpus encode speech/ tokens/
    """
    raise click.UsageError("not there yet")
