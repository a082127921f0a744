"""Evaluate models on held-out speech, through the runtime, with the weights that ship.

    python -m train.evaluation.evaluate MODEL... --clips SOUND_OR_FOLDER... [--peers]

Uncoded speech, and with ``--peers`` Codec2 and Opus, are in the same tables.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import click
import numpy as np
import soundfile
from rich.console import Console
from rich.progress import Progress

from fcs_edge.errors import FcsError
from train.evaluation import differences, metrics, metrics_external, narrow, pitch, report
from train.evaluation.envelope import AROUND_HZ, NEAR_HZ, envelope_peaks
from train.evaluation.metrics import F32, F64, RATE, SCORES, Scores
from train.evaluation.options import Greedy, Sets, clip_options, named
from train.evaluation.peers import CodedClip
from train.evaluation.periodicity import periodicity
from train.evaluation.report import BETTER, FEW_CLIPS, REFERENCE, WORSE, Facts
from train.evaluation.systems import Clip, System, read_clips, systems
from train.evaluation.wer import LOOP_RATIO, pooled_wer


class Evaluator(Protocol):
    """Recogniser and metrics: `metrics_external.ExternalMetrics`, or a substitute in tests."""

    @property
    def recogniser(self) -> str:
        """Name of the recogniser."""

    def normalise(self, text: str) -> str:
        """Return text as it is compared."""

    def transcribe(self, signal: F32) -> str:
        """Return the normalised text of a sound at `RATE`."""

    def pitch(self, signal: F32) -> F64:
        """Return the pitch of each frame of a sound at `RATE`, as `pitch.track` does."""

    def score(self, clean: F32, coded: F32, edge: float | None) -> Scores:
        """Score a coded clip by the uncoded one, both at `RATE`; a narrow one ends at `edge` Hz."""


class Reference(NamedTuple):
    """What a coded clip is compared with, computed once for all systems."""

    text: str
    pitch: F64
    edge: float | None


class Scored(NamedTuple):
    """What one system gave for all clips.

    Attributes
    ----------
    rows : list of dict
        Of each clip: its set and name, the transcript, the errors and words, and each metric.
    coded : list of CodedClip
        The decoded clips.
    frames : list of FrameErrors
        Errors of pitch and level of each clip's frames.
    lag : int
        The delay of the system, in samples at `RATE`.
    """

    rows: list[Facts]
    coded: list[CodedClip]
    frames: list[pitch.FrameErrors]
    lag: int


def reference_text(clip: Clip, evaluator: Evaluator) -> str:
    """Return a clip's text, or the transcript of its uncoded sound where it has none."""
    text = clip.text
    return evaluator.transcribe(clip.signal) if text is None else evaluator.normalise(text)


def reference_of(clip: Clip, evaluator: Evaluator) -> Reference:
    """Return a clip's text, pitch and band."""
    text = reference_text(clip, evaluator)
    edge = narrow.band_edge(clip.original, clip.rate)
    return Reference(text, evaluator.pitch(clip.signal), edge)


def score_system(
    system: System,
    clips: Sequence[Clip],
    references: Sequence[Reference],
    evaluator: Evaluator,
    tick: Callable[[], None],
) -> Scored:
    """Code all clips with one system and score them."""
    coded = [system.code(clip) for clip in clips]
    sounds = [metrics.resample(c.sound, c.rate) for c in coded]
    uncoded = system.facts["kind"] == "uncoded"
    lag = 0 if uncoded else metrics.delay([c.signal for c in clips], sounds)
    scored = Scored([], coded, [], lag)
    for clip, decoded, sound, reference in zip(clips, coded, sounds, references, strict=True):
        clean, aligned = metrics.align(clip.signal, sound, lag)
        transcript = evaluator.transcribe(aligned)
        (of_clip,) = pooled_wer([reference.text], [transcript]).clips
        row: Facts = {"set": clip.group, "clip": clip.name, "seconds": clip.seconds}
        row |= {"bits": decoded.bits, "transcript": transcript, "words": of_clip.words}
        row |= {"errors": of_clip.errors, "wer": of_clip.rate, "loops": of_clip.loops}
        row |= evaluator.score(clean, aligned, reference.edge)
        row |= metrics.band_energies(clip.original, clip.rate, decoded.sound, decoded.rate)
        # An early sound cuts the start of the original, which moves its frames.
        before = reference.pitch if lag >= 0 else evaluator.pitch(clean)
        after = reference.pitch if uncoded else evaluator.pitch(aligned)
        frames = pitch.compare(clean, aligned, before, after)
        row |= pitch.scores(frames) | pitch.counts(frames)
        row |= {"edge_hz": reference.edge}
        row |= narrow.hiss(decoded.sound, decoded.rate, reference.edge)
        row |= periodicity(sound) | envelope_peaks(sound)
        scored.rows.append(row)
        scored.frames.append(frames)
        tick()
    return scored


