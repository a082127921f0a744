"""What a run over a corpus came to, as lines and as values for JSON."""

from __future__ import annotations

from typing import Any

from fcs_edge.cli.ui.corpus_progress import idle_workers
from fcs_edge.cli.ui.messages import MOST_OF_A_KIND, Messages
from fcs_edge.cli.ui.quantities import clock_time, counted_files, length, size_text
from fcs_edge.corpus.error_groups import ErrorGroup
from fcs_edge.corpus.estimate import Estimate
from fcs_edge.corpus.run import Run
from fcs_edge.text import counted

_SPEED_SECONDS = 10.0
"""That a run takes before its speed says something."""


def show(run: Run, out: str, messages: Messages, *, pruned: bool) -> None:
    """Print the totals, what failed, and how the dataset is read."""
    totals = run.totals
    sound = f"{counted_files(totals.files)}, {length(3600 * run.hours)}, {totals.tokens:,} tokens"
    shards = counted(run.shards, "shard")
    written = shards if run.is_complete else f"{len(run.written):,} of {shards}"
    if 0 < run.resumed < run.shards:
        written += f", {run.resumed:,} of earlier runs"
    messages.note(f"{out}: {sound} in {written}; {_this_run(run)}")
    if totals.errors or totals.cut:
        _show_failed(run, out, messages)
    if totals.not_finite:
        messages.warn(f"{totals.not_finite:,} samples were NaN or infinite, and became 0")
    if run.stale:
        shards = f"{counted(run.stale, 'shard')} of other inputs or settings"
        messages.warn(f"{shards} {_put_away(run.stale, out, pruned)}")
    for name, why in run.lost[:MOST_OF_A_KIND]:
        messages.warn(f"shard {name} is not written: {why}")
    if run.is_complete and totals.tokens:
        messages.note(f'read it: datasets.load_dataset("{out}"), or fcs_edge.corpus.open("{out}")')


def _put_away(number: int, out: str, pruned: bool) -> str:
    """Return what became of shards that the inputs do not have."""
    were = "was" if number == 1 else "were"
    if pruned:
        return f"{were} deleted"
    return f"{were} moved to {out.rstrip('/')}/stale; a dataset has the inputs of its last run"


def _this_run(run: Run) -> str:
    """Return what this run itself did, and how fast."""
    took = clock_time(run.seconds)
    if run.resumed == run.shards:
        return f"nothing was left to encode ({took})"
    if run.seconds < _SPEED_SECONDS or not run.speed:
        # The start of the workers would be most of it.
        return took
    return f"{took}, {speed(run):.3g} h of speech a core-hour"


def speed(run: Run) -> float:
    """Return the hours of sound that the run encoded in an hour of one worker."""
    busy = min(run.workers, run.shards - run.resumed)
    return run.speed / max(busy, 1)


def _show_failed(run: Run, out: str, messages: Messages) -> None:
    """Print how many files failed, each kind once, and where all of them are listed."""
    totals = run.totals
    parts = []
    if totals.errors:
        parts.append(f"{totals.errors:,} of {counted_files(totals.files)} failed")
    if totals.cut:
        parts.append(f"{totals.cut:,} {'is' if totals.cut == 1 else 'are'} cut")
    listed = f"; {out.rstrip('/')}/_errors.tsv lists them" if run.is_complete else ""
    messages.warn(f"{', '.join(parts)}{listed}")
    width = max(len(f"{group.files:,}") for group in run.error_groups)
    # They belong to the warning above, which quiet messages have, too.
    lines = Messages()
    for group in run.error_groups[:MOST_OF_A_KIND]:
        lines.note(_line(group, width))
    rest = len(run.error_groups) - MOST_OF_A_KIND
    if rest > 0:
        lines.note(f"  and {counted(rest, 'kind')} more")


def _line(group: ErrorGroup, width: int) -> str:
    first = ", the first" if group.files > 1 else ""
    return f"  {group.files:{width},} x {group.message} ({group.example}{first})"


def facts(run: Run, out: str) -> dict[str, Any]:
    """Return the summary as values for JSON."""
    totals = run.totals
    return {
        "dataset": out,
        "complete": run.is_complete,
        "interrupted": run.interrupted,
        "exit_code": run.exit_code,
        "files": totals.files,
        "errors": totals.errors,
        "cut": totals.cut,
        "hours": run.hours,
        "tokens": totals.tokens,
        "samples_not_finite": totals.not_finite,
        "sound_bytes": totals.size,
        "shards": run.shards,
        "shards_resumed": run.resumed,
        "shards_lost": len(run.lost),
        "shards_stale": run.stale,
        "seconds": run.seconds,
        "workers": run.workers,
        "hours_a_core_hour": speed(run),
        "error_groups": [group._asdict() for group in run.error_groups],
    }


def show_estimate(found: Estimate, messages: Messages) -> None:
    """Print what a corpus takes, and how that is known."""
    sound = f"about {length(3600 * found.hours)} of sound"
    size, shards = size_text(found.sound_bytes), counted(found.shards, "shard")
    messages.note(f"{counted_files(found.files)}, {size}, {sound} in {shards}")
    if found.failed:
        messages.warn(f"{found.failed:,} of {counted_files(found.tried)} that were tried failed")
    if not found.speed:
        messages.warn("none of the files that were tried has tokens, so nothing is known of them")
        return
    messages.note(
        f"{found.seconds_tried:.0f} s of it, from {counted_files(found.tried)}, were encoded: "
        f"{found.speed:.3g} h of speech a core-hour"
    )
    busy = min(found.workers, found.shards)
    messages.note(
        f"all of it: about {clock_time(found.seconds)} on {counted(busy, 'worker')}, and "
        f"{size_text(found.dataset_bytes)} on disk; nothing is written"
    )
    if line := idle_workers(found.workers, found.shards, found.hours):
        messages.note(line)
