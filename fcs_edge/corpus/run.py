"""Whole runs: the inputs of a corpus to a dataset of tokens, from where the last run ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypedDict

from fcs_edge import signals
from fcs_edge.corpus.dataset_files import check_model
from fcs_edge.corpus.driver import Driver, Request, check_folder
from fcs_edge.corpus.driver import Shard as Shard
from fcs_edge.corpus.engine import Engine
from fcs_edge.corpus.error_groups import ErrorGroup, ErrorGroups
from fcs_edge.corpus.job import Totals
from fcs_edge.corpus.shard_reading import FailedRow, failed_rows
from fcs_edge.corpus.sharding import Plan
from fcs_edge.corpus.storage import Storage, open_storage
from fcs_edge.corpus.watcher import Watcher
from fcs_edge.modelfile.config import SAMPLE_RATE_IN

if TYPE_CHECKING:
    from typing_extensions import Unpack

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Run:
    """What a run did. Totals are those of the whole dataset, with what earlier runs wrote."""

    totals: Totals
    fresh: Totals
    """Of the shards that this run wrote."""
    seconds: float
    """Of wall clock, of this run."""
    workers: int
    """Number of processes."""
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
    error_groups: tuple[ErrorGroup, ...]
    """Errors and cut sounds of the whole dataset, in groups that differ in numbers and names."""
    written: Mapping[str, Totals] = field(repr=False)
    """The shards that stand in the dataset, in the order of the input: names and sums."""
    storage: Storage = field(repr=False)
    """Where they stand."""

    @property
    def files(self) -> int:
        """Rows, with and without tokens."""
        return self.totals.files

    @property
    def hours(self) -> float:
        """Hours of sound that has tokens."""
        return self.totals.samples / SAMPLE_RATE_IN / 3600

    @property
    def errors(self) -> int:
        """Rows without tokens."""
        return self.totals.errors

    @property
    def cut(self) -> int:
        """Rows with the tokens of what is intact: sound is missing."""
        return self.totals.cut

    @property
    def tokens(self) -> int:
        """Tokens of all rows."""
        return self.totals.tokens

    @property
    def speed(self) -> float:
        """Hours of sound that the run encoded in an hour."""
        return self.fresh.samples / SAMPLE_RATE_IN / self.seconds

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

    def failed(self) -> Iterator[FailedRow]:
        """Yield the rows of the dataset that have no tokens, or whose sound is cut."""
        return failed_rows(self.storage, self.written)


class Options(TypedDict, total=False):
    """What `encode` takes beside inputs and output."""

    model: PathLike | None
    """As in `fcs_edge.load`."""
    workers: int | None
    """Processes, each of one thread. Absent: the cores that this process may use."""
    engine: str | Engine
    """``"local"``, which is the default; ``"dask://HOST:PORT"``, a scheduler of Dask; or
    ``"dask"``, that of the environment."""
    root: PathLike | None
    """The folder that ids are relative to. Absent: each input's own."""
    names: BinaryIO | None
    """Paths, one a line, for the input ``-``."""
    nul: bool
    """Whether NUL ends each path of `names` in place of the line."""
    shard_rows: int
    """Sounds of a shard in the mean: 1000."""
    shard_hours: float
    """Hours of a shard in the mean, 2: it ends at what is reached first."""
    keep_text: bool
    """Whether the dataset has the further columns of manifests, as strings."""
    also: Sequence[str]
    """``"npz"``, ``"fcs"``: files of each sound that are written beside the table."""
    retry_errors: bool
    """Whether shards with errors are encoded again."""
    force: bool
    """Whether a dataset of another model or of other settings is replaced."""
    prune: bool
    """Whether shards of other inputs are deleted. If not, they move to the folder ``stale``."""
    strict: bool
    """Whether a cut sound is an error."""
    file_timeout: float | None
    """Seconds that one sound may take. Absent: 60, and 60 a second of sound."""
    channel: int | Literal["mean"]
    """As in `read_audio`."""
    resampler: str
    """As in `read_audio`."""
    activations: int | None
    """As in `fcs_edge.load`."""
    exact: bool
    """As in `Codec.encode`, like `window` and `overlap`."""
    window: float | None
    overlap: float | None
    mixed_cpus: bool
    """Whether workers of a cluster take part whose CPU gives other tokens."""
    watcher: Watcher | None
    """Is called while the run goes on."""


