"""Whether the files of a dataset are whole and belong together."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcs_edge.corpus.checked_rows import RowRules
from fcs_edge.corpus.encoding_again import Sample, encode_again
from fcs_edge.corpus.job import Totals
from fcs_edge.corpus.models import model_of
from fcs_edge.corpus.shard_reading import TokenRows, batches, open_shard
from fcs_edge.corpus.sources import SourceRules
from fcs_edge.corpus.storage import DATA, MIRRORS, STALE, data_name, open_storage, shard_names
from fcs_edge.corpus.unique_texts import UniqueTexts
from fcs_edge.errors import CorpusError, shown
from fcs_edge.text import printable

if TYPE_CHECKING:
    from fcs_edge.corpus.schema import ShardFacts
    from fcs_edge.corpus.storage import Storage

MOST_FAULTS = 1000
"""Faults that a result lists; more are counted."""

_BLOCK = 1 << 20
_CARD, _ERRORS, _STATED = "README.md", "_errors.tsv", "dataset.json"


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with a dataset."""

    where: str
    """A file of the dataset, or a row's shard and id."""
    message: str
    """One line."""

    def __str__(self) -> str:
        """Return place and message as one line."""
        return f"{self.where}: {self.message}"


@dataclass(frozen=True)
class Checked:
    """What a check found."""

    faults: tuple[Fault, ...]
    """The first faults, at most `MOST_FAULTS`."""
    n_faults: int
    shards: int
    """Shards that were read to their end."""
    rows: int
    tokens: int
    stale: int = 0
    """Shards that earlier runs set aside; no reader takes them for data."""
    sources: int = 0
    """Sources that were looked at."""
    again: int = 0
    """Rows that were encoded anew."""
    differing: int = 0
    """Of these, rows whose tokens differ."""

    @property
    def exit_code(self) -> int:
        """1 if there is a fault, else 0."""
        return 1 if self.n_faults else 0


def check(
    dataset: str | os.PathLike[str],
    *,
    sources: bool = False,
    again: int = 0,
    seed: int = 0,
    model: str | os.PathLike[str] | None = None,
    on_fault: Callable[[Fault], None] = lambda _: None,
    on_progress: Callable[[str, int, int], None] = lambda _, __, ___: None,
) -> Checked:
    """Check a dataset, as ``fcs-edge corpus check`` does.

    Parameters
    ----------
    dataset : str or path
        A folder, or the URI of an object store.
    sources : bool
        Whether the sounds are still there, with the size and time that the rows state.
    again : int
        Rows that are encoded anew and compared, token by token.
    seed : int
        Chooses these rows.
    model : str or path, optional
        The model that encodes anew. Absent: one with a name here that has the dataset's
        fingerprint.
    on_fault : callable
        Takes each fault as it is found.
    on_progress : callable
        Takes what is done now, how much of it is done, and how much there is.

    Returns
    -------
    Checked
        The faults, and what was looked at.

    Raises
    ------
    fcs_edge.CorpusError
        There is no such folder, or it holds no dataset.
    fcs_edge.FcsError
        Rows are to be encoded anew, and no model of the fingerprint is there.
    """
    storage = open_storage(dataset)
    run = _Check(storage, on_fault)
    stated = run.read_stated()
    names = run.shards(stated)
    if not names and stated is None:
        raise CorpusError(f"{storage.location}: holds no dataset of tokens")
    sample = Sample(again, seed)
    source_rules = SourceRules() if sources else None
    for index, name in enumerate(names):
        on_progress("shards", index, len(names))
        run.check_shard(name, (stated or {}).get(name), sample, source_rules)
    on_progress("shards", len(names), len(names))
    run.check_ids(names)
    run.check_totals()
    run.check_left_over(names)
    run.check_files(names)
    n_again = differing = 0
    if again and run.facts is not None:
        codec = model_of(bytes.fromhex(run.facts.fingerprint), model)
        for index, (row, problem) in enumerate(encode_again(sample, codec, run.facts)):
            on_progress("rows", index, len(sample))
            n_again += 1
            if problem is not None:
                differing += 1
                run.fault(row.where, problem)
    return Checked(
        tuple(run.faults),
        run.n_faults,
        run.n_shards,
        run.totals.files,
        run.totals.tokens,
        len(shard_names(storage, STALE)),
        source_rules.n if source_rules else 0,
        n_again,
        differing,
    )
