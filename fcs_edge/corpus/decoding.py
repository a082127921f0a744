"""Tokens of a dataset back to sound files."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

import fcs_edge
from fcs_edge.audio.writer import FILE_FORMATS, file_output
from fcs_edge.codec import TOPK, Codec
from fcs_edge.corpus.dataset import TokenDataset
from fcs_edge.corpus.dataset import open as open_dataset
from fcs_edge.corpus.items import Item
from fcs_edge.corpus.job import Job, OnReport, Recipe, Report, Totals
from fcs_edge.corpus.models import decoding_model
from fcs_edge.corpus.safe_paths import safe_path
from fcs_edge.corpus.schema import read_facts
from fcs_edge.corpus.shard_reading import TokenRows, batches
from fcs_edge.corpus.storage import data_name, open_storage
from fcs_edge.corpus.unique_texts import UniqueTexts
from fcs_edge.corpus.watcher import Watcher
from fcs_edge.errors import CorpusError, FcsError, reason
from fcs_edge.files import creating
from fcs_edge.model.layers import U16
from fcs_edge.modelfile import catalogue
from fcs_edge.modelfile.config import SAMPLE_RATE_IN
from fcs_edge.tokens.event_decoder import decode_array, length_problem
from fcs_edge.tokens.npy import TokenArray
from fcs_edge.tokens.settings import token_settings

if TYPE_CHECKING:
    from fcs_edge.corpus.engine import Engine

PathLike = str | os.PathLike[str]

_BLOCK = 4096
"""Tokens that are decoded at once."""
_ROWS = 16
"""Rows that are in memory at once."""
_MOST_FAILED = 1000
_OF_ONE_FILE = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EINVAL)
"""Errors that a file's name is to blame for: the others are those of the folder or disk."""


@dataclass(frozen=True)
class Decoded:
    """What a run of `decode` did."""

    files: int
    """Sound files that were written."""
    existing: int
    """Sound files that were there before, and stay."""
    without_tokens: int
    """Rows that have an error in place of tokens."""
    n_failed: int
    """Rows that could not be decoded."""
    failed: tuple[tuple[str, str], ...]
    """The first 1000 of them: ids, each with the reason."""
    seconds: float
    """Sound that was written."""
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """130 if interrupted, 1 if a row has no sound, else 0."""
        if self.interrupted:
            return 130
        return 1 if self.n_failed or self.without_tokens else 0


def decode(
    dataset: PathLike | TokenDataset,
    out: PathLike,
    *,
    ids: Collection[str] | None = None,
    suffix: str = ".wav",
    keep_suffix: bool = False,
    model: PathLike | None = None,
    any_model: bool = False,
    activations: int | None = None,
    voice: PathLike | None = None,
    topk: int = TOPK,
    any_voice: bool = False,
    workers: int | None = None,
    engine: Engine | None = None,
    force: bool = False,
    file_timeout: float | None = None,
    watcher: Watcher | None = None,
) -> Decoded:
    """Decode rows of a dataset to sound files, as ``fcs-edge corpus decode`` does.

    A file has the id as its path below `out`, with the suffix of its format. It appears complete
    or not at all. A run that ended early goes on where it stopped: files that exist stay.

    Parameters
    ----------
    dataset : str, path or TokenDataset
        A folder or URI, or an opened dataset.
    out : str or path
        The folder of the sounds, which is created.
    ids : collection of str, optional
        The rows to decode. Absent: all that have tokens.
    suffix : str
        ".wav", ".flac" or ".ogg".
    keep_suffix : bool
        Whether `suffix` is added to an id's own suffix of sound, which it replaces otherwise.
    model : str or path, optional
        The model. Absent: a model with a name here that has the dataset's fingerprint.
    any_model : bool
        Whether tokens of another model are decoded.
    activations : int, optional
        As in `load`.
    voice, topk, any_voice
        A ``.voice`` file to decode with, and how; see `Codec.with_voice`.
    workers : int, optional
        Processes. Absent: the cores that this process may use.
    engine : Engine, optional
        What runs the work in place of processes of this machine.
    force : bool
        Whether files that exist are written again.
    file_timeout : float, optional
        Seconds that a row may take. Absent: 60 s and 60 times its duration.
    watcher : Watcher, optional
        Is called while the run goes on.

    Returns
    -------
    Decoded
        What was written, and what was not.

    Raises
    ------
    fcs_edge.CorpusError
        There is no such dataset or id, a shard is damaged, or two rows have one file.
    fcs_edge.FcsError
        The model or voice does not fit the tokens.
    ValueError
        The suffix is not valid.
    """
    if suffix not in FILE_FORMATS:
        raise ValueError(f"suffix must be {', '.join(FILE_FORMATS)}, not {suffix!r}")
    opened = dataset if isinstance(dataset, TokenDataset) else open_dataset(dataset, partial=True)
    codec = decoding_model(opened.facts.fingerprint, model, any_model, activations)
    options: dict[str, Any] = {
        "dataset": opened.storage.location,
        "folder": os.path.abspath(out),
        "suffix": suffix,
        "keep_suffix": keep_suffix,
        "voice": None if voice is None else os.path.abspath(voice),
        "topk": topk,
        "any_voice": any_voice,
        "force": force,
        "any_model": any_model,
    }
    _voiced(codec, options)
    recipe = _recipe(codec, activations, options, file_timeout)
    plan = _Plan(opened, recipe, None if ids is None else frozenset(ids))
    plan.check()
    _create_folder(Path(options["folder"]))
    return _run(plan, recipe, engine or _local_engine(workers), watcher or Watcher())


