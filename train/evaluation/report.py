"""What the judges said: means with intervals over clips, tables, a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from train.evaluation.metrics import F64, MEASURES, Measure

Facts: TypeAlias = dict[str, Any]

REFERENCE = "Codec2 1200"
"""What the others are marked against."""

BETTER, WORSE = "✓", "✗"

SEED = 0
DRAWS = 2000
"""Draws of clips for an interval."""

_WIDTH = 150
_COLOURS = ("#3b528b", "#21918c", "#5ec962", "#b5a30c", "#c2541b", "#7e3f8f", "#777777")


def draws(clips: int) -> NDArray[np.intp]:
    """Return clips drawn with replacement, (`DRAWS`, clips), the same ones each time."""
    return np.random.default_rng(SEED).integers(0, clips, (DRAWS, clips))


def interval(values: F64, weights: F64) -> tuple[float, float]:
    """Return the 95 % interval of a weighted mean over clips, by bootstrap.

    Parameters
    ----------
    values, weights : ndarray of float64, shape (clips,)
        At least one clip, of positive weight.

    Returns
    -------
    tuple of float
        Its lower and upper end; both the mean where there is one clip.
    """
    drawn = draws(values.size)
    means = (values * weights)[drawn].sum(axis=1) / weights[drawn].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def summarise(rows: Sequence[Facts], reference: Sequence[Facts] = ()) -> Facts:
    """Return the means of a codec's clips of one set.

    Parameters
    ----------
    rows : sequence of dict
        A clip each: "clip", "words" and the measures, None where a judge could not tell.
    reference : sequence of dict
        The same clips by the codec to compare with.

    Returns
    -------
    dict
        By measure: "mean" (of WER by words), "low" and "high" of the 95 % interval, "clips"
        judged of "of"; with a reference also "difference" of the means over the clips that both
        have, and its interval.
    """
    others = {row["clip"]: row for row in reference}
    out: Facts = {}
    for measure in MEASURES:
        key = measure.key
        judged = [row for row in rows if row.get(key) is not None]
        if not judged:
            continue
        values = np.array([row[key] for row in judged])
        weights = _weights(measure, judged)
        low, high = interval(values, weights)
        facts: Facts = {
            "mean": float(np.average(values, weights=weights)),
            "low": low,
            "high": high,
        }
        facts |= {"clips": len(judged), "of": len(rows)}
        both = [row for row in judged if others.get(row["clip"], {}).get(key) is not None]
        if both:
            change = np.array([row[key] - others[row["clip"]][key] for row in both])
            weights = _weights(measure, both)
            ends = interval(change, weights)
            mean = float(np.average(change, weights=weights))
            facts["difference"] = {"mean": mean, "low": ends[0], "high": ends[1]}
        out[key] = facts
    return out


def mark(measure: Measure, facts: Facts) -> str:
    """Return `BETTER` or `WORSE` where the whole interval of the difference is so, else ""."""
    difference = facts.get("difference")
    if not difference or not measure.better:
        return ""
    ends = [measure.better * difference[end] for end in ("low", "high")]
    return BETTER if min(ends) > 0 else WORSE if max(ends) < 0 else ""


def scores_table(results: Facts, name: str) -> Table:
    """Return the table of a set, a row for each codec."""
    facts, summaries = results["sets"][name], results["summaries"][name]
    table = Table(title=f"{name}: {facts['clips']} clips, {facts['seconds']:.1f} s")
    table.add_column("codec", no_wrap=True)
    table.add_column("kb/s", justify="right")
    shown = [m for m in MEASURES if any(m.key in summary for summary in summaries.values())]
    for measure in shown:
        table.add_column(measure.heading, justify="right")
    for codec, summary in summaries.items():
        rate = facts["kbps"].get(codec)
        cells = [_cell(measure, summary.get(measure.key)) for measure in shown]
        table.add_row(codec, "" if rate is None else f"{rate:.2f}", *cells)
    return table


def tokens_table(results: Facts) -> Table | None:
    """Return the table of how models use their tokens, over all sets; None without models."""
    models = {name: c["tokens"] for name, c in results["codecs"].items() if c["tokens"]}
    if not models:
        return None
    table = Table(title="tokens, over all clips")
    heads = (
        "of",
        "used",
        "entropy, bits",
        "as counted",
        "bit is 1, % (lowest first)",
        "bits' corr.",
    )
    for head in ("model", "tokens", *heads):
        table.add_column(head, justify="left" if head == "model" else "right")
    for name, t in models.items():
        ones = " ".join(f"{100 * share:.0f}" for share in t["balance"])
        cells = [str(t["tokens"]), str(2 ** t["bits"]), str(t["used"]), _number(t["entropy"], 2)]
        cells += [_number(t["entropy_counted"], 2), ones, _number(t["correlation"], 3)]
        table.add_row(name, *cells)
    return table


def show(results: Facts, console: Console) -> None:
    """Print a table for each set, that of the tokens, and the notes."""
    if not console.is_terminal:
        console.width = _WIDTH
    for name in results["sets"]:
        console.print(scores_table(results, name))
    tokens = tokens_table(results)
    if tokens is not None:
        console.print(tokens)
    for note in results["notes"]:
        console.print(note, highlight=False)


def save_plot(path: Path, results: Facts) -> None:
    """Save a row of panels a set, a panel a measure: bars, their 95 % intervals, and the clips.

    Raises
    ------
    ImportError
        If Matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names, codecs = list(results["sets"]), list(results["codecs"])
    present = {key for name in names for s in results["summaries"][name].values() for key in s}
    shown = [measure for measure in MEASURES if measure.key in present]
    size = (2.0 * len(shown) + 2.2, (0.34 * len(codecs) + 1.1) * len(names) + 0.5)
    figure = Figure(figsize=size, dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("Bars: means and their 95 % intervals; dots: clips", fontsize=10)
    grid = figure.subplots(len(names), len(shown), squeeze=False)
    for axes, name in zip(grid, names, strict=True):
        facts = results["sets"][name]
        for axis, measure in zip(axes, shown, strict=True):
            _panel(axis, measure, codecs, results, name)
        rates = [facts["kbps"].get(codec) for codec in codecs]
        labels = [
            c if r is None else f"{c}, {r:.2f} kb/s" for c, r in zip(codecs, rates, strict=True)
        ]
        axes[0].set_yticks(range(len(codecs)), labels, fontsize=8)
        clips = f"{facts['clips']} clips, {facts['seconds']:.0f} s"
        axes[0].set_ylabel(f"{name}\n{clips}", fontsize=9, fontweight="bold")
    figure.savefig(path, format="png")


def _panel(axis: Any, measure: Measure, codecs: list[str], results: Facts, name: str) -> None:
    """Draw one measure of one set."""
    start, end = measure.span
    for at, codec in enumerate(codecs):
        facts = results["summaries"][name].get(codec, {}).get(measure.key)
        if facts is None:
            continue
        mean, colour = facts["mean"], _COLOURS[at % len(_COLOURS)]
        axis.barh(at, mean - start, left=start, color=colour, alpha=0.75, height=0.7)
        ends = [[max(0.0, mean - facts["low"])], [max(0.0, facts["high"] - mean)]]
        axis.errorbar(mean, at, xerr=ends, color="black", capsize=2.5, linewidth=1)
        rows = [r for r in results["rows"] if r["set"] == name and r["codec"] == codec]
        values = [r[measure.key] for r in rows if r.get(measure.key) is not None]
        height = at + np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else [at]
        axis.plot(values, height, "o", color="black", markersize=2, alpha=0.45, linewidth=0)
    axis.set_xlim(start, None if np.isnan(end) else end)
    axis.set_ylim(len(codecs) - 0.5, -0.5)
    arrow = {1: "  (more is better)", -1: "  (less is better)", 0: ""}[measure.better]
    axis.set_title(measure.heading + arrow.replace("  ", "\n"), fontsize=8)
    axis.set_yticks([])
    axis.tick_params(labelsize=7)
    axis.grid(axis="x", alpha=0.3)


def _weights(measure: Measure, rows: Sequence[Facts]) -> F64:
    return np.array([row["words"] if measure.key == "wer" else 1 for row in rows], np.float64)


def _cell(measure: Measure, facts: Facts | None) -> str:
    if facts is None:
        return ""
    text = f"{facts['mean']:.{measure.digits}f}"
    if facts["clips"] > 1:
        spread = f"{(facts['high'] - facts['low']) / 2:.{measure.digits}f}"
        text += f" ±{spread.removeprefix('0')}"
    return text + (mark(measure, facts) or " ")


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
