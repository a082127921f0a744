"""Judge models by held-out speech, through the runtime and with the weights that ship.

    python -m train.evaluation.evaluate MODEL... --clips SOUND_OR_FOLDER... \
        [--set NAME=FOLDER...] [--peers]

Uncoded speech, and with ``--peers`` Codec2 and Opus, stand in the same tables.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import click
import numpy as np
import soundfile
from rich.console import Console
from rich.progress import Progress

from fcs_edge.errors import FcsError
from train.evaluation import metrics, metrics_external, report
from train.evaluation.metrics import F32, MEASURES, MOST_WER, RATE, Scores
from train.evaluation.options import Greedy, Sets, clip_options, named
from train.evaluation.peers import Coded
from train.evaluation.report import BETTER, REFERENCE, WORSE, Facts
from train.evaluation.systems import Clip, Coder, coders, read_clips

FEW_CLIPS = 10


class Jury(Protocol):
    """What judges: `train.evaluation.metrics_external.Judges`, or what stands in for it."""

    recogniser: str

    def normal(self, text: str) -> str:
        """Return words as they are compared."""

    def hear(self, signal: F32) -> str:
        """Return the words of a sound at `RATE`, normalised."""

    def score(self, clean: F32, coded: F32) -> Scores:
        """Judge a coded clip by the uncoded one, both at `RATE`."""


def words_of(clip: Clip, jury: Jury) -> str:
    """Return what is said in a clip: its text, or what is heard in its uncoded sound."""
    return jury.hear(clip.signal) if clip.text is None else jury.normal(clip.text)


def judge_coder(
    coder: Coder, clips: Sequence[Clip], words: Sequence[str], jury: Jury, tick: Callable[[], None]
) -> tuple[list[Facts], list[Coded], int]:
    """Code all clips with one codec and judge them.

    Returns
    -------
    rows : list of dict
        Of each clip: its set and name, what was heard, and each measure.
    coded : list of Coded
        What came back of each clip.
    lag : int
        By how much the codec was found to delay, in samples at `RATE`.
    """
    coded = [coder.code(clip) for clip in clips]
    sounds = [metrics.resample(c.sound, c.rate) for c in coded]
    lag = (
        0 if coder.facts["kind"] == "uncoded" else metrics.delay([c.signal for c in clips], sounds)
    )
    rows = []
    for clip, made, sound, reference in zip(clips, coded, sounds, words, strict=True):
        clean, judged = metrics.align(clip.signal, sound, lag)
        heard = jury.hear(judged)
        rate, count = metrics.word_errors(reference, heard)
        row: Facts = {"set": clip.group, "clip": clip.name, "seconds": clip.seconds}
        row |= {"bits": made.bits, "words": count, "heard": heard, "wer": rate}
        row |= jury.score(clean, judged)
        row |= metrics.band_energies(clip.original, clip.rate, made.sound, made.rate)
        rows.append(row)
        tick()
    return rows, coded, lag


def evaluate(
    compared: dict[str, Coder],
    clips: Sequence[Clip],
    jury: Jury,
    tick: Callable[[], None] = lambda: None,
    sounds: Path | None = None,
) -> Facts:
    """Judge codecs by clips.

    Parameters
    ----------
    compared : dict
        Codecs by name.
    clips : sequence of Clip
    jury : Jury
    tick : callable
        Called after each clip of each codec.
    sounds : Path, optional
        A folder for what comes back: CODEC/SET/CLIP.wav.

    Returns
    -------
    dict
        "codecs", "sets", "summaries" by set and codec, "rows" by codec and clip, "clips" with
        the words they were judged by, "notes".
    """
    words = [words_of(clip, jury) for clip in clips]
    results: Facts = {"recogniser": jury.recogniser, "codecs": {}, "sets": {}, "summaries": {}}
    results |= {"rows": [], "notes": []}
    results["clips"] = [
        {"set": c.group, "clip": c.name, "seconds": c.seconds, "rate": c.rate}
        | {"words": text, "heard": c.text is None}
        for c, text in zip(clips, words, strict=True)
    ]
    for name, coder in compared.items():
        rows, coded, lag = judge_coder(coder, clips, words, jury, tick)
        results["rows"] += [{"codec": name} | row for row in rows]
        facts: Facts = {"delay_ms": 1000 * lag / RATE, "kbps": coder.kbps, "tokens": None}
        if coder.bits is not None:
            tokens = np.concatenate([c.tokens for c in coded if c.tokens is not None])
            facts["tokens"] = metrics.token_statistics(tokens, coder.bits)
        results["codecs"][name] = coder.facts | facts
        for clip, made in zip(clips, coded, strict=True) if sounds else ():
            assert sounds is not None
            path = sounds / name.replace("/", "_") / clip.group / f"{clip.name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.clip(made.sound, -1, 1), made.rate, "PCM_16")
    for group in dict.fromkeys(c.group for c in clips):
        of = {
            n: [r for r in results["rows"] if (r["codec"], r["set"]) == (n, group)]
            for n in compared
        }
        seconds = sum(c.seconds for c in clips if c.group == group)
        kbps = {}
        for name, rows in of.items():
            sent = [row["bits"] for row in rows if row["bits"] is not None]
            measured = sum(sent) / seconds / 1000 if sent else None
            kbps[name] = measured if compared[name].kbps is None else compared[name].kbps
        results["sets"][group] = {"clips": len(of["uncoded"]), "seconds": seconds, "kbps": kbps}
        results["summaries"][group] = {
            name: report.summarise(rows, () if name == REFERENCE else of.get(REFERENCE, ()))
            for name, rows in of.items()
        }
    results["notes"] = notes_on(results)
    return results


def notes_on(results: Facts) -> list[str]:
    """Return what a reader of the tables must know."""
    clips, codecs = results["clips"], results["codecs"]
    heard = sum(clip["heard"] for clip in clips)
    notes = [
        f"WER: {results['recogniser']}, greedy; by words, a clip's at most {MOST_WER:g}. "
        f"Reference: the text of {len(clips) - heard} of {len(clips)} clips; of {heard}, what "
        f"{results['recogniser']} hears in the uncoded sound."
    ]
    notes.append("±: half of the 95 % interval of the mean, clips drawn with replacement.")
    if REFERENCE in codecs:
        notes[-1] += f" {BETTER}, {WORSE}: all that of the difference from {REFERENCE} is so."
    few = [group for group, facts in results["sets"].items() if facts["clips"] < FEW_CLIPS]
    if few:
        notes.append(f"Under {FEW_CLIPS} clips these intervals are too narrow: {', '.join(few)}.")
    lags = [f"{n} {c['delay_ms']:.1f}" for n, c in codecs.items() if c["kind"] != "uncoded"]
    notes.append(f"Delays taken out, ms: {', '.join(lags)}.")
    if any(c["tokens"] for c in codecs.values()):
        notes.append(
            "Entropy: of single tokens, Chao and Shen's estimate; as counted it is too low, "
            "and both are the surer the more tokens there are."
        )
    unjudged = Counter(
        (row["set"], row["codec"], measure.heading)
        for row in results["rows"]
        for measure in MEASURES
        # A band that is not there is no failure to judge it.
        if measure.better and row.get(measure.key, 0) is None
    )
    for (group, codec, heading), n in unjudged.items():
        of = results["sets"][group]["clips"]
        notes.append(f"{group}, {codec}: {heading} of {n} of {of} clips could not be judged.")
    return notes


@click.command(cls=Greedy)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@clip_options
@click.option("--peers", is_flag=True, help="Compare with Codec2 and Opus.")
@click.option("--quick", is_flag=True, help="Whisper tiny.en, PESQ, STOI and ESTOI only.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="A picture, .png.")
@click.option(
    "--sounds", type=click.Path(file_okay=False, path_type=Path), help="Keep what is coded."
)
def main(
    models: tuple[str, ...],
    clips: tuple[Path, ...],
    sets: Sets,
    limit: int | None,
    peers: bool,
    quick: bool,
    json_file: Path | None,
    plot: Path | None,
    sounds: Path | None,
) -> None:
    """Judge models (names or files) by held-out speech, its words in a .txt beside each clip."""
    start = time.perf_counter()
    given = named(clips, sets)
    needed = metrics_external.missing(quick)
    if needed:
        raise click.ClickException(f"judges are not installed: {needed}")
    try:
        read = [clip for group, path in given for clip in read_clips(group, path, limit)]
        compared, notes = coders(models, peers)
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("judging", total=len(read) * len(compared))
            jury = metrics_external.Judges(quick)
            results = evaluate(compared, read, jury, lambda: progress.advance(task), sounds)
    except (FcsError, OSError, RuntimeError, soundfile.LibsndfileError) as error:
        raise click.ClickException(str(error)) from error
    results["notes"] += notes
    results["took_seconds"] = time.perf_counter() - start
    report.show(results, Console())
    for file in filter(None, (json_file, plot)):
        file.parent.mkdir(parents=True, exist_ok=True)
    if json_file:
        json_file.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    if plot:
        report.save_plot(plot, results)


if __name__ == "__main__":
    main()
