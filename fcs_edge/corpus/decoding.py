"""Tokens of a dataset back to sound files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fcs_edge.corpus.job import Job, OnReport, Recipe, Totals


@dataclass(frozen=True)
class Decoded:
    """What a run of `decode` did."""

    files: int
    """Sound files that were written."""
    existing: int
    """Sound files that were there before, and stay."""
    without_tokens: int
    """Rows that have an error in place of tokens."""
    failed: tuple[tuple[str, str], ...]
    """Ids that could not be decoded, each with the reason."""
    seconds: float
    """Sound that was written."""
    interrupted: bool = False


def decode(
    dataset: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    ids: Sequence[str] | None = None,
    suffix: str = ".wav",
    keep_suffix: bool = False,
    model: str | os.PathLike[str] | None = None,
    any_model: bool = False,
    voice: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    force: bool = False,
) -> Decoded:
    """Decode rows of a dataset to sound files."""
    raise NotImplementedError


def prepare(recipe: Recipe) -> Callable[[Job, OnReport], Totals]:
    """Load the model, once a process; return what decodes rows of a shard to files."""
    raise NotImplementedError
