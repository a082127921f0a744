"""``fcs-edge split``: a bitstream to packets of a radio."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from fcs_edge.bitstream.radio_packets import MAX_PACKET_BYTES, MIN_PACKET_BYTES, split_packets
from fcs_edge.cli.options import common_options
from fcs_edge.cli.token_copy import open_file
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.errors import FcsError
from fcs_edge.files import is_regular, naming
from fcs_edge.text import counted
from fcs_edge.tokens.event_decoder import labelled


@click.command()
@click.argument("file", metavar="FILE")
@click.argument("folder", metavar="OUT_DIR")
@click.option(
    "--packet-bytes",
    type=click.IntRange(MIN_PACKET_BYTES, MAX_PACKET_BYTES),
    help="Most bytes of a packet. [default: what the longest record of FILE needs]",
)
@common_options
def split(file: str, folder: str, packet_bytes: int | None, quiet: bool) -> None:
    """Split the bitstream FILE into packets of a radio, a file each in OUT_DIR.

    A packet holds whole records after 3 bytes with the message's number. Each decodes without the
    others: `fcs-edge join` takes them in any order, and with any missing. FILE is best encoded with
    --block-bytes. Packets of a file with --fec hold its cells after 5 bytes.

    \b
    Example:
      fcs-edge split speech.fcs packets
      fcs-edge join packets received.fcs
    """
    if file == "-":
        raise click.UsageError("FILE is a file's name: it is read twice.")
    n_packets = n_bytes = longest = 0
    with open_file(file) as source, labelled(file), _new_folder(Path(folder)) as out:
        if not is_regular(source):
            raise FcsError(f"{file}: is a pipe or device, but is read twice: give a file")
        for packet in split_packets(source, packet_bytes):
            n_packets += 1
            n_bytes += len(packet)
            longest = max(longest, len(packet))
            number = int.from_bytes(packet[1:3], "little")
            (out / f"{number:04x}-{n_packets:04d}.packet").write_bytes(packet)
    Messages(quiet).note(
        f"{folder}: message {number:04x}, {counted(n_packets, 'packet')} of up to {longest} "
        f"bytes, {n_bytes:,} bytes in all"
    )


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """Yield a hidden folder that becomes `path` if the block ends without an exception."""
    if path.exists() and not path.is_dir():
        raise FcsError(f"{path}: exists, and is no folder; give another name")
    if path.is_dir() and any(path.iterdir()):
        raise FcsError(f"{path}: has files already; give a new folder")
    if not path.resolve().parent.is_dir():
        raise FcsError(f"{path.parent}: no such folder")
    hidden = path.resolve().parent / f".{path.resolve().name}-{secrets.token_hex(4)}"
    with naming(path, always=True):
        hidden.mkdir()
    try:
        with naming(path, always=True):
            yield hidden
            os.replace(hidden, path.resolve())
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
