"""The results of ``fcs-edge bench`` for models that need the whole sound."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fcs_edge.bench.bench import Facts
from fcs_edge.cli.ui.bench_words import digits, disturbed, kind, size
from fcs_edge.cli.ui.messages import plain

_LEGEND = "real-time factor: compute time / audio time; x real time: its inverse"


def show(console: Console, model: Facts, runs: list[Facts]) -> None:
    """Print a table and a line about memory for each run, and a sentence at the end."""
    for run in runs:
        console.print(_run(model, run))
        console.print(Text(_memory(run)))
    console.print(Text(f"\n{_LEGEND}\n"))
    for run in runs:
        console.print(plain(verdict(model, run), "bold"))


def verdict(model: Facts, run: Facts) -> str:
    """Return a sentence: how fast this machine is with the model."""
    encode, decode, both = (run["modes"][mode] for mode in ("encode", "decode", "both"))
    return (
        f"This machine encodes {run['sound_s']:g} s of sound with {model['name']} as {kind(run)} "
        f"in {digits(encode['s_p50'])} s, and decodes them in {digits(decode['s_p50'])} s: "
        f"real-time factor {both['real_time_factor']:.2g} (compute time / audio time), "
        f"{both['times_real_time']:.1f} x real time."
    )


def _run(model: Facts, run: Facts) -> Table:
    title = f"{model['name']}, {model['weights'] / 1e6:.1f} M weights as {kind(run)}: "
    title += f"{run['sound_s']:g} s of sound at once"
    table = Table(title=plain(title), title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("seconds")
    for name in ("p50", "least", "most", "real-time\nfactor", "x real\ntime"):
        table.add_column(name, justify="right")
    labels = {"encode": "encode only", "decode": "decode only", "both": "both"}
    rows = [(labels[mode], facts) for mode, facts in run["modes"].items()]
    rows += [(f"  {stage}", facts) for stage, facts in run["stages"].items()]
    for label, facts in rows:
        table.add_row(
            label,
            *(digits(facts[f"s_{key}"]) for key in ("p50", "min", "max")),
            digits(facts["real_time_factor"]),
            f"{facts['times_real_time']:.1f}",
        )
    return table


def _memory(run: Facts) -> str:
    return (
        f"{run['modes']['both']['runs']} runs; loaded in {run['load_s']:.1f} s; memory at most "
        f"{size(run['memory_peak_bytes'])}, {size(run['memory_before_load_bytes'])} before the "
        f"model; file {size(run['file_bytes'])}{disturbed(run['cpu_share'])}"
    )
