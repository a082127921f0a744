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
from fcs_edge.corpus.job import Job, OnReport, Outcome, Recipe, Report, Totals
from fcs_edge.corpus.models import decoding_model
from fcs_edge.corpus.safe_paths import safe_path
from fcs_edge.corpus.shard_reading import TokenRows, batches, read_facts
from fcs_edge.corpus.storage import data_name, open_storage
from fcs_edge.corpus.unique_texts import UniqueTexts, text_hash
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


@dataclass(frozen=True)
class DecodeOptions:
    """How rows are decoded: `Recipe.options` as a worker has them."""

    dataset: str
    """The dataset's absolute path or URI."""
    folder: str
    """The absolute path of the sounds' folder."""
    suffix: str
    keep_suffix: bool
    voice: str | None
    """The absolute path of a ``.voice`` file."""
    topk: int
    any_voice: bool
    any_model: bool
    force: bool

    def path_of(self, id: str) -> str:
        """Return the path of a row's sound below the folder."""
        return safe_path(id, self.suffix, keep_suffix=self.keep_suffix)

    def voiced(self, codec: Codec) -> Codec:
        """Return the codec with the voice, which is read now; or the codec as it is."""
        if self.voice is None:
            return codec
        voice = fcs_edge.load_voice(self.voice)
        return codec.with_voice(voice, self.topk, any_voice=self.any_voice)


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
    force: bool = False,
    workers: int | None = None,
    engine: Engine | None = None,
    file_timeout: float | None = None,
    watcher: Watcher | None = None,
) -> Decoded:
    """Decode rows of a dataset to sound files, as ``fcs-edge corpus decode`` does.

    Parameters
    ----------
    dataset : str, path or TokenDataset
        A folder or URI, or an opened dataset.
    out : str or path
        The folder of the sounds. Each has its id as path, and appears complete or not at all.
    ids : collection of str, optional
        The rows. Absent: all that have tokens.
    suffix : str
        ".wav", ".flac" or ".ogg".
    keep_suffix : bool
        Whether it is added to an id's own suffix of sound, which it replaces otherwise.
    model, any_model, activations, voice, topk, any_voice
        As the command's options of these names.
    force : bool
        Whether files that exist are written again; else they stay.
    workers, engine, file_timeout, watcher
        As in `encode`.

    Raises
    ------
    fcs_edge.FcsError
        There is no such dataset, id or model, a shard is damaged, or two rows have one file.
    ValueError
        The suffix is not valid.
    """
    if suffix not in FILE_FORMATS:
        raise ValueError(f"suffix must be {', '.join(FILE_FORMATS)}, not {suffix!r}")
    opened = dataset if isinstance(dataset, TokenDataset) else open_dataset(dataset, partial=True)
    folder, voice = os.path.abspath(out), None if voice is None else os.path.abspath(voice)
    form, voicing = (folder, suffix, keep_suffix), (voice, topk, any_voice)
    if Path(folder).is_relative_to(opened.storage.location):
        raise CorpusError(f"{out}: is in the dataset; give another folder")
    options = DecodeOptions(opened.storage.location, *form, *voicing, any_model, force)
    codec = decoding_model(opened.facts.fingerprint, model, any_model, activations)
    recipe = _recipe(codec, activations, options, file_timeout)
    plan = _Plan(opened, options, None if ids is None else frozenset(ids))
    return _run(plan, recipe, engine or _local_engine(workers), watcher or Watcher())


def _local_engine(workers: int | None) -> Engine:
    from fcs_edge.corpus.local_engine import LocalEngine

    return LocalEngine(workers)


def _recipe(
    codec: Codec, activations: int | None, options: DecodeOptions, file_timeout: float | None
) -> Recipe:
    """Return what the shards share; a voice that does not fit is refused now."""
    options.voiced(codec)
    return Recipe(
        kind="decode",
        model=catalogue.reference(codec.model),
        model_sha256=codec.model.sha256,
        fingerprint=codec.fingerprint.hex(),
        settings=token_settings(codec.model),
        out=options.folder,
        activations=activations,
        file_timeout=file_timeout,
        options=MappingProxyType(vars(options)),
    )


