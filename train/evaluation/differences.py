"""Differences of codecs on the same clips, each with its paired interval.

    python -m train.evaluation.differences RESULTS.json... --against NAME

RESULTS.json is what ``evaluate --json`` wrote. Clips that both codecs have are drawn with
replacement; WER is errors over words of the drawn clips. Of metrics without a difference, one in 20
is marked by chance. Clips of one voice count as independent: intervals are a little too narrow.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from train.evaluation.metrics import Metric
from train.evaluation.periodicity import BANDS, CONTROL_MS, ROW_MS, SHARES, TARGET, TWICE_MS, key
from train.evaluation.report import (
    BETTER,
    FEW_CLIPS,
    METRICS,
    WORSE,
    Facts,
    difference,
    mark,
)

NEITHER = "≠"
"""The mark of a difference beyond chance in a metric without a better side."""

SHOWN = tuple(
    metric
    for metric in METRICS
    if metric not in SHARES
    or metric.key in {key(TARGET, ms) for ms in (ROW_MS, CONTROL_MS, TWICE_MS)}
    or metric.key in {key(band, ROW_MS) for band in BANDS}
)
"""The metrics of the table. JSON has the control of each band, and twice the row, too."""

_METRIC_WIDTH, _CODEC_WIDTH = 28, 29


def differences(rows: Sequence[Facts], against: str) -> Facts:
    """Return how all codecs differ from one.

    Parameters
    ----------
    rows : sequence of dict
        A clip of a set by a codec each: "codec", "set", "clip", "words" and the metrics.
    against : str
        The codec that others are compared with.

    Returns
    -------
    dict
        By set, codec and metric: what `report.difference` returns, and "mark": `BETTER`, `WORSE`
        or `NEITHER` where the interval excludes 0, else "".
    """
    out: Facts = {}
    for group in dict.fromkeys(row["set"] for row in rows):
        of_set = [row for row in rows if row["set"] == group]
        others = {row["clip"]: row for row in of_set if row["codec"] == against}
        for codec in dict.fromkeys(row["codec"] for row in of_set if row["codec"] != against):
            own = [row for row in of_set if row["codec"] == codec]
            found = {m.key: difference(m, own, others) for m in METRICS}
            for metric in METRICS:
                facts = found[metric.key]
                if facts is not None:
                    facts["mark"] = _mark(metric, facts)
            present = {name: facts for name, facts in found.items() if facts is not None}
            out.setdefault(group, {})[codec] = present
    return out


def _mark(metric: Metric, facts: Facts) -> str:
    if metric.better:
        return mark(metric, {"difference": facts})
    beyond_chance = facts["clips"] > 1 and (facts["low"] > 0 or facts["high"] < 0)
    return NEITHER if beyond_chance else ""


def difference_table(title: str, codecs: Facts) -> Table:
    """Return the table of a set: a row for each metric, a column for each codec."""
    caption = f"{BETTER} better, {WORSE} worse, {NEITHER} different, beyond chance"
    table = Table(title=title, caption=caption)
    table.add_column("metric", no_wrap=True)
    for codec in codecs:
        table.add_column(codec, justify="right")
    for metric in SHOWN:
        if any(metric.key in found for found in codecs.values()):
            table.add_row(
                metric.heading, *(_cell(metric, f.get(metric.key)) for f in codecs.values())
            )
    return table


def _cell(metric: Metric, facts: Facts | None) -> str:
    if facts is None:
        return ""
    digits = min(3, metric.digits + 1)  # A difference is smaller than a mean.
    mean, low, high = (f"{facts[end]:+.{digits}f}" for end in ("mean", "low", "high"))
    return f"{mean} ({low} to {high}){facts['mark'] or ' '}"


def show(found: Facts, against: str, console: Console) -> None:
    """Print the table of each set."""
    for group, codecs in found.items():
        if not console.is_terminal:
            console.width = _METRIC_WIDTH + _CODEC_WIDTH * len(codecs)
        clips = max((m["clips"] for c in codecs.values() for m in c.values()), default=0)
        title = f"{group}: differences from {against}, {clips} clips, 95 % intervals"
        if clips < FEW_CLIPS:
            title += ", too narrow with so few"
        console.print(difference_table(title, codecs))


def merge(files: Sequence[Path]) -> list[Facts]:
    """Return the rows of several results.

    A codec that an earlier file has too is named with its file, unless its rows are the same. The
    name has the file's folder where names of files are the same too.

    Raises
    ------
    ValueError
        If a file has no results, or another recogniser or reference text than an earlier file.
    """
    texts: dict[tuple[str, str], str] = {}
    recogniser = None
    rows: dict[str, list[Facts]] = {}
    for file in files:
        try:
            results = json.loads(file.read_text("utf-8"))
            clips, codecs, of_all = (results[name] for name in ("clips", "codecs", "rows"))
            found = results["recogniser"]
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"{file}: no results of the evaluation") from None
        recogniser = recogniser or found
        if found != recogniser:
            raise ValueError(f"{file}: its recogniser is {found}, that of {files[0]} {recogniser}")
        for clip in clips:
            text = texts.setdefault((clip["set"], clip["clip"]), clip["words"])
            if text != clip["words"]:
                raise ValueError(f"{file}: {clip['clip']} has another text than in {files[0]}")
        for codec in codecs:
            own = [row for row in of_all if row["codec"] == codec]
            for name in (codec, f"{codec} ({file.stem})", f"{codec} ({file})"):
                named = [row | {"codec": name} for row in own]
                if rows.setdefault(name, named) == named:
                    break
    return [row for own in rows.values() for row in own]


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--against", required=True, metavar="NAME", help="The codec to compare with.")
@click.option("--codec", "codecs", multiple=True, metavar="NAME", help="Only this; repeatable.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def main(
    files: tuple[Path, ...], against: str, codecs: tuple[str, ...], json_file: Path | None
) -> None:
    """Show how codecs in FILES, results of the evaluation, differ from one of them."""
    try:
        rows = merge(files)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    names = list(dict.fromkeys(row["codec"] for row in rows))
    for name in (against, *codecs):
        if name not in names:
            raise click.ClickException(f"no codec {name!r}: there are {', '.join(names)}")
    rows = [row for row in rows if not codecs or row["codec"] in (against, *codecs)]
    found = differences(rows, against)
    show(found, against, Console())
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
