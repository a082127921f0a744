"""Whole runs: the inputs of a corpus to a dataset of tokens, from where the last run ended."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal, NamedTuple

from fcs_edge.audio.resampling import DEFAULT_RESAMPLER
from fcs_edge.corpus.engine import Engine
from fcs_edge.corpus.job import Outcome, Report, Totals

PathLike = str | os.PathLike[str]


class Shard(NamedTuple):
    """A shard of the dataset that is written."""

    name: str
    """16 hexadecimal digits."""
    path: str
    """Its file, or the URI of it."""
    totals: Totals
    resumed: bool
    """Whether an earlier run wrote it."""


@dataclass(frozen=True)
class Run:
    """What a run did. Totals are those of the whole dataset, with what earlier runs wrote."""

    totals: Totals
    hours: float
    """Of sound that has tokens."""
    seconds: float
    """Of wall clock, of this run alone."""
    speed: float
    """Hours of sound in an hour, of this run's shards; 0 if it encoded none."""
    shards: int
    """That the inputs have."""
    resumed: int
    """Shards of them that earlier runs wrote."""
    lost: tuple[tuple[str, str], ...]
    """Shards that are not written, and why: their names and a line each."""
    stale: int
    """Shards of other inputs that were moved aside or deleted."""
    interrupted: bool
    """Whether Ctrl-C ended it before all shards were written."""
    errors: tuple[tuple[str, str], ...]
    """Id and error of rows without tokens, the first 1000 in the order of shards' names."""

    @property
    def files(self) -> int:
        """Rows, with and without tokens."""
        return self.totals.files

    @property
    def is_complete(self) -> bool:
        """Whether all shards are written, and dataset.json with them."""
        return not self.lost and not self.interrupted

    @property
    def exit_code(self) -> int:
        """130 if interrupted, 1 if a file failed or is cut, or a shard is lost, else 0."""
        if self.interrupted:
            return 130
        return 1 if self.totals.errors or self.totals.cut or self.lost else 0


class Watcher:
    """What is called while a run goes on; a subclass shows it. All in the caller's thread."""

    def scanning(self, n_items: int) -> None:
        """Take the number of items that are found so far."""

    def planned(self, n_items: int, seconds: float, size: int, n_shards: int) -> None:
        """Take what there is in all: items, estimated seconds, bytes, shards."""

    def resumed(self, n_shards: int, totals: Totals, seconds: float, size: int) -> None:
        """Take what of it earlier runs did: shards, totals, estimated seconds, bytes."""

    def started(self, name: str, n_items: int, seconds: float, size: int) -> None:
        """Take a shard that is given to a worker: items, estimated seconds, bytes."""

    def report(self, report: Report) -> None:
        """Take what a worker says."""

    def finished(self, outcome: Outcome) -> None:
        """Take what became of a shard."""

    def stopping(self, n_running: int, seconds: float | None) -> None:
        """Take that Ctrl-C came, how many shards end first, and in about how many seconds."""

    def note(self, text: str) -> None:
        """Take a line to show."""


def encode(
    inputs: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    model: PathLike | None = None,
    workers: int | None = None,
    engine: str | Engine = "local",
    root: PathLike | None = None,
    names: BinaryIO | None = None,
    nul: bool = False,
    shard_rows: int = 1000,
    shard_hours: float = 2.0,
    keep_text: bool = False,
    also: Sequence[str] = (),
    retry_errors: bool = False,
    force: bool = False,
    prune: bool = False,
    strict: bool = False,
    file_timeout: float | None = None,
    channel: int | Literal["mean"] = "mean",
    resampler: str = DEFAULT_RESAMPLER,
    activations: int | None = None,
    exact: bool = False,
    window: float | None = None,
    overlap: float | None = None,
    mixed_cpus: bool = False,
    watcher: Watcher | None = None,
) -> Run:
    """Encode a corpus to a dataset of tokens, as ``fcs-edge corpus encode`` does."""
    raise NotImplementedError


def iter_encode(
    inputs: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    model: PathLike | None = None,
    workers: int | None = None,
    engine: str | Engine = "local",
    root: PathLike | None = None,
    names: BinaryIO | None = None,
    nul: bool = False,
    shard_rows: int = 1000,
    shard_hours: float = 2.0,
    keep_text: bool = False,
    also: Sequence[str] = (),
    retry_errors: bool = False,
    force: bool = False,
    prune: bool = False,
    strict: bool = False,
    file_timeout: float | None = None,
    channel: int | Literal["mean"] = "mean",
    resampler: str = DEFAULT_RESAMPLER,
    activations: int | None = None,
    exact: bool = False,
    window: float | None = None,
    overlap: float | None = None,
    mixed_cpus: bool = False,
    watcher: Watcher | None = None,
) -> Iterator[Shard]:
    """Encode a corpus as `encode` does, and yield each shard as it is written."""
    raise NotImplementedError
