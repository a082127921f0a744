"""Before and after spectrograms, side by side, as a PNG file or drawn in a terminal."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from rich.style import Style
from rich.text import Text

from fcs_edge.audio.spectrogram import FLOOR_DB, analyse
from fcs_edge.files import creating
from fcs_edge.text import printable

Signal = npt.NDArray[np.float32]
Cells = npt.NDArray[np.float64]

_GUTTER, _GAP = 4, "  "
_RAMP = np.array(list(" .:-=+*#%@"))
# Matplotlib's "magma" in 5 dB steps, so that both pictures look alike.
_MAGMA = (
    "#000004#0a0822#1d1147#36106b#51127c#6a1c81#832681#9c2e7f#b73779"
    "#d0416f#e75263#f56b5c#fc8961#fea772#fec488#fde2a3#fcfdbf"
)


def save_png(
    path: str | os.PathLike[str] | BinaryIO,
    original: Signal,
    rate_in: int,
    decoded: Signal,
    rate_out: int,
    title: str,
    labels: tuple[str, str] | None = None,
) -> None:
    """Save both spectrograms side by side as a PNG picture, 1800 by 690 pixels.

    Parameters
    ----------
    path : str, path-like or binary file
        A file to replace in one step: no half-written picture is left behind. Or an open file.
    original, decoded : ndarray of float32, shape (samples,)
        Mono signals.
    rate_in, rate_out : int
        Their sample rates, in Hz.
    title : str
        Heading over both.
    labels : tuple of str, optional
        Heading over each; names the sample rates if not given.

    Raises
    ------
    ImportError
        If Matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    pair = analyse(original, rate_in, decoded, rate_out, rows=480, columns=800)
    top_khz = pair.top_hz / 1000
    figure = Figure(figsize=(12, 4.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(printable(title), fontsize=14, fontweight="bold", parse_math=False)
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    axes[0].set(ylabel="frequency (kHz)", yticks=_ticks(top_khz, 7))
    style = {"cmap": "magma", "vmin": FLOOR_DB, "vmax": 0, "origin": "lower", "aspect": "auto"}
    headings, rates = labels or _rates(rate_in, rate_out), (rate_in, rate_out)
    for axis, cells, rate, heading in zip(axes, pair[:2], rates, headings, strict=True):
        image = axis.imshow(cells, extent=(0, pair.seconds, 0, top_khz), **style)
        axis.set(title=heading, xlabel="time (s)")
        edge = rate / 2000
        if edge < top_khz:  # label the empty top of the picture
            axis.axhline(edge, color="white", alpha=0.5, linewidth=0.8, linestyle="--")
            note, at = f"no band above {edge:g} kHz", (pair.seconds / 2, (edge + top_khz) / 2)
            axis.annotate(note, at, color="white", alpha=0.7, ha="center", va="center")
    figure.colorbar(image, ax=axes, label="level (dB relative to the peak)", pad=0.015, aspect=28)

    if isinstance(path, (str, os.PathLike)):
        with creating(Path(path)) as file:
            figure.savefig(file, format="png")
    else:
        figure.savefig(path, format="png")


def terminal(
    original: Signal,
    rate_in: int,
    decoded: Signal,
    rate_out: int,
    width: int,
    height: int = 16,
    *,
    labels: tuple[str, str] | None = None,
    colour: bool = True,
    encoding: str = "utf-8",
) -> Text:
    """Draw both spectrograms side by side with characters.

    Parameters
    ----------
    original, decoded : ndarray of float32, shape (samples,)
        Mono signals.
    rate_in, rate_out : int
        Their sample rates, in Hz.
    width, height : int
        Size in characters, headings and time labels included; at least 24 by 4 is drawn.
    labels : tuple of str, optional
        Heading over each; names the sample rates if not given.
    colour : bool
        Draw half blocks in 24-bit colour, two cells a character; else shades of ASCII.
    encoding : str
        The terminal's encoding; plain ASCII is drawn if it has no half block.

    Returns
    -------
    rich.text.Text
        `height` lines, without a line break at the end.
    """
    columns = (max(width, 24) - _GUTTER - len(_GAP)) // 2
    lines = max(height, 4) - 2
    blocks = colour and bool("▀".encode(encoding, "ignore"))
    pair = analyse(original, rate_in, decoded, rate_out, lines * (1 + blocks), columns)
    before, after = map(_draw_blocks if blocks else _draw_ascii, pair[:2])
    charset = encoding if blocks else "ascii"
    headings = [
        heading[:columns].ljust(columns).encode(charset, "replace").decode(charset)
        for heading in labels or _rates(rate_in, rate_out)
    ]
    times = _time_axis(pair.seconds, columns)

    text = Text("kHz ", no_wrap=True, overflow="crop").append(_GAP.join(headings), "bold")
    for gutter, left, right in zip(_gutters(pair.top_hz, lines), before, after, strict=True):
        text.append("\n" + gutter).append_text(left).append(_GAP).append_text(right)
    return text.append("\n" + " " * _GUTTER + times + _GAP + times)


def _rates(rate_in: int, rate_out: int) -> tuple[str, str]:
    return f"{rate_in / 1000:g} kHz in", f"{rate_out / 1000:g} kHz out"


def _ticks(end: float, most: int) -> list[float]:
    """Return round values from 0 up to `end`, in about `most` even steps or fewer."""
    power = 10.0 ** np.floor(np.log10(end / most))
    step = next(s * power for s in (1, 2, 4, 5, 6, 10, 20) if s * power * most >= end)
    return [step * k for k in range(int(end / step + 1e-9) + 1)]


def _gutters(top_hz: float, lines: int) -> list[str]:
    """Return the kHz label left of each text line, topmost first."""
    gutters = [" " * _GUTTER] * lines
    for khz in _ticks(top_hz / 1000, max(lines // 3, 1)):
        line = min(int(khz * 1000 / top_hz * lines), lines - 1)
        gutters[lines - 1 - line] = f"{khz:3g} "
    return gutters


def _time_axis(seconds: float, columns: int) -> str:
    """Return one line of times, each label starting where it is on the axis."""
    axis = ""
    for time in _ticks(seconds, max(columns // 8, 1)):
        longer = axis.ljust(int(time / seconds * columns)) + f"{time:g}s"
        axis = longer if len(longer) <= columns else axis
    return axis.ljust(columns)


def _draw_blocks(levels: Cells) -> list[Text]:
    """Return text lines, topmost first, of half blocks that hold two rows of cells each."""
    shades = _shades(levels, len(_MAGMA) // 7)
    pairs = [zip(*rows, strict=True) for rows in zip(shades[0::2], shades[1::2], strict=True)]
    return [Text.assemble(*(("▀", _style(*pair)) for pair in line)) for line in pairs]


def _draw_ascii(levels: Cells) -> list[Text]:
    """Return text lines, topmost first, of one character a cell."""
    return [Text("".join(row)) for row in _RAMP[_shades(levels, len(_RAMP))]]


def _shades(levels: Cells, count: int) -> npt.NDArray[np.intp]:
    """Return levels as 0 to `count` - 1, the highest frequency first."""
    return np.rint((1 - levels[::-1] / FLOOR_DB) * (count - 1)).astype(np.intp)


@cache
def _style(upper: int, lower: int) -> Style:
    front, back = (_MAGMA[7 * shade : 7 * shade + 7] for shade in (upper, lower))
    return Style(color=front, bgcolor=back)
