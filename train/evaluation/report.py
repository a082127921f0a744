"""The report of an evaluation: means with intervals over clips, tables, a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from train.evaluation.envelope import PEAKS
from train.evaluation.metrics import F64, SCORES, Metric
from train.evaluation.narrow import NARROW
from train.evaluation.periodicity import BANDS, CONTROL_MS, ROW_MS, SHARES, TARGET, TWICE_MS, key
from train.evaluation.pitch import PITCH

Facts: TypeAlias = dict[str, Any]

REFERENCE = "Codec2 1200"
"""The system that others are compared with."""

BETTER, WORSE = "✓", "✗"

METRICS = (*SCORES, *PITCH, *NARROW, *SHARES, *PEAKS)
"""All metrics of a clip."""

PLOTTED = (*SCORES, *(m for m in METRICS if m.key in ("cents", key(TARGET, ROW_MS))))
"""The metrics of the plot."""

FEW_CLIPS = 10
"""Under this, bootstrapped intervals are too narrow."""

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
        A clip each: "clip", "words" and the metrics, None where a metric has no value.
    reference : sequence of dict
        The same clips by the codec to compare with.

    Returns
    -------
    dict
        By metric: "mean" (WER: errors over words of the set), "low" and "high" of the 95 %
        interval, "clips" scored of "of"; with a reference also "difference" of the means over the
        clips that both have, and its interval.
    """
    others = {row["clip"]: row for row in reference}
    out: Facts = {}
    for metric in METRICS:
        key = metric.key
        scored = [row for row in rows if row.get(key) is not None]
        if not scored:
            continue
        values = np.array([row[key] for row in scored])
        weights = _weights(metric, scored)
        low, high = interval(values, weights)
        facts: Facts = {
            "mean": float(np.average(values, weights=weights)),
            "low": low,
            "high": high,
        }
        facts |= {"clips": len(scored), "of": len(rows)}
        change = difference(metric, scored, others)
        if change is not None:
            facts["difference"] = change
        out[key] = facts
    return out


def difference(metric: Metric, rows: Sequence[Facts], others: Mapping[str, Facts]) -> Facts | None:
    """Return the difference of two codecs in one metric, paired by clips.

    Parameters
    ----------
    metric : Metric
    rows : sequence of dict
        A clip each, of one codec and set.
    others : dict
        The other codec's rows, by clip.

    Returns
    -------
    dict or None
        "mean" (WER: difference of errors over words), "low" and "high" of its 95 % interval, and
        "clips" that both codecs have; None without any.
    """
    key = metric.key
    both = [row for row in rows if row.get(key) is not None]
    both = [row for row in both if others.get(row["clip"], {}).get(key) is not None]
    if not both:
        return None
    change = np.array([row[key] - others[row["clip"]][key] for row in both])
    weights = _weights(metric, both)
    low, high = interval(change, weights)
    mean = float(np.average(change, weights=weights))
    return {"mean": mean, "low": low, "high": high, "clips": len(both)}


def mark(metric: Metric, facts: Facts) -> str:
    """Return `BETTER` or `WORSE` where the whole interval of the difference is so, else "".

    One clip has no interval, so no mark.
    """
    difference = facts.get("difference")
    if not difference or difference["clips"] < 2 or not metric.better:
        return ""
    ends = [metric.better * difference[end] for end in ("low", "high")]
    return BETTER if min(ends) > 0 else WORSE if max(ends) < 0 else ""


def scores_table(results: Facts, name: str) -> Table:
    """Return the table of a set: intelligibility and quality, a row for each codec."""
    facts, summaries = results["sets"][name], results["summaries"][name]
    table = _table(f"{name}: {facts['clips']} clips, {facts['seconds']:.1f} s")
    table.add_column("kb/s", justify="right")
    shown = _present(SCORES, summaries)
    for metric in shown:
        table.add_column(metric.heading, justify="right")
    for codec, summary in summaries.items():
        rate = facts["kbps"].get(codec)
        cells = [_cell(metric, summary.get(metric.key)) for metric in shown]
        table.add_row(codec, "" if rate is None else f"{rate:.2f}", *cells)
    return table


def pitch_table(results: Facts, name: str) -> Table:
    """Return the table of a set: pitch, voicing, level and what is above a narrow band."""
    summaries = results["summaries"][name]
    table = _table(f"{name}: pitch, voicing, level, narrow bands")
    shown = _present((*PITCH, *NARROW), summaries)
    for metric in shown:
        table.add_column(metric.heading, justify="right")
        if metric in PITCH:
            table.add_column("pooled", justify="right")
    for codec, summary in summaries.items():
        cells = []
        for metric in shown:
            facts = summary.get(metric.key)
            cells.append(_cell(metric, facts))
            if metric in PITCH:
                cells.append(_number((facts or {}).get("pooled"), metric.digits))
        table.add_row(codec, *cells)
    return table


