"""Whether the files of a dataset are whole and belong together."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with a dataset, in one line."""

    where: str
    """A file of the dataset, or a row's id."""
    message: str


@dataclass(frozen=True)
class Checked:
    """What a check found."""

    faults: tuple[Fault, ...]
    """The first faults, at most `MOST_FAULTS`."""
    n_faults: int
    shards: int
    rows: int
    tokens: int
    sources: int = 0
    """Sources that were looked at."""
    again: int = 0
    """Rows that were encoded anew."""
    differing: int = 0
    """Of these, rows whose tokens differ."""


def check(
    dataset: str | os.PathLike[str],
    *,
    sources: bool = False,
    again: int = 0,
    seed: int = 0,
    model: str | os.PathLike[str] | None = None,
) -> Checked:
    """Check a dataset."""
    raise NotImplementedError