def _local_engine(workers: int | None) -> Engine:
    from fcs_edge.corpus.local_engine import LocalEngine

    return LocalEngine(workers)


def _recipe(
    codec: Codec, activations: int | None, options: dict[str, Any], file_timeout: float | None
) -> Recipe:
    return Recipe(
        kind="decode",
        model=catalogue.reference(codec.model),
        model_sha256=codec.model.sha256,
        fingerprint=codec.fingerprint.hex(),
        settings=token_settings(codec.model),
        out=options["folder"],
        activations=activations,
        file_timeout=file_timeout,
        options=MappingProxyType(options),
    )


def _create_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CorpusError(f"{folder}: {error.strerror}") from error


class _Plan:
    """The rows to decode."""

    def __init__(self, opened: TokenDataset, recipe: Recipe, ids: frozenset[str] | None) -> None:
        self._opened, self._recipe, self._ids = opened, recipe, ids
        self._force = bool(recipe.options["force"])
        self._folder = Path(recipe.options["folder"])
        self.shards = opened.shards
        self.n: Counter[str] = Counter()
        self.seconds = 0.0
        """Of sound that is to be written."""

    def check(self) -> None:
        """Look at all rows before any work.

        Raises
        ------
        CorpusError
            An id is missing, two rows have one file, or a shard is of another model.
        """
        missing = set(self._ids or ())
        paths = UniqueTexts()
        for shard in self._opened.shards:
            self._check_model(shard)
            for row in self._rows(shard):
                missing.discard(row["id"])
                if row["error"] is not None:
                    self.n["without_tokens"] += 1
                    continue
                path = sound_path(row["id"], self._recipe)
                paths.add(path)
                if self._is_left(path):
                    self.n["existing"] += 1
                else:
                    self.n["rows"] += 1
                    self.seconds += self._seconds_of(row)
        if missing:
            first, more = min(missing), len(missing) - 1
            rest = f", nor {more:,} more of these ids" if more else ""
            raise CorpusError(f"{first}: no row of the dataset has this id{rest}")
        if repeated := paths.repeated():
            self._refuse_collision(repeated)

    def jobs(self) -> Iterator[Job]:
        """Yield the rows to decode, a shard at a time."""
        for shard in self._opened.shards:
            name = data_name(shard)
            items = tuple(
                Item(row["id"], name, duration=self._seconds_of(row))
                for row in self._rows(shard)
                if row["error"] is None and not self._is_left(sound_path(row["id"], self._recipe))
            )
            if items:
                yield Job(shard, items)

    def _seconds_of(self, row: dict[str, Any]) -> float:
        return float(row["n_samples"] or 0) / self._opened.facts.sample_rate

    def _is_left(self, path: str) -> bool:
        return not self._force and os.path.lexists(self._folder / path)

    def _rows(self, shard: str) -> Iterator[dict[str, Any]]:
        columns = ("id", "n_samples", "error")
        for batch in batches(self._opened.storage, data_name(shard), columns, 4096):
            for row in batch.to_pylist():
                if self._ids is None or row["id"] in self._ids:
                    yield row

    def _check_model(self, shard: str) -> None:
        """Refuse a shard of another model than the dataset's first one."""
        found = read_facts(self._opened.storage, shard).fingerprint
        if found != self._opened.facts.fingerprint and not self._recipe.options["any_model"]:
            raise CorpusError(
                f"{data_name(shard)}: is of another model ({found}) than the first shard "
                f"({self._opened.facts.fingerprint}); --any-model decodes all with one"
            )

    def _refuse_collision(self, repeated: Collection[int]) -> None:
        ids: dict[str, str] = {}
        for shard in self._opened.shards:
            for row in self._rows(shard):
                path = sound_path(row["id"], self._recipe)
                if row["error"] is not None or UniqueTexts.key(path) not in repeated:
                    continue
                if path in ids:
                    advice = "--keep-suffix tells them apart, or --id chooses"
                    if ids[path] == row["id"]:
                        advice = "fcs-edge corpus check says more"
                    raise CorpusError(f"{ids[path]} and {row['id']} would both be {path}; {advice}")
                ids[path] = row["id"]


def sound_path(id: str, recipe: Recipe) -> str:
    """Return the path of a row's sound below the folder."""
    options = recipe.options
    return safe_path(id, options["suffix"], keep_suffix=options["keep_suffix"])


