"""Whether the files of a dataset are whole and belong together."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcs_edge.corpus.arrow import pyarrow
from fcs_edge.corpus.checked_rows import RowRules
from fcs_edge.corpus.dataset_files import (
    CARD,
    DATASET,
    ERRORS,
    Contents,
    Shard,
    read_dataset,
    sha256_of,
)
from fcs_edge.corpus.encoding_again import RowEncoder, Sample
from fcs_edge.corpus.job import Totals
from fcs_edge.corpus.mirror import mirror_name
from fcs_edge.corpus.models import model_of
from fcs_edge.corpus.schema import COLUMNS, ShardFacts, sums
from fcs_edge.corpus.shard_reading import TokenRows, batches, read_facts
from fcs_edge.corpus.sources import SourceRules
from fcs_edge.corpus.storage import DATA, MIRRORS, STALE, data_name, open_storage, shard_names
from fcs_edge.corpus.unique_texts import UniqueTexts, text_hash
from fcs_edge.errors import CorpusError, shown
from fcs_edge.files import remains_in
from fcs_edge.text import counted, printable

if TYPE_CHECKING:
    from fcs_edge.corpus.storage import Storage

MOST_FAULTS = 1000
"""Faults that a result lists; more are counted."""


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
    # Without it each shard would look damaged.
    pyarrow()
    storage = open_storage(dataset)
    run = _Check(storage, on_fault, on_progress)
    names = run.shards()
    encoder = run.encoder(names, model) if again else None
    return run.check(names, Sample(again, seed), SourceRules() if sources else None, encoder)


class _Check:
    """The faults of a dataset, and what was looked at."""

    def __init__(
        self,
        storage: Storage,
        on_fault: Callable[[Fault], None],
        on_progress: Callable[[str, int, int], None],
    ) -> None:
        self._storage, self._on_fault, self._on_progress = storage, on_fault, on_progress
        self.faults: list[Fault] = []
        self.n_faults = self.n_shards = 0
        self.totals = Totals()
        self.facts: ShardFacts | None = None
        """What the first readable shard states."""
        self._contents: Contents | None = None
        self._stated: dict[str, Shard] = {}
        self._ids = UniqueTexts()
        self._mirrors = [kind for kind in MIRRORS if next(storage.tree(kind), None) is not None]
        self._is_whole = True
        """Whether all shards were read."""

    def fault(self, where: str, message: str) -> None:
        """Take a fault."""
        found = Fault(where, message)
        self.n_faults += 1
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(found)
        self._on_fault(found)

    def check(
        self,
        names: list[str],
        sample: Sample,
        sources: SourceRules | None,
        encoder: RowEncoder | None,
    ) -> Checked:
        """Check all shards of these names, and what stands beside them."""
        for index, name in enumerate(names):
            self._on_progress("shards", index, len(names))
            self.check_shard(name, sample, sources)
        self.check_ids(names)
        self.check_model()
        self.check_files()
        n_again = differing = 0
        for index, row in enumerate(encoder.compared(sample) if encoder else ()):
            self._on_progress("rows", index, len(sample))
            n_again += row.is_encoded
            if row.problem is not None:
                differing += row.is_encoded
                self.fault(row.where, row.problem)
        return Checked(
            tuple(self.faults),
            self.n_faults,
            self.n_shards,
            self.totals.files,
            self.totals.tokens,
            len(shard_names(self._storage, STALE)),
            sources.n if sources else 0,
            n_again,
            differing,
        )

    def encoder(self, names: list[str], model: str | os.PathLike[str] | None) -> RowEncoder | None:
        """Return what encodes rows anew, before any shard is read; None if none can be read."""
        for name in names:
            try:
                facts = read_facts(self._storage, name)
            except CorpusError:
                continue
            return RowEncoder(model_of(bytes.fromhex(facts.fingerprint), model), facts)
        return None

    def _read_contents(self, present: list[str]) -> None:
        if not self._storage.exists(DATASET):
            if not present:
                raise CorpusError(f"{self._storage.location}: holds no dataset of tokens")
            self.fault(
                DATASET, "is missing: the run is not finished; fcs-edge corpus encode goes on"
            )
            return
        try:
            self._contents = read_dataset(self._storage)
            self._stated = {shard.name: shard for shard in self._contents.shards}
        except CorpusError as error:
            self._fail(DATASET, error)

    def shards(self) -> list[str]:
        """Return the shards to read; report those that are missing, and files that are no data."""
        present = shard_names(self._storage)
        self._read_contents(present)
        known = {f"{name}.parquet" for name in present}
        for file in self._storage.names(DATA):
            if file not in known:
                self.fault(f"{DATA}/{shown(file, 80)}", "is no file of the dataset; remove it")
        if self._contents is None:
            return present
        there = set(present)
        for name in self._stated:
            if name not in there:
                self._is_whole = False
                self.fault(data_name(name), "is missing, and dataset.json names it")
        for name in present:
            if name not in self._stated:
                self.fault(
                    data_name(name),
                    "is not in dataset.json, and readers take its rows for data; "
                    "fcs-edge corpus encode sets it aside",
                )
        return [name for name in self._stated if name in there]

    def check_shard(self, name: str, sample: Sample, sources: SourceRules | None) -> None:
        """Read a shard to its end, and check its rows."""
        label = data_name(name)
        stated = self._stated.get(name)
        try:
            if stated is not None and sha256_of(self._storage, label) != stated.sha256:
                raise CorpusError("is damaged: its SHA-256 is not the one in dataset.json")
            facts = read_facts(self._storage, name)
            self._check_facts(label, facts)
            totals = self._check_rows(label, facts, sample, sources)
        except CorpusError as error:
            self._is_whole = False
            self._fail(label, error)
            return
        self.n_shards += 1
        self.totals += totals
        if totals != facts.totals:
            self.fault(label, f"its rows have {_difference(totals, facts.totals)} that it states")
        elif stated is not None and totals != stated.totals:
            self.fault(label, f"has {_difference(totals, stated.totals)} of dataset.json")

    def _fail(self, label: str, error: CorpusError) -> None:
        """Report an error; its message names the file by the whole path."""
        self.fault(label, str(error).removeprefix(f"{self._storage.label(label)}: "))

    def _check_facts(self, label: str, facts: ShardFacts) -> None:
        if self.facts is None:
            self.facts = facts
        first = self.facts
        if facts.fingerprint != first.fingerprint:
            self.fault(
                label,
                f"is of the model {shown(facts.model, 60)} ({facts.fingerprint}), and others of "
                f"{shown(first.model, 60)} ({first.fingerprint})",
            )
        elif (facts.settings, facts.channel) != (first.settings, first.channel):
            self.fault(label, "was encoded with other settings than others")

    def _check_rows(
        self, label: str, facts: ShardFacts, sample: Sample, sources: SourceRules | None
    ) -> Totals:
        rules, totals, missing = RowRules(facts), Totals(), Counter[str]()
        for batch in batches(self._storage, label, tuple(COLUMNS)):
            column = batch.column("tokens")
            tokens = TokenRows(column, label)
            present = column.is_valid().to_pylist()
            others = batch.select([key for key in COLUMNS if key != "tokens"]).to_pylist()
            rows = [
                {**row, "has_tokens": is_there}
                for row, is_there in zip(others, present, strict=True)
            ]
            wrong = set()
            for place, problem in rules.problems(rows, tokens):
                wrong.add(place)
                self.fault(_place(label, rows[place]), problem)
            for place, row in enumerate(rows):
                self._ids.add(row["id"] or "")
                if row["error"] is not None or place in wrong:
                    continue
                for kind in self._mirrors:
                    missing[kind] += not self._storage.exists(mirror_name(row["id"], kind))
                where = _place(label, row)
                if sources is not None and (other := sources.problem(row)):
                    self.fault(where, other)
                    continue
                sample.add(where, row, tokens.row(place))
            totals += sums(rows)
        for kind, n in missing.items():
            if n:
                advice = f"fcs-edge corpus encode --also {kind} writes them"
                self.fault(label, f"{counted(n, 'file')} of its rows not in {kind}/; {advice}")
        return totals

    def check_ids(self, names: list[str]) -> None:
        """Report ids that several rows have."""
        repeated = self._ids.repeated()
        if not repeated:
            return
        places: dict[str, str] = {}
        for name in names:
            label = data_name(name)
            try:
                for batch in batches(self._storage, label, ["id"], 4096):
                    for id in batch.column("id").to_pylist():
                        if text_hash(id or "") in repeated:
                            if id in places:
                                self.fault(_place(label, {"id": id}), f"is in {places[id]}, too")
                            places[id] = label
            except CorpusError:
                continue  # reported before

    def check_model(self) -> None:
        """Compare the shards' model and settings with those of dataset.json."""
        if self._contents is None or self.facts is None:
            return
        stated = self._contents.facts._asdict()
        for key, value in self.facts._asdict().items():
            if key not in ("totals", "columns", "versions") and stated[key] != value:
                there = shown(stated[key], 80)
                self.fault(DATASET, f"its {key} is {there}, and that of the shards {shown(value)}")

    def check_files(self) -> None:
        """Report what stands beside the shards, where it is missing, wrong or left over."""
        root = Path(self._storage.location)
        folders = [root / folder for folder in ("", DATA, STALE)]
        folders += [Path(parent) for kind in MIRRORS for parent, *_ in os.walk(root / kind)]
        for folder in folders:
            for path in remains_in(folder):
                self.fault(
                    str(path.relative_to(root)),
                    "is what a killed run left; fcs-edge corpus encode removes it",
                )
        if self._contents is None:
            return
        for file in (CARD, ERRORS):
            if not self._storage.exists(file):
                self.fault(file, "is missing; fcs-edge corpus encode writes it")
        if self._is_whole and self._storage.exists(ERRORS):
            with self._storage.open(ERRORS) as table:
                n_rows = sum(1 for _ in table) - 1
            expected = self.totals.errors + self.totals.cut
            if n_rows != expected:
                self.fault(ERRORS, f"lists {n_rows:,} rows, and the shards have {expected:,}")


def _place(label: str, row: dict[str, Any]) -> str:
    return f"{label}: {printable(shown(row['id'], 200))}"


def _difference(found: Totals, stated: Totals) -> str:
    """Return the first sum that differs: "12 tokens, not the 13"."""
    pairs = zip(vars(found).items(), vars(stated).values(), strict=True)
    return next(f"{n} {key}, not the {other}" for (key, n), other in pairs if n != other)
