"""What a dataset of tokens holds, as a picture."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, BinaryIO

from fcs_edge.cli.ui.quantities import hours_text
from fcs_edge.corpus.statistics import Facts
from fcs_edge.text import counted, printable

_BLUE, _TEAL, _GREEN, _YELLOW = "#3b528b", "#21918c", "#5ec962", "#fde725"
_GREY, _RED = "#9aa0a6", "#c2410c"
_TICKS = (0.01, 0.1, 0.3, 1, 3, 10, 30, 60, 300, 1800, 3600, 36000)
_NAMES = ("10 ms", "0.1 s", "0.3 s", "1 s", "3 s", "10 s", "30 s", "1 min", "5 min", "30 min")
_MOST = 6
"""Bars of a kind."""
_LEAST = 5
"""Bars that a panel has room for, where it has fewer."""


def save_png(file: BinaryIO, facts: Facts) -> None:
    """Save six panels: durations, codes, bits, balance of bits, sources, what went wrong.

    Parameters
    ----------
    file : binary file
        Receives the picture, 2100 by 1275 pixels.
    facts : dict
        What `fcs_edge.corpus.statistics.stats` returns.

    Raises
    ------
    ImportError
        Matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12, rect=(0, 0, 1, 0.9))
    figure = Figure(figsize=(14, 8.5), dpi=150, layout=layout)
    FigureCanvasAgg(figure)
    figure.text(0.012, 0.955, headline(facts), fontsize=17, fontweight="bold", parse_math=False)
    figure.text(0.012, 0.92, subtitle(facts), fontsize=11, color="#555555", parse_math=False)
    panels = figure.subplots(2, 3)
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
    _durations(panels[0, 0], facts)
    _codes(panels[0, 1], facts["codes"])
    _bits(panels[0, 2], facts)
    _sources(panels[1, 0], facts["sources"])
    _balance(panels[1, 1], facts["entropy"])
    _parts(panels[1, 2], facts)
    for axes in panels.flat:
        axes.title.set_fontweight("bold")
    figure.savefig(file, format="png")


def headline(facts: Facts) -> str:
    """Return the dataset in one line: hours, files, tokens."""
    hours, files = facts["hours"], facts["files"] - facts["errors"]
    return (
        f"{hours_text(hours)} of sound in {files:,} file{'' if files == 1 else 's'}: "
        f"{facts['tokens']:,} tokens of {printable(facts['model']['name'])}"
    )


def subtitle(facts: Facts) -> str:
    """Return what is beside the headline: errors, sizes, silence."""
    parts = [f"{facts['errors']:,} without tokens", f"{facts['cut']:,} cut"]
    per_token = facts["sizes"]["bytes_per_token"]
    if per_token is not None:
        parts.append(f"{per_token:.2f} bytes a token in {counted(facts['shards'], 'shard')}")
    if facts["silence"] is not None and facts["silence"]["share"] is not None:
        parts.append(f"{facts['silence']['share']:.1%} silence")
    return "   ·   ".join(parts)


def _empty(axes: Any, text: str) -> None:
    axes.axis("off")
    axes.text(0.5, 0.5, text, ha="center", va="center", color=_GREY, transform=axes.transAxes)


def _durations(axes: Any, facts: Facts) -> None:
    durations = facts["durations"]
    histogram = durations["histogram"]
    axes.set_title("How long the files are")
    if histogram is None:
        _empty(axes, "no file has tokens")
        return
    edges = histogram["edges_s"]
    widths = [high - low for low, high in pairwise(edges)]
    axes.bar(edges[:-1], histogram["files"], widths, align="edge", color=_BLUE, edgecolor="white")
    axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    axes.minorticks_off()
    ticks = [(tick, name) for tick, name in zip(_TICKS, _NAMES, strict=False)]
    ticks = [(tick, name) for tick, name in ticks if edges[0] <= tick <= edges[-1]]
    axes.set_xticks([tick for tick, _ in ticks], [name for _, name in ticks])
    median = durations["quantiles"]["0.5"]
    axes.axvline(median, color="black", linestyle="--", linewidth=1)
    top = axes.get_ylim()[1]
    axes.text(median, top, f" median {median:.3g} s", va="top", fontsize=9)
    axes.set_ylabel("files")
    axes.yaxis.set_major_formatter("{x:,.0f}")


def _codes(axes: Any, codes: Facts) -> None:
    axes.set_title("How the codes are used")
    if not codes["used"]:
        _empty(axes, "no tokens")
        return
    axes.plot(codes["ranks"], codes["count_at_rank"], color=_TEAL, linewidth=2)
    axes.fill_between(codes["ranks"], codes["count_at_rank"], 0.5, color=_TEAL, alpha=0.15)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(1, codes["of"])
    axes.set_ylim(bottom=0.5)
    share = codes["used"] / codes["of"]
    lines = [
        f"{codes['used']:,} of {codes['of']:,} codes ({share:.0%})",
        f"perplexity {codes['perplexity']:,.0f}",
    ]
    axes.text(0.05, 0.05, "\n".join(lines), va="bottom", transform=axes.transAxes)
    axes.set_xlabel("code, the most frequent first")
    axes.set_ylabel("times it occurs")