def _run(plan: _Plan, recipe: Recipe, engine: Engine, watcher: Watcher) -> Decoded:
    """Run the jobs; Ctrl-C ends them at once, and leaves no file that is not whole."""
    n, given, failed = plan.n, _Given(plan, watcher), _Failed()
    watcher.planned(n["rows"], plan.seconds, 0, len(plan.shards))

    def report(report: Report) -> None:
        job = given.report(report)
        if job is not None and report.kind == "done" and report.error is not None:
            failed.add(job.items[report.index].id, report.error)

    totals, interrupted = Totals(), False
    try:
        with engine if n["rows"] else nullcontext():
            watcher.encoding(engine.workers)
            for outcome in engine.run(given.jobs(), recipe, report) if n["rows"] else ():
                watcher.finished(outcome)
                if outcome.totals is None:
                    raise CorpusError(outcome.failure or f"{outcome.job.name}: is not decoded")
                totals += outcome.totals
    except KeyboardInterrupt:
        interrupted = True
    return Decoded(
        totals.files - totals.errors,
        n["existing"],
        n["without_tokens"],
        failed.n,
        tuple(failed.first),
        totals.samples / SAMPLE_RATE_IN,
        interrupted,
    )


class _Given:
    """The jobs that workers have."""

    def __init__(self, plan: _Plan, watcher: Watcher) -> None:
        self._plan, self._watcher = plan, watcher
        self._jobs: dict[str, Job] = {}
        self._started: set[str] = set()

    def jobs(self) -> Iterator[Job]:
        """Yield jobs one by one, as workers take them, in threads of theirs."""
        for job in self._plan.jobs():
            self._jobs[job.name] = job
            yield job

    def report(self, report: Report) -> Job | None:
        """Pass a report on; return its job."""
        job = self._jobs.get(report.name)
        if job is not None and job.name not in self._started:
            self._started.add(job.name)
            self._watcher.started(job)
        self._watcher.report(report)
        return job


class _Failed:
    """Rows that could not be decoded, and why; a row of a shard that goes again counts once."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self.first: list[tuple[str, str]] = []

    @property
    def n(self) -> int:
        """How many there are."""
        return len(self._ids)

    def add(self, id: str, why: str) -> None:
        """Take a row."""
        if id not in self._ids and len(self.first) < _MOST_FAILED:
            self.first.append((id, why))
        self._ids.add(id)


def _voiced(codec: Codec, options: Any) -> Codec:
    if options["voice"] is None:
        return codec
    voice = fcs_edge.load_voice(options["voice"])
    return codec.with_voice(voice, options["topk"], any_voice=options["any_voice"])


def prepare(recipe: Recipe) -> Callable[[Job, OnReport], Totals]:
    """Load the model, once a process; return what decodes rows of a shard to files."""
    model = catalogue.referenced(recipe.model)
    codec = _voiced(Codec(model, activations=recipe.activations), recipe.options)
    return partial(_decode_shard, codec, recipe)


def _decode_shard(codec: Codec, recipe: Recipe, job: Job, on_report: OnReport) -> Totals:
    """Decode rows of one shard, each to a file that appears complete or not at all."""
    storage, name = open_storage(recipe.options["dataset"]), data_name(job.name)
    places = {item.id: index for index, item in enumerate(job.items)}
    n: Counter[str] = Counter()
    for batch in batches(storage, name, ("id", "n_samples", "tokens"), _ROWS):
        rows = TokenRows(batch.column("tokens"), name)
        columns = (batch.column(key).to_pylist() for key in ("id", "n_samples"))
        for at, (id, n_samples) in enumerate(zip(*columns, strict=True)):
            place = places.pop(id, None)
            if place is None:
                continue
            on_report(Report("file", job.name, place))
            error = job.blamed.get(id)
            if error is None:
                error = _written(codec, recipe, id, n_samples, rows.row(at))
            n["files"] += 1
            if error is None:
                n["samples"] += n_samples
                n["tokens"] += int(rows.lengths[at])
            else:
                n["errors"] += 1
            seconds = n_samples / codec.sample_rate_in
            on_report(Report("done", job.name, place, seconds, error))
    return Totals(files=n["files"], errors=n["errors"], samples=n["samples"], tokens=n["tokens"])


def _written(codec: Codec, recipe: Recipe, id: str, n_samples: int, tokens: U16) -> str | None:
    """Decode a row to its file; return why that is not possible, or None."""
    if problem := length_problem(tokens.size, n_samples, codec, recipe.settings):
        return problem
    path = Path(recipe.options["folder"], sound_path(id, recipe))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with creating(path, overwrite=recipe.options["force"]) as file:
            _write(file, codec, recipe.options["suffix"], id, n_samples, tokens)
    except FcsError as error:
        return str(error)
    except OSError as error:
        if error.errno in _OF_ONE_FILE:
            return error.strerror or reason(error)
        raise CorpusError(f"{error.filename or path}: {error.strerror or reason(error)}") from error
    return None


def _write(file: Any, codec: Codec, suffix: str, id: str, n_samples: int, tokens: U16) -> None:
    sink = file_output(file, suffix, codec.sample_rate_out)
    blocks = (tokens[start : start + _BLOCK] for start in range(0, tokens.size, _BLOCK))
    array = TokenArray(tokens.size, np.dtype(np.uint16), blocks)
    try:
        for samples in decode_array(array, codec, id, n_samples):
            sink.write(samples)
        sink.close()
    finally:
        sink.discard()
