"""Which part of coded speech loses words: ``python -m train.evaluation.ablate MODEL --clips ...``.

WORLD (Morise, Yokomori and Ozawa 2016) splits the uncoded and the coded sound into pitch,
aperiodicity and envelope. Each row of the table is the coded sound with one part of the original,
and the WER of that. The part that restores most words is the one to improve by training.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import click
import numpy as np
import soundfile
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from fcs_edge.errors import FcsError
from fcs_edge.mel import mel_edges, mel_filters
from train.evaluation import metrics, metrics_external
from train.evaluation.evaluate import Evaluator, reference_text
from train.evaluation.metrics import F64
from train.evaluation.options import Greedy, Sets, clip_options, named
from train.evaluation.systems import Clip, model_system, read_clips
from train.evaluation.wer import clip_errors
from train.losses.cepstral import cosines
from train.losses.spectral import RATE

Change: TypeAlias = Callable[[F64], F64]
Errors: TypeAlias = dict[str, dict[str, list[int]]]

_PERIOD_MS = 5.0
_BANDS, _TOP_HZ = 40, 8000.0
_DEPTH = 1e-9
"""Share of a clip's loudest bin. Envelopes stay above it, so that their logarithm is finite."""


class Parts(NamedTuple):
    """WORLD's parts of a sound, a row for each 5 ms."""

    pitch: F64
    """(rows,), Hz; 0 in unvoiced rows."""
    envelope: F64
    """(rows, bins), natural logarithm of power."""
    aperiodicity: F64
    """(rows, bins)."""


def analyse(sound: metrics.F32) -> Parts:
    """Split a sound, (samples,) at `RATE`."""
    import pyworld

    wave = sound.astype(np.float64)
    rough, times = pyworld.harvest(wave, RATE, frame_period=_PERIOD_MS)
    pitch = pyworld.stonemask(wave, rough, times, RATE)
    envelope = pyworld.cheaptrick(wave, pitch, times, RATE)
    log = np.log(np.maximum(envelope, _DEPTH * envelope.max()))
    return Parts(pitch, log, pyworld.d4c(wave, pitch, times, RATE))


def synthesise(parts: Parts) -> metrics.F32:
    """Return the sound, (samples,) at `RATE`, of its parts."""
    import pyworld

    envelope = np.exp(parts.envelope)
    sound = pyworld.synthesize(parts.pitch, envelope, parts.aperiodicity, RATE, _PERIOD_MS)
    return np.asarray(sound, np.float32)


def orders(first: int, last: int) -> Change:
    """Return a filter for cepstral coefficients of 40 mel bands up to 8 kHz."""
    rows = cosines(_BANDS, first, last).double().numpy()

    def selected(log: F64) -> F64:
        bins = np.linspace(0, RATE / 2, log.shape[1])
        edges = mel_edges(0, _TOP_HZ, _BANDS)
        filters = mel_filters(_BANDS, bins, 0, _TOP_HZ, norm="sum").T
        # Linear between the centres of bands; constant beyond the last one.
        lines = np.stack([np.interp(bins, edges[1:-1], each) for each in np.eye(_BANDS)])
        return np.asarray(log @ filters @ rows.T @ rows @ lines)

    return selected


def rates(low_hz: float, high_hz: float | None) -> Change:
    """Return a filter for changes in time between two rates; None is the highest rate."""

    def slower(log: F64, hz: float) -> F64:
        mirrored = np.concatenate([log, log[::-1]])
        spectrum = np.fft.rfft(mirrored, axis=0)
        spectrum[np.fft.rfftfreq(len(mirrored), _PERIOD_MS / 1000) > hz] = 0
        return np.fft.irfft(spectrum, len(mirrored), axis=0)[: len(log)]

    def selected(log: F64) -> F64:
        top = log if high_hz is None else slower(log, high_hz)
        return top - slower(log, low_hz) if low_hz else top

    return selected


def bands(low_hz: float, high_hz: float) -> Change:
    """Return a filter for a frequency band."""

    def selected(log: F64) -> F64:
        bins = np.linspace(0, RATE / 2, log.shape[1])
        return log * ((bins >= low_hz) & (bins < high_hz))

    return selected