def encode(inputs: PathLike | Sequence[PathLike], out: PathLike, **options: Unpack[Options]) -> Run:
    """Encode a corpus to a dataset of tokens, as ``fcs-edge corpus encode`` does.

    A run that ended early, however it did, goes on where it was. The dataset does not depend on
    how often that was, nor on the number of workers. Ctrl-C ends the run after the shards that
    have begun, a second one at once.

    Parameters
    ----------
    inputs : str, path, or sequence of them
        Folders, globs, sound files, manifests, tar archives; ``-`` for the paths in `names`.
    out : str or path
        The dataset: a folder, or a URI of an object store.
    **options
        ``model``, ``workers``, ``engine`` and more: `fcs_edge.corpus.Options` explains them.

    Returns
    -------
    Run
        What the run did. Sounds that cannot be encoded are rows with an error.

    Raises
    ------
    fcs_edge.FcsError
        The run cannot begin or go on; what is written stays.
    TypeError, ValueError
        An argument is not valid.

    Examples
    --------
    >>> encode("speech/", "tokens/", workers=2).exit_code  # doctest: +SKIP
    0
    """
    began = time.monotonic()
    driver = Driver(_request(inputs, out, options))
    with signals.handled(driver.interrupt, (signal.SIGINT,)):
        for _ in driver.shards():
            pass
    return _run(driver, time.monotonic() - began)


def iter_encode(
    inputs: PathLike | Sequence[PathLike], out: PathLike, **options: Unpack[Options]
) -> Iterator[Shard]:
    """Encode a corpus as `encode` does, and yield each shard once it is written.

    Those of earlier runs come first. An iteration that is left early ends the workers at once, and
    a later run goes on. The dataset is complete when the iteration ends.

    Parameters
    ----------
    inputs, out
        As in `encode`.
    **options
        The further arguments of `encode`.

    Yields
    ------
    Shard
        Its name, path and totals.

    Raises
    ------
    fcs_edge.FcsError
        As in `encode`.
    TypeError, ValueError
        An argument is not valid.
    """
    return Driver(_request(inputs, out, options)).shards()


def planned(
    inputs: PathLike | Sequence[PathLike], out: PathLike, **options: Unpack[Options]
) -> Plan:
    """Return the shards that `encode` would have, with the same arguments; nothing is written.

    Raises
    ------
    fcs_edge.FcsError
        `encode` refuses the inputs, the model or the folder `out`.
    """
    request = _request(inputs, out, options)
    request.check()
    check_folder(request.out)
    recipe = request.recipe(os.path.abspath(request.out))
    if os.path.exists(request.out) and not request.force:
        check_model(open_storage(request.out), recipe)
    return request.planned(recipe)


def _request(inputs: PathLike | Sequence[PathLike], out: PathLike, options: Options) -> Request:
    """Return arguments of `encode` as a request."""
    several = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    fields: dict[str, Any] = {**options}
    for name in fields.keys() - Options.__annotations__.keys():
        raise TypeError(f"encode has no argument {name!r}; Options lists them")
    for name in ("model", "root"):
        if fields.get(name) is not None:
            fields[name] = os.fspath(fields[name])
    also = fields.get("also") or ()
    fields["also"] = tuple(dict.fromkeys([also] if isinstance(also, str) else also))
    fields["watcher"] = fields.get("watcher") or Watcher()
    return Request(tuple(os.fspath(path) for path in several), os.fspath(out), **fields)


def _run(driver: Driver, seconds: float) -> Run:
    """Return what a driver did."""
    assert driver.plan is not None
    assert driver.storage is not None
    names = (s.name for s in driver.plan.shards if s.name in driver.totals)
    written = {name: driver.totals[name] for name in names}
    groups = ErrorGroups()
    for row in failed_rows(driver.storage, written):
        groups.add(row.id, row.problem)
    return Run(
        totals=sum(driver.totals.values(), Totals()),
        fresh=sum((driver.totals[name] for name in driver.fresh), Totals()),
        seconds=seconds,
        workers=driver.workers,
        shards=len(driver.plan.shards),
        resumed=len(written) - len(driver.fresh),
        lost=tuple(driver.lost.items()),
        stale=len(driver.stale),
        interrupted=driver.interrupted,
        error_groups=groups.groups(),
        written=written,
        storage=driver.storage,
    )
