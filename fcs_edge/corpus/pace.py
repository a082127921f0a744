"""How far the shards of a run are that workers encode, and whether any file can be encoded."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from fcs_edge.corpus.job import Report, Totals
from fcs_edge.corpus.sharding import PlannedShard

FIRST_FILES = 50
"""If none of so many first files can be encoded, something else than the files is wrong."""


@dataclass
class _Shard:
    """A shard that a worker encodes."""

    n_items: int
    estimate: float
    """Seconds of its sound."""
    files: int = 0
    errors: int = 0
    done: float = 0.0
    """Seconds of sound of its files that are done."""
    current: float = 0.0
    """Of the file that is not."""
    began: float = field(default_factory=time.monotonic)

    def seconds_left(self) -> float | None:
        """Return about how long the shard takes; None if none of it is done."""
        by_sound = (self.done + self.current) / max(self.estimate, 0.1)
        # An estimate from bytes may be far too long.
        share = min(max(self.files / self.n_items, by_sound), 1.0)
        return (time.monotonic() - self.began) * (1 / share - 1) if share else None


class Pace:
    """Follows the reports of workers."""

    def __init__(self) -> None:
        self._running: dict[str, _Shard] = {}
        self._finished = Totals()
        self._last_error = ""

    @property
    def n_running(self) -> int:
        """Number of shards that workers have begun."""
        return len(self._running)

    def begin(self, shard: PlannedShard) -> None:
        """Take that a worker begins a shard, or begins it again."""
        self._running[shard.name] = _Shard(shard.n_items, shard.seconds)

    def is_running(self, name: str) -> bool:
        """Return whether a worker has begun a shard and not ended it."""
        return name in self._running

    def take(self, report: Report) -> None:
        """Take a report of a shard that has begun."""
        shard = self._running[report.name]
        shard.current = report.seconds if report.kind == "progress" else 0.0
        if report.kind == "done":
            shard.files += 1
            shard.done += report.seconds
            if report.error is not None:
                shard.errors += 1
                self._last_error = report.error

    def finish(self, name: str, totals: Totals) -> None:
        """Take the end of a shard."""
        self._running.pop(name, None)
        self._finished += totals

    def failure(self) -> str | None:
        """Return what is wrong if none of the first files could be encoded; else None."""
        running = self._running.values()
        files = self._finished.files + sum(shard.files for shard in running)
        errors = self._finished.errors + sum(shard.errors for shard in running)
        if files < FIRST_FILES or errors < files:
            return None
        last = f", the last: {self._last_error}" if self._last_error else ""
        return f"none of the first {files} files could be encoded{last}"

    def seconds_left(self) -> float | None:
        """Return about how many seconds the shards take that have begun; None if unknown."""
        left = [shard.seconds_left() for shard in self._running.values()]
        known = [seconds for seconds in left if seconds is not None]
        return max(known, default=None)