class _Plan:
    """The rows to decode."""

    def __init__(
        self, opened: TokenDataset, options: DecodeOptions, ids: frozenset[str] | None
    ) -> None:
        self._opened, self._options, self._ids = opened, options, ids
        self._folder = Path(options.folder)
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
                path = self._options.path_of(row["id"])
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

    def create_folder(self) -> None:
        """Create the folder of the sounds."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CorpusError(f"{self._folder}: {error.strerror}") from error

    def jobs(self) -> Iterator[Job]:
        """Yield the rows to decode, a shard at a time."""
        for shard in self._opened.shards:
            name = data_name(shard)
            items = tuple(
                Item(row["id"], name, duration=self._seconds_of(row))
                for row in self._rows(shard)
                if row["error"] is None and not self._is_left(self._options.path_of(row["id"]))
            )
            if items:
                yield Job(shard, items)

    def _seconds_of(self, row: dict[str, Any]) -> float:
        return float(row["n_samples"] or 0) / self._opened.facts.sample_rate

    def _is_left(self, path: str) -> bool:
        return not self._options.force and os.path.lexists(self._folder / path)

    def _rows(self, shard: str) -> Iterator[dict[str, Any]]:
        columns = ("id", "n_samples", "error")
        for batch in batches(self._opened.storage, data_name(shard), columns, 4096):
            for row in batch.to_pylist():
                if row["id"] is None:
                    raise CorpusError(f"{data_name(shard)}: a row has no id")
                if self._ids is None or row["id"] in self._ids:
                    yield row

    def _check_model(self, shard: str) -> None:
        """Refuse a shard of another model than the dataset's first one."""
        found = read_facts(self._opened.storage, shard).fingerprint
        if found != self._opened.facts.fingerprint and not self._options.any_model:
            raise CorpusError(
                f"{data_name(shard)}: is of another model ({found}) than the first shard "
                f"({self._opened.facts.fingerprint}); --any-model decodes all with one"
            )

    def _refuse_collision(self, repeated: Collection[int]) -> None:
        ids: dict[str, str] = {}
        for shard in self._opened.shards:
            for row in self._rows(shard):
                path = self._options.path_of(row["id"])
                if row["error"] is not None or text_hash(path) not in repeated:
                    continue
                if path in ids:
                    advice = "--keep-suffix tells them apart, or --id chooses"
                    if ids[path] == row["id"]:
                        advice = "fcs-edge corpus check says more"
                    raise CorpusError(f"{ids[path]} and {row['id']} would both be {path}; {advice}")
                ids[path] = row["id"]


def _run(plan: _Plan, recipe: Recipe, engine: Engine, watcher: Watcher) -> Decoded:
    """Run the jobs; Ctrl-C ends them at once, and leaves no file that is not whole."""
    plan.check()
    plan.create_folder()
    n, given, failed = plan.n, _Given(plan, watcher), _Failed()
    watcher.planned(n["rows"], plan.seconds, 0, len(plan.shards))

    def take(report: Report) -> None:
        job = given.report(report)
        if job is not None and report.kind == "done" and report.error is not None:
            failed.add(job.items[report.index].id, report.error)

    totals, interrupted = Totals(), False
    try:
        with engine if n["rows"] else nullcontext():
            watcher.encoding(engine.workers)
            for outcome in engine.run(given.jobs(), recipe, take) if n["rows"] else ():
                given.finished(outcome)
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
        if job is None:
            return None
        if report.kind == "again" or job.name not in self._started:
            self._started.add(job.name)
            self._watcher.started(job)
        if report.kind != "again":
            self._watcher.report(report)
        return job

    def finished(self, outcome: Outcome) -> None:
        """Pass on what became of a job, and forget it."""
        del self._jobs[outcome.job.name]
        self._started.discard(outcome.job.name)
        self._watcher.finished(outcome)


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


def prepare(recipe: Recipe) -> Callable[[Job, OnReport], Totals]:
    """Load the model, once a process; return what decodes rows of a shard to files."""
    model = catalogue.referenced(recipe.model)
    options = DecodeOptions(**recipe.options)
    codec = options.voiced(Codec(model, activations=recipe.activations))
    return partial(_decode_shard, codec, options)


def _decode_shard(codec: Codec, options: DecodeOptions, job: Job, on_report: OnReport) -> Totals:
    """Decode rows of one shard, each to a file that appears complete or not at all."""
    storage, name = open_storage(options.dataset), data_name(job.name)
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
                error = _written(codec, options, id, n_samples, rows.row(at))
            n_samples = n_samples or 0
            n["files"] += 1
            if error is None:
                n["samples"] += n_samples
                n["tokens"] += int(rows.lengths[at])
            else:
                n["errors"] += 1
            seconds = n_samples / codec.sample_rate_in
            on_report(Report("done", job.name, place, seconds, error))
    return Totals(files=n["files"], errors=n["errors"], samples=n["samples"], tokens=n["tokens"])


def _written(
    codec: Codec, options: DecodeOptions, id: str, n_samples: int | None, tokens: U16
) -> str | None:
    """Decode a row to its file; return why that is not possible, or None."""
    if n_samples is None or n_samples < 0:
        return f"its n_samples is {n_samples}"
    if problem := length_problem(tokens.size, n_samples, codec, token_settings(codec.model)):
        return problem
    path = Path(options.folder, options.path_of(id))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with creating(path, overwrite=options.force) as file:
            _write(file, codec, options.suffix, id, n_samples, tokens)
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
