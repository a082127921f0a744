"""The table of ``fcs-edge mic --list-devices``."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from fcs_edge.cli.ui.messages import plain
from fcs_edge.live import devices


def print_devices() -> None:
    """Print all devices."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "name", "system", "in", "out", "Hz", ""):
        table.add_column(heading, justify="right" if heading in ("in", "out", "Hz") else "left")
    present = devices.devices()
    for d in present:
        channels = [str(n) if n else "-" for n in (d.inputs, d.outputs)]
        default = "default" if d.default else ""
        table.add_row(
            str(d.number), plain(d.name), plain(d.system), *channels, str(d.rate), default
        )
    console = Console(highlight=False)
    console.print(table if present else "no devices found")
