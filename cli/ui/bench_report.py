"""The results of ``fcs-edge bench`` as tables of 80 columns, and as a sentence."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fcs_edge.bench.bench import Facts
from fcs_edge.cli.ui import whole_report
from fcs_edge.cli.ui.bench_words import digits, disturbed, kind, size
from fcs_edge.cli.ui.messages import plain

_LEGEND = (
    "real-time factor: compute time / audio time; x real time: its inverse; share of the limit: "
    "the time of the matrix products alone at the rates above, / p50. A model that fits the caches "
    "is read at their rate."
)
_LAYER_LEGEND = (
    "share of the limit: the time of the bytes and multiply-accumulates at the rates above, / p50. "
    "Weights and history are read from memory, activations from the nearest cache."
)

_OVER = 1.05
"""Share of the limit above which the limit is wrong."""


def show(facts: Facts) -> None:
    """Print the results."""
    console = Console()
    console.print(_machine(facts))
    if "layers" in facts:
        console.print(_layers(facts["layers"]))
        console.print(Text(_LAYER_LEGEND + _disturbed(facts["layers"])))
        return
    if any("sound_s" in run for run in facts["runs"]):
        whole_report.show(console, facts["model"], facts["runs"])
        return
    for run in facts["runs"]:
        console.print(_run(facts["model"], run))
        console.print(Text(_memory(run)))
    threads = max(run.get("threads", 1) for run in facts["runs"])
    several = f" The limit of {threads} threads is that of {threads} cores." * (threads > 1)
    console.print(Text(f"\n{_LEGEND}{several}\n"))
    for run in facts["runs"]:
        console.print(plain(verdict(facts["model"], run), "bold"))
    if "projected_for" in facts:
        # A table to paste: no line is folded.
        console.print(Text("\n" + "\n".join(board_rows(facts))), soft_wrap=True)


def board_rows(facts: Facts) -> list[str]:
    """Return the measured factors beside those projected for this board, as lines of Markdown."""
    lines = [f"Real-time factors on one core, {facts['projected_for']}:", ""]
    lines += ["| model, weights | | encode | decode | both |", "|---|---|---|---|---|"]
    for run in facts["runs"]:
        bits = f", {run['settings']['activation_bits']}-bit activations"
        name = f"{facts['model']['name']}, {run['weights']}{bits * (run['weights'] == 'int8')}"
        measured = [f"{mode['real_time_factor']:.3f}" for mode in run["modes"].values()]
        lines.append(f"| {name} | measured | {' | '.join(measured)} |")
        if run["projected"] is None:
            lines.append(f"| {name} | not projected | | | |")
            continue
        expected = [" / ".join(f"{v:.2f}" for v in run["projected"][m]) for m in run["modes"]]
        lines.append(f"| {name} | projected, good / middle / bad | {' | '.join(expected)} |")
    return lines


def verdict(model: Facts, run: Facts) -> str:
    """Return a sentence: whether this machine runs the model live."""
    what = f"{model['name']} as {kind(run)}"
    both, audio = run["modes"]["both"], model["chunk_ms"]
    factor = (
        f"real-time factor {both['real_time_factor']:.2g} (compute time / audio time), "
        f"{both['times_real_time']:.1f} x real time"
    )
    if run.get("threads", 1) > 1:
        what += f" on {run['threads']} threads"
    if run["chunks_per_step"] > 1:
        return (
            f"This machine encodes and decodes whole files with {what}, {run['chunks_per_step']} "
            f"chunks a step: {factor}."
        )
    p50, p99 = both["chunk_ms_p50"], both["chunk_ms_p99"]
    if p99 <= audio:
        sure = "runs" if p99 <= 0.8 * audio else "barely runs"
        return (
            f"This machine {sure} {what} live, with a headroom of {audio / p99:.3g} x at the 99th "
            f"percentile ({p99:.3g} of {audio:g} ms): {factor}."
        )
    alone = [m for m in ("encode", "decode") if run["modes"][m]["chunk_ms_p99"] <= audio]
    rest = f" It can {' or '.join(alone)} alone." if alone else ""
    if p50 <= audio:
        late = both["late_chunks"] / both["chunks"]
        return (
            f"This machine does not reliably run {what} live: {late:.1%} of the chunks are late, "
            f"with {p99:.3g} of {audio:g} ms at the 99th percentile; {factor}.{rest}"
        )
    return f"This machine does not run {what} live: {factor}.{rest}"


def _machine(facts: Facts) -> Table:
    machine, limits = facts["machine"], facts["limits"]
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    names = [machine["board"], machine["cpu"], machine["architecture"]]
    title = ", ".join(dict.fromkeys(name for name in names if name))
    table.add_row("machine", plain(f"{title}, {machine['cores']} cores"))
    if machine["memory_bytes"] and machine["memory_available_bytes"]:
        free = size(machine["memory_available_bytes"])
        table.add_row("memory", f"{size(machine['memory_bytes'])}, {free} of it free")
    table.add_row("CPU features", " ".join(machine["features"]))
    using = machine["limits_measured_with"]
    other = "" if using == machine["kernels"] else f"; limits measured with {using}"
    compiled = f"compiled {machine['kernels_compiled']}"
    table.add_row("kernels", f"{machine['kernels']}, {compiled}{other}")
    table.add_row(
        "one core",
        f"reads {limits['read_gb_per_s']:.1f} GB/s from memory\n"
        f"multiplies and adds {limits['float32_gmac_per_s']:.1f} GMAC/s in float32, "
        f"{limits['int8_gmac_per_s']:.1f} in int8 ({machine['int8_instruction']}), "
        f"{limits['int4_gmac_per_s']:.1f} in int4 ({machine['int4_instruction']})",
    )
    return table


def _run(model: Facts, run: Facts) -> Table:
    chunks = run["chunks_per_step"]
    title = f"{model['name']}, {model['weights'] / 1e6:.1f} M weights as {kind(run)}: "
    title += f"chunks of {model['chunk_ms']:g} ms"
    title += f", {chunks} a step" if chunks > 1 else ""
    title += f", {run['threads']} threads" if run["threads"] > 1 else ""
    table = Table(title=plain(title), title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("ms a chunk")
    rates = ("real-time\nfactor", "x real\ntime", "share\nof the\nlimit")
    for name in ("p50", "p95", "p99", "max", *rates):
        table.add_column(name, justify="right")
    labels = {"encode": "encode only", "decode": "decode only", "both": "both"}
    rows = [(labels[mode], facts) for mode, facts in run["modes"].items()]
    rows += [(f"  {stage}", facts) for stage, facts in run["stages"].items()]
    for label, facts in rows:
        fraction = facts.get("fraction_of_limit")
        table.add_row(
            label,
            *(digits(facts[f"chunk_ms_{key}"]) for key in ("p50", "p95", "p99", "max")),
            digits(facts["real_time_factor"]),
            f"{facts['times_real_time']:.1f}",
            "" if fraction is None else f"{fraction:.0%}",
        )
    return table


def _disturbed(measured: list[Facts]) -> str:
    """Return a line about other programs where they disturbed a measurement, else nothing."""
    share = min(facts.get("cpu_share", 1.0) for facts in measured)
    if line := disturbed(share):
        return line
    if max(facts.get("fraction_of_limit", 0.0) for facts in measured) > _OVER:
        return (
            "\nmore than 100 % of the limit: other programs ran while the rates were measured; "
            "measure again without them"
        )
    return ""


def _memory(run: Facts) -> str:
    busy = _disturbed([run, *run["modes"].values()])
    windows = "" if run["windows_full"] else " (too few to fill the history)"
    return (
        f"{run['modes']['both']['chunks']} chunks of both after {run['warm_up_chunks']} of warm-up"
        f"{windows}; loaded in {run['load_s']:.1f} s; memory {size(run['memory_bytes'])}, at most "
        f"{size(run['memory_peak_bytes'])}, {size(run['memory_before_load_bytes'])} before the "
        f"model; file {size(run['file_bytes'])}{busy}"
    )


def _layers(layers: list[Facts]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("kernel")
    for name in ("ms\np50", "\np95", "\nGB/s", "\nGMAC/s", "share\nof the\nlimit"):
        table.add_column(name, justify="right")
    for layer in layers:
        shape = "x".join(map(str, layer["shape"].values()))
        macs = layer["gmac_per_s"]
        table.add_row(
            f"{layer['kind']}:{shape}:{layer['weights']}",
            digits(layer["ms_p50"]),
            digits(layer["ms_p95"]),
            f"{layer['gb_per_s']:.1f}",
            "" if macs is None else f"{macs:.1f}",
            f"{layer['fraction_of_limit']:.0%}",
        )
    return table
