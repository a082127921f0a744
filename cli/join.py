"""``fcs-edge join``: packets of a radio to a bitstream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from fcs_edge.bitstream.radio_join import Packet, join_packets
from fcs_edge.cli.options import common_options, force_option
from fcs_edge.cli.output_files import check_distinct, check_output, output_file, standard
from fcs_edge.cli.ui.messages import Capped, Messages
from fcs_edge.errors import BitstreamError, FcsError
from fcs_edge.text import counted

_MOST_BYTES = 1 << 16
_MESSAGE_NUMBERS = 1 << 16


def _number(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """Return a message's number from its four digits."""
    if value is None:
        return None
    try:
        number = int(value, 16)
    except ValueError:
        number = -1
    if not 0 <= number < _MESSAGE_NUMBERS:
        raise click.BadParameter(f"{value!r} is not the number of a message, such as 3fa2.")
    return number


@click.command()
@click.argument("packets", metavar="PACKETS...", nargs=-1, required=True)
@click.argument("out", metavar="OUT")
@click.option(
    "--message",
    metavar="NUMBER",
    callback=_number,
    help="Take the packets of this message only: four hexadecimal digits.",
)
@force_option
@common_options
def join(packets: tuple[str, ...], out: str, message: int | None, force: bool, quiet: bool) -> None:
    """Join PACKETS of `fcs-edge split` to the bitstream OUT.

    PACKETS are files of one packet each, or folders of such files, in any order. Repeated packets
    are used once. If packets are missing, OUT holds the others, and the exit code is 1; decode
    plays silence in their place. Packets of several messages are refused without --message.

    \b
    Example:
      fcs-edge join packets received.fcs
    """
    messages = Messages(quiet)
    out = standard(out)
    if out != "-" and Path(out).suffix.lower() != ".fcs":
        raise click.UsageError("OUT must end in .fcs, or be - for standard output.")
    paths = list(_files(packets))
    check_output(out, force)
    check_distinct([out], paths)
    problems = Capped(messages.warn)
    with output_file(out, force) as file:
        joined = join_packets((_packet(path) for path in paths), file, problems.add, message)
    problems.close()
    restored = f"; {joined.n_restored} missing, which decode restores" * bool(joined.n_restored)
    messages.note(f"{out}: joined from {counted(joined.n_packets, 'packet')}{restored}")
    click.get_current_context().exit(1 if problems.n else 0)


def _files(packets: tuple[str, ...]) -> Iterator[str]:
    """Yield the files of arguments that are files or folders."""
    for name in packets:
        path = Path(name)
        if not path.exists():
            raise BitstreamError(f"{name}: no such file")
        if path.is_dir():
            yield from sorted(str(file) for file in path.iterdir() if _is_packet(file))
        else:
            yield name


def _is_packet(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")


def _packet(path: str) -> Packet:
    with open(path, "rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise FcsError(f"{path}: is longer than any packet; give packets of fcs-edge split")
    return Packet(path, data)