def periodicity_table(results: Facts, name: str) -> Table:
    """Return the table of a set: how much of each band repeats, and the envelope's peaks.

    The control is in brackets.
    """
    summaries = results["summaries"][name]
    table = _table(
        f"{name}: share of energy that repeats every {ROW_MS:g} ms "
        f"(every {CONTROL_MS:g} ms), chance is 0.1; peaks of the envelope"
    )
    by_key = {metric.key: metric for metric in SHARES}
    of_target = [by_key[key(TARGET, ms)] for ms in (ROW_MS, CONTROL_MS, TWICE_MS)]
    for metric in of_target:
        table.add_column(metric.heading, justify="right")
    for low, high in BANDS:
        table.add_column(f"{low / 1000:g}-{high / 1000:g} kHz", justify="right")
    for metric in PEAKS:
        table.add_column(metric.heading, justify="right")
    for codec, summary in summaries.items():
        cells = [_cell(metric, summary.get(metric.key)) for metric in of_target]
        for band in BANDS:
            share, control = (summary.get(key(band, ms)) for ms in (ROW_MS, CONTROL_MS))
            text = "" if share is None else f"{share['mean']:.2f}"
            cells.append(f"{text} ({control['mean']:.2f})" if share and control else text)
        cells += [_cell(metric, summary.get(metric.key)) for metric in PEAKS]
        table.add_row(codec, *cells)
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
        for table in (scores_table, pitch_table, periodicity_table):
            console.print(table(results, name))
    tokens = tokens_table(results)
    if tokens is not None:
        console.print(tokens)
    for note in results["notes"]:
        console.print(note, highlight=False)


def save_plot(path: Path, results: Facts) -> None:
    """Save a plot: a row of panels for each set, a panel for each metric.

    Raises
    ------
    ImportError
        If Matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names, codecs = list(results["sets"]), list(results["codecs"])
    present = {key for name in names for s in results["summaries"][name].values() for key in s}
    shown = [metric for metric in PLOTTED if metric.key in present]
    size = (2.0 * len(shown) + 2.2, (0.34 * len(codecs) + 1.1) * len(names) + 0.5)
    figure = Figure(figsize=size, dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("Bars: means and their 95 % intervals; dots: clips", fontsize=10)
    grid = figure.subplots(len(names), len(shown), squeeze=False)
    for axes, name in zip(grid, names, strict=True):
        facts = results["sets"][name]
        for axis, metric in zip(axes, shown, strict=True):
            _panel(axis, metric, codecs, results, name)
        rates = [facts["kbps"].get(codec) for codec in codecs]
        labels = [
            c if r is None else f"{c}, {r:.2f} kb/s" for c, r in zip(codecs, rates, strict=True)
        ]
        axes[0].set_yticks(range(len(codecs)), labels, fontsize=8)
        clips = f"{facts['clips']} clips, {facts['seconds']:.0f} s"
        axes[0].set_ylabel(f"{name}\n{clips}", fontsize=9, fontweight="bold")
    figure.savefig(path, format="png")


def _panel(axis: Any, metric: Metric, codecs: list[str], results: Facts, name: str) -> None:
    """Draw one metric of one set."""
    start, end = metric.span
    for at, codec in enumerate(codecs):
        facts = results["summaries"][name].get(codec, {}).get(metric.key)
        if facts is None:
            continue
        mean, colour = facts["mean"], _COLOURS[at % len(_COLOURS)]
        axis.barh(at, mean - start, left=start, color=colour, alpha=0.75, height=0.7)
        ends = [[max(0.0, mean - facts["low"])], [max(0.0, facts["high"] - mean)]]
        axis.errorbar(mean, at, xerr=ends, color="black", capsize=2.5, linewidth=1)
        rows = [r for r in results["rows"] if r["set"] == name and r["codec"] == codec]
        values = [r[metric.key] for r in rows if r.get(metric.key) is not None]
        height = at + np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else [at]
        axis.plot(values, height, "o", color="black", markersize=2, alpha=0.45, linewidth=0)
    axis.set_xlim(start, None if np.isnan(end) else end)
    axis.set_ylim(len(codecs) - 0.5, -0.5)
    arrow = {1: "  (more is better)", -1: "  (less is better)", 0: ""}[metric.better]
    axis.set_title(metric.heading + arrow.replace("  ", "\n"), fontsize=8)
    axis.set_yticks([])
    axis.tick_params(labelsize=7)
    axis.grid(axis="x", alpha=0.3)


def _table(title: str) -> Table:
    table = Table(title=title)
    table.add_column("codec", no_wrap=True)
    return table


def _present(metrics: Sequence[Metric], summaries: Facts) -> list[Metric]:
    return [m for m in metrics if any(m.key in summary for summary in summaries.values())]


def _weights(metric: Metric, rows: Sequence[Facts]) -> F64:
    return np.array([row["words"] if metric.key == "wer" else 1 for row in rows], np.float64)


def _cell(metric: Metric, facts: Facts | None) -> str:
    if facts is None:
        return ""
    text = f"{facts['mean']:.{metric.digits}f}"
    if facts["clips"] > 1:
        spread = f"{(facts['high'] - facts['low']) / 2:.{metric.digits}f}"
        text += f" ±{spread.removeprefix('0') or 0}"
    return text + (mark(metric, facts) or " ")


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