RESTORED: dict[str, Change] = {
    "loudness": orders(0, 0),
    "orders 1 to 3": orders(1, 3),
    "orders 4 to 8": orders(4, 8),
    "orders 9 to 18": orders(9, 18),
    "slower than 4 Hz": rates(0, 4),
    "4 to 10 Hz": rates(4, 10),
    "faster than 10 Hz": rates(10, None),
    "below 1 kHz": bands(0, 1000),
    "1 to 2.5 kHz": bands(1000, 2500),
    "2.5 to 4 kHz": bands(2500, 4000),
    "above 4 kHz": bands(4000, RATE),
}
"""Parts of the envelope that are restored one at a time."""


def restore(clean: metrics.F32, coded: metrics.F32) -> Iterator[tuple[str, metrics.F32]]:
    """Return a coded sound with each part of the original in turn.

    Parameters
    ----------
    clean, coded : ndarray of float32, shape (samples,)
        Aligned, at `RATE`.
    """
    target, output = analyse(clean), analyse(coded)
    n = min(len(target.pitch), len(output.pitch))
    target, output = (Parts(*(part[:n] for part in parts)) for parts in (target, output))
    yield "nothing: uncoded", synthesise(target)
    yield "nothing: coded", synthesise(output)
    yield "all but the envelope", synthesise(target._replace(envelope=output.envelope))
    yield "the envelope", synthesise(output._replace(envelope=target.envelope))
    for name, change in RESTORED.items():
        better = output.envelope + change(target.envelope - output.envelope)
        yield name, synthesise(output._replace(envelope=better))


def count(
    clips: Sequence[Clip], model: str, evaluator: Evaluator, tick: Callable[[], None]
) -> Errors:
    """Return errors and words, by the restored part and by set.

    Parameters
    ----------
    clips : sequence of Clip
    model : str
        A model's name, or its file.
    evaluator : Evaluator
    tick : callable
        Called after each clip.
    """
    system = model_system(model)
    coded = [system.code(clip) for clip in clips]
    narrow = [metrics.resample(c.sound, c.rate) for c in coded]
    lag = metrics.delay([c.signal for c in clips], narrow) * RATE // metrics.RATE
    totals: Errors = {}
    for clip, output in zip(clips, coded, strict=True):
        text = reference_text(clip, evaluator)
        clean = metrics.resample(clip.original, clip.rate, RATE)
        both = metrics.align(clean, metrics.resample(output.sound, output.rate, RATE), lag)
        for name, sound in restore(*both):
            of_clip = clip_errors(text, evaluator.transcribe(metrics.resample(sound, RATE)))
            sums = totals.setdefault(name, {}).setdefault(clip.group, [0, 0])
            sums[0] += of_clip.errors if of_clip.words else 0
            sums[1] += of_clip.words
        tick()
    return totals


def show(errors: Errors, console: Console) -> None:
    """Print the WER by the restored part and by set."""
    groups = list(next(iter(errors.values())))
    table = Table("restored", *groups, "all")
    for name, of_sets in errors.items():
        sums = [*of_sets.values(), [sum(x) for x in zip(*of_sets.values(), strict=True)]]
        table.add_row(name, *(f"{wrong / max(1, words):.3f}" for wrong, words in sums))
    console.print(table)


@click.command(cls=Greedy)
@click.argument("model")
@clip_options
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def main(
    model: str,
    clips: tuple[Path, ...],
    sets: Sets,
    limit: int | None,
    json_file: Path | None,
) -> None:
    """Find which part of the speech that MODEL decodes loses words."""
    all_sets = named(clips, sets)
    needed = metrics_external.missing(quick=False)
    if needed:
        raise click.ClickException(f"not installed: {needed}")
    try:
        read = [clip for group, path in all_sets for clip in read_clips(group, path, limit)]
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("restoring", total=len(read))
            errors = count(
                read, model, metrics_external.ExternalMetrics(), lambda: progress.advance(task)
            )
    except (FcsError, OSError, RuntimeError, soundfile.LibsndfileError) as error:
        raise click.ClickException(str(error)) from error
    show(errors, Console())
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(errors, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