def evaluate(
    compared: dict[str, System],
    clips: Sequence[Clip],
    evaluator: Evaluator,
    tick: Callable[[], None] = lambda: None,
    sounds: Path | None = None,
) -> Facts:
    """Evaluate systems on clips.

    Parameters
    ----------
    compared : dict
        Systems by name.
    clips : sequence of Clip
    evaluator : Evaluator
    tick : callable
        Called after each clip of each system.
    sounds : Path, optional
        A folder for the decoded clips: SYSTEM/SET/CLIP.wav.

    Returns
    -------
    dict
        "codecs", "sets", "summaries" by set and system, "rows" by system and clip, "clips" with
        their reference texts, "notes".
    """
    references = [reference_of(clip, evaluator) for clip in clips]
    results: Facts = {"recogniser": evaluator.recogniser, "codecs": {}, "sets": {}, "summaries": {}}
    results |= {"rows": [], "notes": []}
    results["clips"] = [
        {"set": c.group, "clip": c.name, "seconds": c.seconds, "rate": c.rate}
        | {"words": reference.text, "transcribed": c.text is None, "edge_hz": reference.edge}
        for c, reference in zip(clips, references, strict=True)
    ]
    frames = {}
    for name, system in compared.items():
        scored = score_system(system, clips, references, evaluator, tick)
        results["rows"] += [{"codec": name} | row for row in scored.rows]
        frames[name] = scored.frames
        facts: Facts = {"delay_ms": 1000 * scored.lag / RATE, "kbps": system.kbps, "tokens": None}
        if system.bits is not None:
            tokens = np.concatenate([c.tokens for c in scored.coded if c.tokens is not None])
            facts["tokens"] = metrics.token_statistics(tokens, system.bits)
        results["codecs"][name] = system.facts | facts
        if sounds is not None:
            _save_sounds(sounds / name.replace("/", "_"), clips, scored.coded)
    for group in dict.fromkeys(c.group for c in clips):
        _summarise(results, group, compared, clips)
        for name, of_clips in frames.items():
            pairs = zip(clips, of_clips, strict=True)
            of_set = pitch.pool([errors for clip, errors in pairs if clip.group == group])
            _add_pooled(results["summaries"][group][name], of_set)
    results["notes"] = notes_on(results)
    return results


def _save_sounds(folder: Path, clips: Sequence[Clip], coded: Sequence[CodedClip]) -> None:
    """Save decoded clips as SET/CLIP.wav."""
    for clip, decoded in zip(clips, coded, strict=True):
        path = folder / clip.group / f"{clip.name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.clip(decoded.sound, -1, 1), decoded.rate, "PCM_16")


def _summarise(
    results: Facts, group: str, compared: dict[str, System], clips: Sequence[Clip]
) -> None:
    """Add facts and summaries of a set to the results."""
    by_system = {
        n: [r for r in results["rows"] if (r["codec"], r["set"]) == (n, group)] for n in compared
    }
    seconds = sum(c.seconds for c in clips if c.group == group)
    kbps = {}
    for name, rows in by_system.items():
        sent = [row["bits"] for row in rows if row["bits"] is not None]
        measured = sum(sent) / seconds / 1000 if sent else None
        kbps[name] = measured if compared[name].kbps is None else compared[name].kbps
    results["sets"][group] = {"clips": len(by_system["uncoded"]), "seconds": seconds, "kbps": kbps}
    reference = by_system.get(REFERENCE, ())
    results["summaries"][group] = {
        name: report.summarise(rows, () if name == REFERENCE else reference)
        for name, rows in by_system.items()
    }


def _add_pooled(summary: Facts, errors: pitch.FrameErrors) -> None:
    """Add to the means of clips what a set's frames give together."""
    for key, value in pitch.scores(errors).items():
        if key in summary:
            summary[key]["pooled"] = value


