"""The driver of a run: what is to do, who does it, and what stands in the dataset at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal, NamedTuple

from fcs_edge.audio.resampling import DEFAULT_RESAMPLER
from fcs_edge.corpus.dataset_files import (
    begin_dataset,
    check_model,
    set_aside,
    sha256_of,
    stated_digests,
    take_back,
    write_dataset,
)
from fcs_edge.corpus.engine import Engine
from fcs_edge.corpus.job import Job, Outcome, Recipe, Report, Totals
from fcs_edge.corpus.local_engine import LocalEngine
from fcs_edge.corpus.mirror import incomplete, write_mirror
from fcs_edge.corpus.pace import Pace
from fcs_edge.corpus.scan import scan
from fcs_edge.corpus.shard_reading import read_totals
from fcs_edge.corpus.sharding import Plan, PlannedShard, plan
from fcs_edge.corpus.storage import (
    DATA,
    MIRRORS,
    Storage,
    data_name,
    open_storage,
    shard_names,
)
from fcs_edge.corpus.watcher import Watcher
from fcs_edge.errors import CorpusError
from fcs_edge.modelfile import catalogue
from fcs_edge.streams.whole_signal import Choice
from fcs_edge.streams.whole_windows import Windows
from fcs_edge.text import printable
from fcs_edge.tokens.settings import token_settings


@dataclass(frozen=True)
class Request:
    """What a run is asked for; `run.encode` explains the fields."""

    inputs: tuple[str, ...]
    out: str
    model: str | None = None
    workers: int | None = None
    engine: str | Engine = "local"
    root: str | None = None
    names: BinaryIO | None = None
    nul: bool = False
    shard_rows: int = 1000
    shard_hours: float = 2.0
    keep_text: bool = False
    also: tuple[str, ...] = ()
    retry_errors: bool = False
    force: bool = False
    prune: bool = False
    strict: bool = False
    file_timeout: float | None = None
    channel: int | Literal["mean"] = "mean"
    resampler: str = DEFAULT_RESAMPLER
    activations: int | None = None
    exact: bool = False
    window: float | None = None
    overlap: float | None = None
    mixed_cpus: bool = False
    watcher: Watcher = field(default_factory=Watcher)

    def check(self) -> None:
        """Refuse what no run can do.

        Raises
        ------
        ValueError
            A number is out of range, or a name is none.
        """
        if not self.inputs:
            raise ValueError("inputs: at least one is needed")
        if self.shard_rows < 1 or self.shard_hours <= 0:
            raise ValueError("shard_rows must be 1 or more, and shard_hours above 0")
        if self.file_timeout is not None and self.file_timeout <= 0:
            raise ValueError(f"file_timeout must be above 0, not {self.file_timeout}")
        if unknown := sorted(set(self.also) - set(MIRRORS)):
            raise ValueError(f"also takes {' and '.join(MIRRORS)}, not {unknown[0]!r}")
        if self.channel != "mean" and self.channel < 1:
            raise ValueError(f"channel counts from 1, or is 'mean', not {self.channel}")

    def recipe(self, out: str) -> Recipe:
        """Return what all shards share, without the columns of manifests.

        Raises
        ------
        fcs_edge.ModelFileError
            There is no such model, or it is a half without an encoder.
        ValueError
            The model has no use for an argument.
        """
        model = catalogue.find(self.model)
        if self.activations is not None:
            model = model.with_activations(self.activations)
        model.require("encoder")
        Choice(self.exact, self.window, self.overlap).check(model.config.encodes_streams)
        settings = token_settings(model, resampler=self.resampler)
        if self.window is not None:
            settings |= Windows.of(model.config, self.window, self.overlap).settings()
        return Recipe(
            model=catalogue.reference(model),
            model_sha256=model.sha256,
            fingerprint=model.fingerprint.hex(),
            settings=settings,
            out=out,
            activations=self.activations,
            channel=self.channel,
            resampler=self.resampler,
            strict=self.strict,
            exact=self.exact,
            window=self.window,
            overlap=self.overlap,
            also=self.also,
            file_timeout=self.file_timeout,
        )

    def planned(self, recipe: Recipe) -> Plan:
        """Find the items, and cut them into shards.

        Raises
        ------
        fcs_edge.CorpusError
            An input is missing, or two items have the same id.
        """
        items = scan(
            self.inputs,
            root=self.root,
            out=recipe.out,
            keep_text=self.keep_text,
            names=self.names,
            nul=self.nul,
        )
        watcher, rows, hours = self.watcher, self.shard_rows, self.shard_hours
        planned = plan(items, recipe, rows=rows, hours=hours, on_progress=watcher.scanning)
        n_shards = len(planned.shards)
        watcher.planned(planned.n_items, planned.seconds, planned.size, n_shards)
        return planned

    def create_engine(self) -> Engine:
        """Return the engine that does the work.

        Raises
        ------
        ValueError
            There is no engine of this name.
        """
        if not isinstance(self.engine, str):
            return self.engine
        if self.engine == "local":
            return LocalEngine(self.workers)
        # Imported for a cluster only.
        from fcs_edge.corpus.dask_cluster import address_of
        from fcs_edge.corpus.dask_engine import DaskEngine

        return DaskEngine(address_of(self.engine), mixed_cpus=self.mixed_cpus, watcher=self.watcher)


class Shard(NamedTuple):
    """A shard of the dataset that is written."""

    name: str
    """16 hexadecimal digits."""
    path: str
    """Its file, or the URI of it."""
    totals: Totals
    resumed: bool
    """Whether an earlier run wrote it."""


class Driver:
    """Does one run.

    Parameters
    ----------
    request : Request
        What is asked for.
    """

    def __init__(self, request: Request) -> None:
        request.check()
        self.storage: Storage | None = None
        self.plan: Plan | None = None
        self.totals: dict[str, Totals] = {}
        """Of the shards that stand in the dataset, by name."""
        self.fresh: list[str] = []
        """Shards that this run wrote."""
        self.lost: dict[str, str] = {}
        """Why shards are not written, by name."""
        self.stale: list[str] = []
        """Shards that were moved aside or deleted."""
        self.interrupted = False
        self._request = request
        self._watcher = request.watcher
        self._engine: Engine = request.create_engine()
        self._given: dict[str, tuple[PlannedShard, Job]] = {}
        self._pace: Pace | None = None
        self._n_interrupts = 0
        self._is_reported = False

    @property
    def workers(self) -> int:
        """Number of processes that encode."""
        return self._engine.workers

    def shards(self) -> Iterator[Shard]:
        """Do the run; yield each shard that stands in the dataset, those of earlier runs first.

        Raises
        ------
        fcs_edge.FcsError
            The run cannot begin, or cannot go on.
        WorkerError
            A worker found a fault of this package.
        """
        request = self._request
        with ExitStack() as stack:
            check_folder(request.out)
            stack.enter_context(_unless_empty(request.out))
            storage = self.storage = open_storage(request.out, create=True)
            recipe = request.recipe(storage.location)
            stack.enter_context(storage.lock())
            storage.clean()
            storage.probe()
            if not request.force:
                check_model(storage, recipe)
            planned = self.plan = request.planned(recipe)
            todo = self._resume(storage, planned)
            yield from [self._shard(storage, name, resumed=True) for name in self.totals]
            names = {shard.name for shard in planned.shards}
            if todo or not names.issuperset(shard_names(storage)):
                begin_dataset(storage)
            if todo:
                yield from self._encode(storage, planned.recipe, todo)
            if len(self.totals) == len(planned.shards):
                self._finish(storage, planned)

    def interrupt(self, number: int, frame: Any) -> None:
        """Take Ctrl-C: shards that have begun end first; at the second one all ends at once.

        Raises
        ------
        KeyboardInterrupt
            It is the second one, or no shard has begun.
        """
        self._n_interrupts += 1
        if self._n_interrupts == 1 and self._pace is not None and self._pace.n_running:
            self.interrupted = True
            self._engine.stop()
        elif self._n_interrupts <= 2:
            # A third one must not disturb the cleaning up after the second.
            self._n_interrupts = 2
            raise KeyboardInterrupt

    def _resume(self, storage: Storage, planned: Plan) -> list[PlannedShard]:
        """Find what earlier runs did; return what is to do, the largest shard first."""
        take_back(storage, {shard.name for shard in planned.shards})
        existing, stated = set(shard_names(storage)), stated_digests(storage)
        done, todo = [], []
        for shard in planned.shards:
            name, totals = shard.name, None
            if name in existing:
                totals = self._earlier(storage, name, stated.get(name))
            if totals is None or (self._request.retry_errors and totals.errors):
                todo.append(shard)
            else:
                self.totals[shard.name] = totals
                done.append(shard)
        seconds, size = sum(s.seconds for s in done), sum(s.size for s in done)
        self._watcher.resumed(len(done), sum(self.totals.values(), Totals()), seconds, size)
        if planned.recipe.also:
            names = [shard.name for shard in done]
            for name in incomplete(storage, names, planned.recipe):
                write_mirror(storage, name, planned.recipe)
        return sorted(todo, key=lambda shard: -shard.seconds)

    def _earlier(self, storage: Storage, name: str, sha256: str | None) -> Totals | None:
        """Return the totals of a shard that exists; None if it is damaged."""
        try:
            totals = read_totals(storage, name)
            if sha256 is not None and sha256_of(storage, data_name(name)) != sha256:
                # Without dataset.json, which goes next, nothing tells that it is damaged.
                storage.delete(data_name(name))
                label = storage.label(data_name(name))
                raise CorpusError(f"{label}: its SHA-256 is not the one in dataset.json")
            return totals
        except CorpusError as error:
            self._watcher.warn(f"{error}; it is encoded again")
            return None

    def _encode(
        self, storage: Storage, recipe: Recipe, todo: list[PlannedShard]
    ) -> Iterator[Shard]:
        """Run the shards that are to do, and yield those that are written."""
        try:
            with self._engine as engine:
                self._pace = Pace()
                self._watcher.encoding(engine.workers)
                for outcome in engine.run(self._jobs(todo), recipe, self._report):
                    if self._take(outcome):
                        yield self._shard(storage, outcome.job.name, resumed=False)
        except _AllFailError as error:
            for name in self.fresh:
                # They hold errors only, and would count as done.
                storage.delete(data_name(name))
            raise CorpusError(str(error)) from None
        finally:
            storage.clean()
        if len(self.fresh) + len(self.lost) == len(todo):
            # Ctrl-C came with the last shards, and interrupted nothing.
            self.interrupted = False

    def _jobs(self, todo: list[PlannedShard]) -> Iterator[Job]:
        """Yield jobs one by one, as workers take them, in threads of theirs."""
        for shard in todo:
            job = shard.job()
            self._given[shard.name] = shard, job
            yield job

    def _take(self, outcome: Outcome) -> bool:
        """Take what became of a shard; return whether it is written."""
        name = outcome.job.name
        self._given.pop(name)
        self._running.finish(name, outcome.totals or Totals())
        if outcome.totals is None:
            self.lost[name] = outcome.failure or "its worker gave no reason"
        else:
            self.totals[name] = outcome.totals
            self.fresh.append(name)
        self._watcher.finished(outcome)
        self._check()
        return outcome.totals is not None

    def _report(self, report: Report) -> None:
        """Take what a worker says."""
        if report.name in self._given:
            shard, job = self._given[report.name]
            if report.kind == "again" or not self._running.is_running(shard.name):
                self._running.begin(shard)
                self._watcher.started(job)
            if report.kind != "again":
                self._running.take(report)
                self._watcher.report(report)
        self._check()

    def _check(self) -> None:
        """Say that Ctrl-C came, and end a run whose first files all fail."""
        if self.interrupted and not self._is_reported:
            self._is_reported = True
            self._watcher.stopping(self._running.n_running, self._running.seconds_left())
        if problem := self._running.failure():
            raise _AllFailError(problem)

    @property
    def _running(self) -> Pace:
        assert self._pace is not None
        return self._pace

    def _shard(self, storage: Storage, name: str, resumed: bool) -> Shard:
        return Shard(name, storage.label(data_name(name)), self.totals[name], resumed)

    def _finish(self, storage: Storage, planned: Plan) -> None:
        """Leave in the dataset what belongs to it, and describe it; dataset.json comes last."""
        names = [shard.name for shard in planned.shards]
        prune = self._request.prune
        self.stale = set_aside(storage, names, planned.recipe, prune=prune)
        write_dataset(storage, planned.recipe, names, self.totals)


class _AllFailError(Exception):
    """None of the first files could be encoded."""


def check_folder(out: str) -> None:
    """Refuse a folder that holds other things: the last input, where OUT was forgotten."""
    try:
        names = {name for name in os.listdir(out) if not name.startswith(".")}
    except OSError:
        return
    if not names & {"data", "dataset.json"} and (others := sorted(names - {"README.md"})):
        other = printable(others[0])
        raise CorpusError(f"{out}: holds {other}, and no dataset; give a new folder as OUT")


@contextmanager
def _unless_empty(out: str) -> Iterator[None]:
    """Remove the folder of a dataset at the end that the block created and left empty."""
    is_there = os.path.lexists(out)
    try:
        yield
    finally:
        if not is_there:
            for folder in (os.path.join(out, DATA), out):
                with suppress(OSError):
                    os.rmdir(folder)
