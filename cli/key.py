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
    """Write a new key, for send --key and receive --key, as two halves.

    FILE is the half of this end. The other half is beside it: voice.peer.key for voice.key. Move
    it to the other end over a secure connection. One key serves both directions.

    \b
    Example:
      fcs-edge key voice.key
      scp voice.peer.key pi:
    """
    if path == "-":
        raise click.UsageError("FILE is a file's name: a key has two halves.")
    peer = keys.new_key(Path(path))
    Messages(quiet).note(
        f"{path}: this end's half of a new key; {peer}: the other end's half; move it there, and "
        "keep both secret"
    )
