"""The results of ``fcs-edge bench`` as a picture."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from fcs_edge.bench.bench import STAGES, Facts
from fcs_edge.text import printable

_COLOURS = ("#3b528b", "#21918c", "#5ec962", "#fde725")
_BINS = 60


def save_png(file: BinaryIO, facts: Facts) -> None:
    """Save a histogram of chunk times, and a bar of the stages, for each run.

    Parameters
    ----------
    file : binary file
        Receives the picture, 1500 by 600 pixels or higher.
    facts : dict
        The results of a model, as `fcs_edge.cli.bench` collects them.

    Raises
    ------
    ImportError
        Matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    model, runs = facts["model"], facts["runs"]
    figure = Figure(figsize=(10, 4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    audio = model["chunk_ms"]
    figure.suptitle(
        printable(
            f"{model['name']}: encode and decode, chunks of {audio:g} ms, one core of "
            f"{facts['machine']['board'] or facts['machine']['cpu']}"
        ),
        fontweight="bold",
        parse_math=False,
    )
    histogram, bars = figure.subplots(1, 2)
    times = [np.array(run["modes"]["both"]["chunk_ms"]) for run in runs]
    # The slowest chunk may take ten times the median: the table shows it.
    end = max(1.1 * max(np.percentile(t, 99) for t in times), 0.001)
    for run, ms in zip(runs, times, strict=True):
        label = f"{run['weights']}: p50 {np.median(ms):.3g} ms, p99 {np.percentile(ms, 99):.3g} ms"
        histogram.hist(np.minimum(ms, end), bins=_BINS, range=(0, end), alpha=0.6, label=label)
    if audio <= end:
        histogram.axvline(audio, color="black", linestyle="--", label="real time")
    histogram.set(
        title="time of a chunk (last bin: this or longer)",
        xlabel="ms",
        ylabel="chunks",
        xlim=(0, end),
    )
    histogram.legend(loc="upper right")
    names = [run["weights"] for run in runs]
    start = np.zeros(len(runs))
    for stage, colour in zip(STAGES, _COLOURS, strict=True):
        mean = np.array([run["stages"][stage]["chunk_ms_mean"] for run in runs])
        bars.barh(names, mean, left=start, color=colour, label=stage)
        start += mean
    bars.invert_yaxis()
    bars.set(title="mean by stage", xlabel="ms a chunk")
    figure.legend(*bars.get_legend_handles_labels(), loc="outside lower right", ncols=len(STAGES))
    figure.savefig(file, format="png")
