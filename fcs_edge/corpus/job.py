"""A shard's work, as plain values that travel as JSON to any process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from fcs_edge.corpus.items import Item
from fcs_edge.tokens.settings import Settings


@dataclass(frozen=True)
class Recipe:
    """What all shards of a run share."""

    model: str
    """The model's name, or its file's absolute path."""
    model_sha256: str
    fingerprint: str
    """Hexadecimal."""
    settings: Settings
    """What changes tokens; see `token_settings`."""
    out: str
    """The dataset: an absolute path of a folder, or a URI of an object store."""
    activations: int | None = None
    channel: int | Literal["mean"] = "mean"
    resampler: str = "soxr"
    strict: bool = False
    """Whether a cut sound is an error."""
    exact: bool = False
    window: float | None = None
    overlap: float | None = None
    text_columns: tuple[str, ...] = ()
    """Columns of manifests that shards keep, as strings."""
    also: tuple[str, ...] = ()
    """Suffixes of files that are written beside the shards: "npz", "fcs"."""
    file_timeout: float | None = None
    """Seconds that one item may take; None: 60 s and 60 times its duration."""
    kind: str = "encode"
    """The kind of work: a name of `worker.KINDS`."""
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """What other kinds of work need beside this, as JSON values."""


@dataclass(frozen=True)
class Job:
    """One shard to encode."""

    name: str
    """The shard's name: 16 hexadecimal digits."""
    items: tuple[Item, ...]
    blamed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Errors of items that are not tried again, by id: they killed or hung a worker."""
    rows: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Rows that a worker made before it died, by id, as `wire.row_to_json` writes them."""


@dataclass(frozen=True)
class Totals:
    """Sums over rows."""

    files: int = 0
    """Rows, with and without tokens."""
    errors: int = 0
    """Rows without tokens."""
    cut: int = 0
    """Rows with tokens of what is intact: sound is missing."""
    samples: int = 0
    """At the model's rate."""
    tokens: int = 0
    not_finite: int = 0
    """Samples that were NaN or infinite."""
    size: int = 0
    """Bytes of the sound files."""

    def __add__(self, other: Totals) -> Totals:
        """Return the sums of both."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Totals(*(a + b for a, b in pairs))


@dataclass(frozen=True)
class Report:
    """What a worker says while it works on a shard."""

    kind: Literal["file", "progress", "done", "again", "stopping"]
    """An item begins, sound of the current one is done, or all of it is. Or the shard begins again,
    as its worker died; or the engine was asked to stop, which names no shard."""
    name: str
    """The shard."""
    index: int = 0
    """The item's number in the shard."""
    seconds: float = 0.0
    """Sound of the item that is done."""
    error: str | None = None
    """Why a "done" item has no tokens; None if it has."""
    row: str | None = None
    """The row of a "done" item, for a worker that may have to go on; `WorkerProcess` keeps it."""


@dataclass(frozen=True)
class Outcome:
    """What became of a job."""

    job: Job
    totals: Totals | None = None
    """The sums over the shard, which is written; None if it is not."""
    failure: str | None = None
    """Why the shard is not written, in one line; None if it is."""


Row = dict[str, Any]
"""A row of a shard by column; `schema.COLUMNS` lists them."""

OnReport = Callable[[Report], None]
