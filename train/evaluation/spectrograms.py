"""Draw spectrograms of clips above those of the decoded clips.

    python -m train.evaluation.spectrograms MODEL CLIP... --out FILE.png

CLIP is a sound or a folder of them.
"""

from __future__ import annotations

from pathlib import Path

import click
import soundfile

from fcs_edge.audio.spectrogram import FLOOR_DB, analyse
from fcs_edge.errors import FcsError
from train.evaluation.systems import Clip, model_system, read_clips

TOP_KHZ = 12
_ROWS, _COLUMNS_A_SECOND, _MOST_COLUMNS = 360, 100, 1600


def save_png(path: Path, model: str, clips: list[Clip]) -> None:
    """Save a picture with a column for each clip, the original above the decoded one.

    Levels are relative to the loudest of the two; columns are as wide as clips are long.

    Parameters
    ----------
    path : Path
        The picture.
    model : str
        A built-in model's name or a model file.
    clips : list of Clip
        At least one.

    Raises
    ------
    ImportError
        If Matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    system = model_system(model)
    widths = [max(clip.seconds, 1.5) for clip in clips]
    figure = Figure(figsize=(min(20.0, 2.5 + 1.1 * sum(widths)), 6), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{system.facts['name']}, {system.kbps:.2f} kb/s")
    grid = figure.subplots(2, len(clips), sharey=True, squeeze=False, width_ratios=widths)
    style = {"cmap": "magma", "vmin": FLOOR_DB, "vmax": 0, "origin": "lower", "aspect": "auto"}
    for (above, below), clip in zip(grid.T, clips, strict=True):
        coded = system.code(clip)
        columns = min(_MOST_COLUMNS, max(1, round(_COLUMNS_A_SECOND * clip.seconds)))
        pair = analyse(clip.original, clip.rate, coded.sound, coded.rate, _ROWS, columns)
        above.set_title(clip.name, fontsize=9)
        for axis, cells, rate in (
            (above, pair.original, clip.rate),
            (below, pair.decoded, coded.rate),
        ):
            extent = (0, pair.seconds, 0, pair.top_hz / 1000)
            image = axis.imshow(cells, extent=extent, **style)
            axis.set_ylim(0, TOP_KHZ)
            if rate / 2000 < TOP_KHZ:
                axis.axhline(rate / 2000, color="white", alpha=0.5, linewidth=0.8, linestyle="--")
        below.set_xlabel("seconds")
        above.tick_params(labelbottom=False)
    for axis, what in zip(grid[:, 0], ("original", "coded"), strict=True):
        axis.set_ylabel(f"{what}, kHz")
    figure.colorbar(image, ax=grid, label="dB re the loudest", pad=0.01, aspect=40)
    figure.savefig(path, format="png")


@click.command()
@click.argument("model")
@click.argument("sounds", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path))
def main(model: str, sounds: tuple[Path, ...], out: Path) -> None:
    """Draw spectrograms of SOUNDS above those that MODEL (a name or a file) decodes."""
    try:
        clips = [clip for path in sounds for clip in read_clips("", path)]
        save_png(out, model, clips)
    except (FcsError, OSError, soundfile.LibsndfileError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