def notes_on(results: Facts) -> list[str]:
    """Return the notes under the tables."""
    clips, codecs = results["clips"], results["codecs"]
    transcribed, recogniser = sum(clip["transcribed"] for clip in clips), results["recogniser"]
    notes = [
        f"WER: {recogniser}, greedy; errors over words of the set, no cap. "
        f"Reference: the text of {len(clips) - transcribed} of {len(clips)} clips; for "
        f"{transcribed}, the transcript of the uncoded sound by {recogniser}."
        + _sets_without_text(clips)
    ]
    notes.append("±: half of the 95 % interval of the mean, clips drawn with replacement.")
    if REFERENCE in codecs:
        notes[-1] += f" {BETTER}, {WORSE}: the interval of the difference from {REFERENCE} is."
    few = [group for group, facts in results["sets"].items() if facts["clips"] < FEW_CLIPS]
    if few:
        notes.append(f"Under {FEW_CLIPS} clips these intervals are too narrow: {', '.join(few)}.")
    lags = [f"{n} {c['delay_ms']:.1f}" for n, c in codecs.items() if c["kind"] != "uncoded"]
    notes.append(f"Delays removed, ms: {', '.join(lags)}.")
    if any(c["tokens"] for c in codecs.values()):
        notes.append(
            "Entropy: of single tokens, by the estimate of Chao and Shen. The entropy as counted "
            "is too low. Both are more accurate with more tokens."
        )
    notes += [
        f"Pitch: {pitch.TRACKER}, every 10 ms within 40 dB of a clip's loudest. Gross: over "
        f"{pitch.GROSS_CENTS:g} cents off; cents: the median of the rest. Trackers disagree.",
        "Hiss: energy above the edge of a narrow clip's band, relative to that below. DistillMOS "
        "in band: both sounds are cut at that edge.",
        f"Envelope: of 2 to 4 kHz, the largest bin within {NEAR_HZ:g} Hz over the median within "
        f"{AROUND_HZ:g} Hz. Noise has 5 to 8 dB, more in longer clips.",
    ]
    edges = {clip["edge_hz"] for clip in clips if clip["edge_hz"] is not None}
    if edges:
        count = sum(clip["edge_hz"] is not None for clip in clips)
        notes.append(
            f"Narrow: {count} of {len(clips)} clips, {min(edges):.0f} to {max(edges):.0f} Hz. "
            f"At most {narrow.EDGE_DB:g} dB of the uncoded energy is above the edge."
        )
    return notes + _notes_on_loops(results) + _notes_on_missing(results)


def _sets_without_text(clips: Sequence[Facts]) -> str:
    """Return how many clips of which sets have no text; empty where all have one."""
    of = Counter(clip["set"] for clip in clips)
    without = Counter(clip["set"] for clip in clips if clip["transcribed"])
    named_sets = [f"{name} ({count} of {of[name]})" for name, count in without.items()]
    return f" Transcripts are in {', '.join(named_sets)}." if named_sets else ""


def _notes_on_loops(results: Facts) -> list[str]:
    """Return how often, and in which clips, the recogniser loops."""
    looping: dict[tuple[str, str], list[str]] = {}
    for row in results["rows"]:
        if row["loops"]:
            looping.setdefault((row["set"], row["codec"]), []).append(row["clip"])
    return [
        f"{group}, {codec}: the recogniser loops (over {LOOP_RATIO:g} times the words) in "
        f"{len(names)} of {results['sets'][group]['clips']} clips: {', '.join(names)}."
        for (group, codec), names in looping.items()
    ]


def _notes_on_missing(results: Facts) -> list[str]:
    """Return which metrics have no value for how many clips."""
    missing = Counter(
        (row["set"], row["codec"], metric.heading)
        for row in results["rows"]
        for metric in (*SCORES, *pitch.PITCH)
        # A clip without the band is no failure.
        if metric.better and row.get(metric.key, 0) is None
    )
    return [
        f"{group}, {codec}: no {heading} for {n} of {results['sets'][group]['clips']} clips."
        for (group, codec, heading), n in missing.items()
    ]


@click.command(cls=Greedy)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@clip_options
@click.option("--peers", is_flag=True, help="Compare with Codec2 and Opus.")
@click.option("--quick", is_flag=True, help="Whisper tiny.en; no DistillMOS, no speaker.")
@click.option("--against", metavar="NAME", help="Show all differences from this codec.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Save a plot, .png.")
@click.option(
    "--sounds",
    type=click.Path(file_okay=False, path_type=Path),
    help="Save the decoded clips in this folder.",
)
def main(
    models: tuple[str, ...],
    clips: tuple[Path, ...],
    sets: Sets,
    limit: int | None,
    peers: bool,
    quick: bool,
    against: str | None,
    json_file: Path | None,
    plot: Path | None,
    sounds: Path | None,
) -> None:
    """Evaluate MODELs (names or files) on held-out speech, its text in a .txt beside each clip."""
    start = time.perf_counter()
    all_sets = named(clips, sets)
    needed = metrics_external.missing(quick)
    if needed:
        raise click.ClickException(f"not installed: {needed}")
    try:
        read = [clip for group, path in all_sets for clip in read_clips(group, path, limit)]
        compared, notes = systems(models, peers)
        if against is not None and against not in compared:
            raise click.ClickException(f"no codec {against!r}: there are {', '.join(compared)}")
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("evaluating", total=len(read) * len(compared))
            evaluator = metrics_external.ExternalMetrics(quick)
            results = evaluate(compared, read, evaluator, lambda: progress.advance(task), sounds)
    except (FcsError, OSError, RuntimeError, soundfile.LibsndfileError) as error:
        raise click.ClickException(str(error)) from error
    results["notes"] += notes
    results["took_seconds"] = time.perf_counter() - start
    if against is not None:
        results["differences"] = differences.differences(results["rows"], against)
    report.show(results, Console())
    if against is not None:
        differences.show(results["differences"], against, Console())
    for file in filter(None, (json_file, plot)):
        file.parent.mkdir(parents=True, exist_ok=True)
    if json_file:
        json_file.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    if plot:
        report.save_plot(plot, results)


if __name__ == "__main__":
    main()