def _bits(axes: Any, facts: Facts) -> None:
    axes.set_title("Bits a token takes")
    entropy, sizes = facts["entropy"], facts["sizes"]
    if not facts["tokens"]:
        _empty(axes, "no tokens")
        return
    seen = entropy["pair_coverage"] >= 0.9
    after = "once the one before is known" + ("" if seen else "\n(too few tokens to tell)")
    rows = [
        ("as the model writes it", facts["bits_per_token"], _GREY),
        ("in this dataset's files", 8 * sizes["tokens_column_bytes_per_token"], _BLUE),
        ("by how often it occurs", entropy["token_bits"], _TEAL),
        (after, entropy["token_bits_after_previous"], _GREEN if seen else "#d9ead3"),
    ]
    names = [name for name, _, _ in rows]
    bars = axes.barh(
        range(len(rows)), [bits for _, bits, _ in rows], color=[colour for _, _, colour in rows]
    )
    axes.bar_label(bars, [f"{bits:.2f}" for _, bits, _ in rows], padding=3)
    axes.set_yticks(range(len(rows)), names)
    _from_the_top(axes, len(rows))
    axes.set_xlim(0, 1.15 * max(bits for _, bits, _ in rows))


def _sources(axes: Any, sources: Facts) -> None:
    axes.set_title("What the files were")
    groups = (
        ("sample_rates", "{} Hz", _BLUE),
        ("channels", "{} channels", _TEAL),
        ("suffixes", "{}", _GREEN),
    )
    names, hours, colours = [], [], []
    for key, form, colour in groups:
        for part in sources[key][:_MOST]:
            text = form.format(part["value"] or "no suffix")
            names.append(printable("1 channel" if text == "1 channels" else text))
            hours.append(part["hours"])
            colours.append(colour)
    if not names:
        _empty(axes, "no file has tokens")
        return
    bars = axes.barh(range(len(names)), hours, color=colours)
    axes.bar_label(bars, [hours_text(value) for value in hours], padding=3, fontsize=9)
    axes.set_yticks(range(len(names)), names, fontsize=9, parse_math=False)
    _from_the_top(axes, len(names))
    axes.set_xlim(0, 1.2 * max(hours) or 1)
    _hide_x(axes, "hours of sound by rate, channels and kind of file")


def _balance(axes: Any, entropy: Facts) -> None:
    axes.set_title("Bits of the codes: share of ones")
    ones = entropy["bit_ones"]
    colours = [_TEAL if bits > 0.9 else _RED for bits in entropy["bit_entropy"]]
    axes.bar(range(len(ones)), ones, color=colours)
    axes.axhline(0.5, color="black", linestyle="--", linewidth=1)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_xticks(range(len(ones)), range(len(ones)), fontsize=8)
    axes.set_xlabel("bit, the lowest first (red: below 0.9 bits of entropy)")


def _parts(axes: Any, facts: Facts) -> None:
    """Draw the files by what became of them, and the kinds of errors and warnings."""
    whole = facts["files"] - facts["errors"] - facts["cut"]
    rows = [("whole", whole, _GREEN)]
    rows += [(kind["kind"], kind["files"], _YELLOW) for kind in facts["warning_kinds"][:_MOST]]
    rows += [(kind["kind"], kind["files"], _RED) for kind in facts["error_kinds"][:_MOST]]
    if facts["silence"] is not None and facts["silence"]["silent_files"]:
        rows.append(("nearly all silence", facts["silence"]["silent_files"], _GREY))
    axes.set_title("What became of the files")
    bars = axes.barh(range(len(rows)), [n for _, n, _ in rows], color=[c for _, _, c in rows])
    axes.bar_label(bars, [f"{n:,}" for _, n, _ in rows], padding=3)
    names = [_short(printable(name)) for name, _, _ in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=9, parse_math=False)
    _from_the_top(axes, len(rows))
    most = max(n for _, n, _ in rows)
    axes.set_xscale("symlog", linthresh=10)
    axes.set_xlim(0, 4 * max(1, most))
    _hide_x(axes, "files, logarithmic\n(red: no tokens; yellow: warning)")


def _from_the_top(axes: Any, n: int) -> None:
    """Order bars from the top, and keep few ones from filling the panel."""
    axes.set_ylim(max(n, _LEAST) - 0.5, -0.5)


def _hide_x(axes: Any, label: str) -> None:
    """Leave out the numbers of an axis whose bars have theirs."""
    axes.set_xticks([])
    axes.minorticks_off()
    axes.spines["bottom"].set_visible(False)
    axes.set_xlabel(label)


def _short(text: str) -> str:
    return text if len(text) <= 34 else f"{text[:32]} ..."
