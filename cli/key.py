"""``fcs-edge key``: a new key for a link."""

from __future__ import annotations

from pathlib import Path

import click

from fcs_edge.cli.options import common_options
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.link import keys


@click.command()
@click.argument("path", metavar="FILE")
@common_options
def key(path: str, quiet: bool) -> None:
    """Write a new key to FILE, for send --key and receive --key.

    Copy the file to the other end over a secure connection. Use one key for each sender.

    \b
    Example:
      fcs-edge key voice.key
      scp voice.key pi:
    """
    keys.new_key(Path(path))
    Messages(quiet).note(f"{path}: a new key; copy it to the other end, and keep it secret")
